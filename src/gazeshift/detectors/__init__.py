"""Ways to suspect an image, one file each, and the threshold that keeps a promised rate of false alarms.

A detector sees an image and views of it, never its clean twin: `pipeline.sight` looks, the detector scores.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, Self

from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._calibration import calibrate
from gazeshift.records import Layer, Sighting
from gazeshift.seeds import Generators

__all__ = ["Detector", "calibrate"]


class Detector(Protocol):
    """What every detector is: frozen settings that say what must be seen, and a score of what was seen."""

    @property
    def cams(self) -> Sequence[str]:
        """Maps to draw, as specs (``noise_cam:alpha_norm=all``); evidence has them under these names."""

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """Names of the layers to look at, out of a network's."""

    def views(self, images: Float[Tensor, "n 3 h w"], *, generator: Generators) -> Sequence[Float[Tensor, "n 3 h w"]]:
        """Changed copies of the images to look at beside them, in [0, 1]; may be none."""

    def fit(self, sightings: Iterable[Sighting]) -> Self:
        """A new detector that learned from benign images, read one by one; itself if there is nothing to learn."""

    def score(self, seen: Sighting) -> Float[Tensor, " n"]:
        """Suspicion per image; larger is more suspicious."""
