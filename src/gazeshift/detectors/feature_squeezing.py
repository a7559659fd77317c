"""Feature squeezing (Xu et al. 2018, arXiv:1704.01155)."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._answers import FromAnswers
from gazeshift.errors import BoundsError, SettingsError
from gazeshift.precision import exact
from gazeshift.records import DetectorInput
from gazeshift.registry import build
from gazeshift.seeds import Generators

__all__ = ["FeatureSqueezing"]

SQUEEZES = ["images", "generator"]  # what an intervention takes that makes an image of an image


@dataclass(frozen=True, kw_only=True)
class FeatureSqueezing(FromAnswers):
    """Suspicion = largest L1 distance of softmax between the image and its squeezed versions, 0 to 2 (Xu et al. 2018).

    The paper's best for ImageNet are 5 bits, a median over 2 x 2 pixels and non-local means (11-3-4). Medians here have
    a middle pixel, so that 3 x 3 stands for the second, and non-local means are left out. Nothing is learned.

    Args:
        squeezers: specs of interventions that make an image of an image, in a tuple, or joined by ``+`` in a text:
            ``bit_depth:bits=4+median:size=3``.

    Raises:
        BoundsError: no squeezer.
        SettingsError: an intervention that makes no image of an image.
    """

    squeezers: tuple[str, ...] = ("bit_depth:bits=5", "median:size=3")

    def __post_init__(self) -> None:
        given: Any = self.squeezers  # a text as the command line hands it on
        parts = given.split("+") if isinstance(given, str) else given or ()
        object.__setattr__(self, "squeezers", tuple(part.strip() for part in parts if part.strip()))
        if not self.squeezers:
            raise BoundsError("feature_squeezing needs at least one squeezer, such as median:size=3, got none.")
        self._built()

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> tuple[Tensor, ...]:
        """The squeezed versions."""
        return tuple(squeeze(images, generator=generator).clamp(0, 1) for squeeze in self._built())

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """The L1 distance to each squeezed version, 0 to 2.

        Raises:
            SettingsError: other views than the detector asks for.
        """
        if len(seen.views) != len(self.squeezers):
            raise SettingsError(
                f"feature_squeezing compares with {len(self.squeezers)} squeezed versions, got {len(seen.views)}. Let "
                "pipeline.detector_inputs look with the same detector."
            )
        own, *squeezed = (exact(one.logits).cpu().softmax(1) for one in (seen.own, *seen.views))
        return torch.stack([(own - other).abs().sum(1) for other in squeezed], 1)

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """The largest distance."""
        return measured.amax(1)

    def _built(self) -> list[Callable[..., Tensor]]:
        made = [build("transforms", one) for one in self.squeezers]
        for spec, one in zip(self.squeezers, made, strict=True):
            if list(inspect.signature(one).parameters) != SQUEEZES:
                raise SettingsError(
                    f"feature_squeezing cannot use '{spec}': it makes no image of an image alone. Blur, jpeg, "
                    "bit_depth, median, pca and shift do."
                )
        return made
