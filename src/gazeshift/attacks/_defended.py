"""What an attack knows of the detector that it must get past: everything but the next random draw."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model
from gazeshift.precision import wide
from gazeshift.seeds import Generators
from gazeshift.summaries import Summary, listed, plural


@dataclass(frozen=True, kw_only=True, repr=False)
class DetectorOutput(Summary):
    """How images look to classifier and detector.

    Args:
        suspicion: above the opponent's threshold is an alarm; so is NaN.
        logits: of the images, then of each of their views.
    """

    suspicion: Float[Tensor, " n"]
    logits: Float[Tensor, "v n c"]

    def _says(self) -> Iterator[str]:
        views, images, classes = self.logits.shape
        yield f"{plural(images, 'image')} and {plural(views - 1, 'view')} of each, {classes:,} classes"
        yield from listed(images, lambda at: f"{at}: suspicion {float(self.suspicion[at]):.3g}")


class Opponent(Protocol):
    """A detector bound to a classifier; `gazeshift.evasion.Opponent` is one for any of ours."""

    @property
    def threshold(self) -> float:
        """Suspicion above it is an alarm."""

    def glimpse(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> DetectorOutput:
        """What is seen of the images as they would arrive, with views drawn from the generators.

        It has a graph back to images that ask for gradients, even where it is made of gradients itself.
        """

    def views(
        self, images: Float[Tensor, "n channels h w"], *, generator: Generators
    ) -> Sequence[Float[Tensor, "n channels h w"]]:
        """The images as they would arrive, then the detector's views of them; in the graph of the images."""


@dataclass(frozen=True, kw_only=True)
class Undefended:
    """A model without a detector: no views, no suspicion, no alarm."""

    model: Model
    threshold: float = math.inf

    def glimpse(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> DetectorOutput:  # noqa: ARG002
        """The logits alone."""
        logits = self.model(images)
        return DetectorOutput(suspicion=wide(logits).sum(1) * 0, logits=logits[None])

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> Sequence[Tensor]:  # noqa: ARG002
        """The images alone."""
        return (images,)


def margins(logits: Float[Tensor, "v n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "v n"]:
    """Logit of the label minus the best other one; below 0 is misclassified. Float32 at least."""
    exact = wide(logits)
    at = labels.expand(exact.shape[:-1])[..., None]
    return exact.gather(-1, at)[..., 0] - exact.scatter(-1, at, -torch.inf).amax(-1)
