"""Neuron coverage: how much of a network its inputs make active."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.errors import BoundsError, SettingsError
from gazeshift.models import coverage_curve
from gazeshift.precision import exact, wide
from gazeshift.summaries import Summary, plural

__all__ = ["Coverage"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CoverageTable(Summary):
    """How many images covered each neuron. Parts counted apart are added: ``first + second``, in any order.

    Args:
        counts: images that covered each neuron.
        images: how many there were.
        threshold: above which a neuron was covered.
    """

    counts: Int[Tensor, " neurons"]
    images: int
    threshold: float

    def __add__(self, other: "CoverageTable") -> "CoverageTable":
        """Both together, as if counted at once.

        Raises:
            SettingsError: they count other neurons, or at another threshold.
        """
        if self.counts.shape != other.counts.shape or self.threshold != other.threshold:
            raise SettingsError(
                f"tables of {len(self.counts)} neurons at {self.threshold:g} and {len(other.counts)} at "
                f"{other.threshold:g} do not belong together. Add tables of one model, scope and threshold."
            )
        counts = self.counts + other.counts.to(self.counts.device)
        return CoverageTable(counts=counts, images=self.images + other.images, threshold=self.threshold)

    def _says(self) -> Iterator[str]:
        covered = f"{int((self.counts > 0).sum()):,} of {plural(len(self.counts), 'neuron')} covered"
        yield f"{covered} above {self.threshold:g} by {plural(self.images, 'image')}"

    @property
    def coverage(self) -> float:
        """Share of the neurons that at least one image covered, 0 to 1; NaN without neurons."""
        return exact(self.counts > 0).mean().item()


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Share of a model's neurons that an image activates above a threshold (Pei et al. 2017, arXiv:1705.06640).

    Takes the values that `gazeshift.models.Neurons.read` gives: mean activations, each image's layer scaled to [0, 1]
    by its own lowest and highest activation. 0 = no neuron is above the threshold, 1 = all are; exactly at it is not
    above. A NaN or infinite value makes its image's number NaN. What several images cover together is counted in a
    table (`table`), and what they cover one after the other is a curve (`curves`).

    Args:
        threshold: 0 to below 1. 0.25 is that of DLFuzz on ImageNet models; a single hot pixel in a layer keeps its
            neurons far below, so that a VGG-16 starts near 0.05 per image.

    Raises:
        BoundsError: the threshold is out of range, or what came are not values (images, neurons).

    >>> values = torch.tensor([[0.1, 0.3, 0.9, 0.25], [0.1, 0.2, 0.9, 0.0]])
    >>> Coverage()(values)
    tensor([0.5000, 0.2500])
    >>> Coverage().table(values).coverage
    0.5
    """

    threshold: float = 0.25

    compares: ClassVar[str] = "neurons"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise BoundsError(f"coverage needs a threshold from 0 to below 1, got {self.threshold}. 0.25 is usual.")

    def __call__(self, values: Float[Tensor, "n neurons"]) -> Float[Tensor, " n"]:
        """One number per image."""
        covered = self.covered(values)
        shares = covered.to(wide(values).dtype).mean(1)
        return shares.masked_fill(~values.isfinite().all(1), torch.nan)

    def covered(self, values: Float[Tensor, "n neurons"]) -> Bool[Tensor, "n neurons"]:
        """Which neurons each image covers; NaN covers nothing.

        Raises:
            BoundsError: not a float batch (n, neurons) with at least one neuron.
        """
        if values.ndim != 2 or not values.shape[1] or not values.is_floating_point():
            raise BoundsError(
                f"coverage is counted from float values (images, neurons), got {str(values.dtype)[6:]} "
                f"{tuple(values.shape)}. `gazeshift.models.Neurons.read(images).values` gives them."
            )
        return wide(values) > self.threshold  # a half type would round the threshold too

    def table(self, values: Float[Tensor, "n neurons"]) -> CoverageTable:
        """How many of these images cover each neuron."""
        return CoverageTable(counts=self.covered(values).sum(0), images=len(values), threshold=self.threshold)

    @staticmethod
    def curves(arms: Mapping[str, Bool[Tensor, "n neurons"]]) -> dict[str, Float[Tensor, " n"]]:
        """Coverage after each seed, for several arms of one experiment (Renkhoff et al. 2022, figure 2); float64.

        For a fair comparison every arm has the same seeds in the same order and the same rule for what is counted:
        ``DLFuzz(accept="all")`` for the adversarial arm, the same with ``mutation="gaussian"`` for the random one, and
        for seeds alone what the clean seeds cover. Each strength is a run of its own, with tables of its own:
        ``DLFuzz(step=strength * 0.5 / 255)``.

        Args:
            arms: what each seed, with what was accepted of its mutants, covers: `covered` of a DLFuzz result, and its
                `clean_covered` for seeds alone.

        Raises:
            BoundsError: the arms have not the same number of seeds and neurons.

        >>> seeds = torch.tensor([[True, False, False, False], [True, False, False, False]])
        >>> mutants = torch.tensor([[True, True, False, False], [True, False, True, False]])
        >>> Coverage.curves({"seeds": seeds, "attacked": seeds | mutants})["attacked"].tolist()
        [0.5, 0.75]
        """
        shapes = {name: tuple(covered.shape) for name, covered in arms.items()}
        if len(set(shapes.values())) > 1:
            raise BoundsError(f"all arms need the same seeds and neurons, got {shapes}. Run them on the same images.")
        return {name: coverage_curve(covered) for name, covered in arms.items()}
