"""Behaviour deviation of one layer against benign noise (Tan et al. 2023, section III-D, five steps)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._null import RULES, NullDistribution, threshold
from gazeshift.detectors._places import named, shown
from gazeshift.errors import BoundsError, SettingsError, check_known
from gazeshift.measures.cosine import Cosine
from gazeshift.precision import exact, wide
from gazeshift.records import DetectorInput, Evidence, Layer
from gazeshift.seeds import Generators
from gazeshift.transforms.matched_noise import MatchedNoise
from gazeshift.transforms.pca import Pca

__all__ = ["BehaviourDeviation"]

SCORES = ("margin", "z", "p_value")
CAM = "grad_cam"


@dataclass(frozen=True, kw_only=True)
class BehaviourDeviation:
    """Suspicion = how far Grad-CAM strays from that of the PCA-cleaned image, against noise of the residual's size.

    The image is cleaned; the residual's mean and deviation make noisy versions of the cleaned image; their similarities
    to it are what is benign. The paper's steps 4 and 5 name different layers; the probe of step 4 serves both. The
    residual is mostly texture, so that the noise is far larger than an attack: few alarms are to be expected, and few
    false ones. Nothing is learned from other images.

    Args:
        layer: the probe; ``auto`` takes the first convolution at the coarsest resolution that a convolution has, which
            is VGG-16's ``block5_conv1``.
        cleaning: what PCA takes as a sample: ``rows``, ``patch8`` or ``joint_rows``, see `Pca`.
        variance: share of the variance that cleaning keeps.
        noise_images: noisy versions, at least 2; the paper has 50 or more.
        rule: of the threshold: ``quantile`` (the `alpha` one of the noisy similarities), ``median`` (the paper's idea
            of a compromised layer: half of all benign images), ``mean_minus_k_std``, ``absolute`` (`level`).
        alpha: of ``quantile``; at least 1 / (noise_images + 1), below which nothing could be told apart.
        k: of ``mean_minus_k_std``.
        level: of ``absolute``, a similarity.
        by: the score: ``margin``, standard deviations below the threshold (above 0 is the paper's alarm); ``z``,
            standard deviations below the mean; ``p_value``, one minus it.

    Raises:
        UnknownNameError: no such rule, score or cleaning.
        BoundsError: a number out of range.
        SettingsError: ``absolute`` without a level.
    """

    layer: str = "auto"
    cleaning: str = "rows"
    variance: float = 0.99
    noise_images: int = 50
    rule: str = "quantile"
    alpha: float = 0.05
    k: float = 2.0
    level: float | None = None
    by: str = "margin"

    def __post_init__(self) -> None:
        Pca(mode=self.cleaning, variance=self.variance)
        for name, choices in (("rule", RULES), ("by", SCORES)):
            given = getattr(self, name)
            check_known(given, choices, f"behaviour_deviation has no {name} '{given}'")
        if self.noise_images < 2:
            raise BoundsError(
                f"behaviour_deviation needs at least 2 noise images, got {self.noise_images}. 50 is usual."
            )
        if self.rule == "quantile" and not 1 / (self.noise_images + 1) <= self.alpha < 1:
            raise BoundsError(
                f"with {self.noise_images} noise images alpha is from {1 / (self.noise_images + 1):.4f} to below 1, "
                f"got {self.alpha:g}. More noise images allow a smaller one."
            )
        if self.rule == "absolute" and self.level is None:
            raise SettingsError("behaviour_deviation with rule=absolute needs a level: a similarity from 0 to 1.")

    @property
    def cams(self) -> tuple[str, ...]:
        """Grad-CAM."""
        return (CAM,)

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """The probe alone."""
        return named(known, self.layer, _first_at_the_coarsest)

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> tuple[Tensor, ...]:
        """The cleaned images, then the noisy versions of them, all clipped to [0, 1]; one image's noise is its own."""
        own = wide(images)
        cleaned = Pca(mode=self.cleaning, variance=self.variance)(own)
        draws = (MatchedNoise()(own - cleaned, generator=generator) for _ in range(self.noise_images))
        views = (cleaned, *(cleaned + noise for noise in draws))
        return tuple(view.clamp(0, 1).to(images.dtype) for view in views)

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n 3"]:
        """The three scores of `by`, each larger for a more suspicious image."""
        if not len(seen.own.images):  # there are no quantiles of nothing
            return torch.zeros((0, 3), dtype=torch.float64)
        reading = self.read(seen)
        return torch.stack([reading.margin, reading.z, 1 - reading.p_value], 1).cpu()

    def fit(self, benign: Float[Tensor, "n 3"], attacked: Float[Tensor, "m 3"] | None = None) -> Self:  # noqa: ARG002
        """Itself: each image brings its own noise."""
        return self

    def score(self, measured: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Suspicion per image, as `by` says."""
        return measured[:, SCORES.index(self.by)]

    def decide(self, seen: DetectorInput) -> Tensor:
        """The paper's decision per image: the similarity is below its threshold."""
        return self.read(seen).margin > 0

    def read(self, seen: DetectorInput) -> NullDistribution:
        """Similarities of the image and of its noisy versions to the cleaned one, and the threshold.

        Raises:
            SettingsError: other views than the detector asks for.
        """
        if len(seen.views) != self.noise_images + 1:
            raise SettingsError(
                f"behaviour_deviation compares with {self.noise_images + 1} views, got {len(seen.views)}. Let "
                "pipeline.detector_inputs look with the same detector."
            )
        clean, *noisy = seen.views
        similarity = self._alike(clean, seen.own)
        null = torch.stack([self._alike(clean, one) for one in noisy], 1)
        below = threshold(null, self.rule, alpha=self.alpha, k=self.k, level=self.level)
        return NullDistribution(similarity=similarity, null=null, threshold=below)

    def _alike(self, first: Evidence, second: Evidence) -> Float[Tensor, " n"]:
        """Cosine of the two maps as at the images' size, in float64."""
        name, size = shown(first, self.layer), (first.images.shape[2], first.images.shape[3])
        one, two = (exact(evidence.maps(name, CAM)).clamp_min(0) for evidence in (first, second))
        return Cosine().enlarged(one, two, size)


def _first_at_the_coarsest(convs: Sequence[Layer]) -> Layer:
    coarsest = min(layer.shape[1] * layer.shape[2] for layer in convs)
    return next(layer for layer in convs if layer.shape[1] * layer.shape[2] == coarsest)
