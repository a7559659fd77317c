"""Ways to suspect an image, one file each, and the threshold that keeps a promised rate of false alarms.

A detector sees an image and views of it, never its clean twin: `pipeline.detector_inputs` looks, the detector measures
what was seen, and from then on only these few numbers count. It learns from those of benign images, and scores others.
"""

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._calibration import calibrate, p_values
from gazeshift.detectors._two_classes import Normalised, cropped, fresh_detector
from gazeshift.records import DetectorInput, Layer
from gazeshift.seeds import Generators

__all__ = ["Detector", "Normalised", "SaysWhy", "calibrate", "cropped", "fresh_detector", "p_values"]


class Detector(Protocol):
    """What every detector is: frozen settings that say what must be seen, and a score of what was measured there."""

    @property
    def cams(self) -> Sequence[str]:
        """Maps to draw, as specs (``noise_cam:alpha_norm=all``); evidence has them under these names."""

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """Names of the layers to look at, out of a network's."""

    def views(
        self, images: Float[Tensor, "n channels h w"], *, generator: Generators
    ) -> Sequence[Float[Tensor, "n channels h w"]]:
        """Changed copies of the images to look at beside them, in [0, 1]; may be none."""

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """All that `fit` and `score` ask of an image, in float64; one image's numbers do not depend on the others."""

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:
        """A new detector that learned from what was measured of images; itself if there is nothing to learn.

        Args:
            benign: of clean images.
            attacked: of adversarial ones; left alone by detectors that learn from benign images only.
        """

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """Suspicion per image, from what was measured; larger is more suspicious."""


@runtime_checkable
class SaysWhy(Protocol):
    """A detector that can tell which views and layers raised its suspicion."""

    @property
    def names(self) -> Sequence[str]:
        """What its views are called, in their order."""

    def reasons(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, "n views places"]:
        """Each view's and layer's part in the suspicion, per image; above 0 raises it.

        Places are the layers; one more is the classifier's answer.
        """
