"""Clusters in NoiseCAM's map (Tan et al. 2023, section III-E)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from gazeshift.detectors._clusters import count_clusters
from gazeshift.detectors._marking import MARKS
from gazeshift.detectors._places import named, shown
from gazeshift.errors import BoundsError, SettingsError, check_known
from gazeshift.precision import exact
from gazeshift.records import DetectorInput, Evidence, Layer
from gazeshift.registry import build
from gazeshift.seeds import Generators

__all__ = ["NoisecamDbscan"]

CHOICES = {
    "factor": ("none", "logit", "prob"),
    "binarise": tuple(MARKS),
    "grid": ("input", "native"),
}
FALSE_ALARMS = 0.05  # of benign images, that the paper's rule may cost when a level or a gate is learned
RUNGS = 12  # levels tried for each map, each the last one divided by the square root of 2


@dataclass(frozen=True, kw_only=True)
class NoisecamDbscan:
    """Suspicion = clusters of DBSCAN in NoiseCAM's map; more than 3 are an attack in the paper.

    The map is relu(E Grad-CAM++ - LayerCAM), Grad-CAM++ under `alpha_norm`; of the class predicted. The paper does not
    say how pixels become points, which decides everything: `binarise` has the choices. Measured, none of them is far
    from chance on a modern network (documentation, results).

    Args:
        layer: where to look; ``auto`` takes the third convolution, VGG-16's ``block2_conv1``.
        alpha_norm: ``none`` (the paper's formula), ``positive`` or ``all`` (its authors' code), see `grad_cam_pp`.
        factor: E: ``none`` is 1, as in the paper; e to the power of the class's ``logit`` or probability (``prob``),
            as in the released code, which does not say which.
        binarise: ``gate``: pixels above `tau` of the map's range, and none if its maximum is below `gate`; ``otsu``;
            ``mean_plus_k_std``; ``positive``; ``absolute``: pixels above `level`.
        tau: of ``gate``, as a share of the range.
        k: of ``mean_plus_k_std``.
        gate: of ``gate``, in the map's unit; learned as the 95 % point of benign maxima. 0 lets all through.
        level: of ``absolute``, in the map's unit; learned as the smallest power of the square root of 2 from which on
            at most 5 % of benign images have more clusters than allowed. None until then.
        grid: ``input`` clusters the map at the image's size, ``native`` at its own; they give other numbers.
        min_samples: points within 2 pixels of a core point of DBSCAN, itself among them.
        allowed: clusters that are no attack.

    Raises:
        UnknownNameError: no such choice.
        BoundsError: a number out of range.
        SettingsError: no such `alpha_norm`.
    """

    layer: str = "auto"
    alpha_norm: str = "positive"
    factor: str = "none"
    binarise: str = "gate"
    tau: float = 0.5
    k: float = 3.0
    gate: float = 0.0
    level: float | None = None
    grid: str = "input"
    min_samples: int = 3
    allowed: int = 3

    def __post_init__(self) -> None:
        for name in ("factor", "alpha_norm"):  # a written ``factor=none`` arrives as None
            object.__setattr__(self, name, getattr(self, name) or "none")
        for name, choices in CHOICES.items():
            given = getattr(self, name)
            check_known(given, choices, f"noisecam_dbscan has no {name} '{given}'")
        build("cams", f"noise_cam:alpha_norm={self.alpha_norm}")
        if not 0 <= self.tau < 1 or self.min_samples < 1 or self.allowed < 0:
            raise BoundsError(
                "noisecam_dbscan wants tau from 0 to below 1, min_samples of at least 1 and allowed clusters of at "
                f"least 0; got {self.tau:g}, {self.min_samples} and {self.allowed}."
            )

    @property
    def cams(self) -> tuple[str, ...]:
        """NoiseCAM itself, whose difference is exact; Grad-CAM++ and LayerCAM if a factor stands before the former."""
        if self.factor == "none":
            return (f"noise_cam:alpha_norm={self.alpha_norm}",)
        return (f"grad_cam_pp:alpha_norm={self.alpha_norm}", "layer_cam")

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """The one layer; the last convolution if a network has fewer than three."""
        return named(known, self.layer, lambda convs: convs[min(2, len(convs) - 1)])

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> tuple[Tensor, ...]:  # noqa: ARG002
        """None: the image alone is looked at."""
        return ()

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """Number of clusters per image.

        Raises:
            SettingsError: ``absolute`` without a level.
        """
        return torch.from_numpy(self.counted(measured.cpu().numpy())[1])

    def judge(self, clusters: Float[np.ndarray, " n"]) -> np.ndarray:
        """The paper's decision: more clusters than allowed."""
        return np.asarray(clusters) > self.allowed

    def raw(self, evidence: Evidence) -> Float[np.ndarray, "n hl wl"]:
        """The map at the layer's own resolution, rectified, in float64; NaN where it is undefined."""
        layer = shown(evidence, self.layer)
        first = exact(evidence.maps(layer, self.cams[0]))
        if self.factor != "none":
            logits = exact(evidence.logits)
            power = logits if self.factor == "logit" else logits.softmax(1)
            weight = power.gather(1, evidence.explained[:, None].to(power.device)).exp()[:, 0, None, None]
            first = weight * first - exact(evidence.maps(layer, "layer_cam"))
        return np.asarray(first.clamp_min(0).cpu().numpy())

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """Everything that `fit` and `counted` ask of an image: maximum, then shares of points, then clusters.

        One share and one number of clusters; for ``absolute``, one for each of twelve levels below the maximum.
        """
        raw = self.raw(seen.own)
        rows, tries = [], RUNGS if self.binarise == "absolute" else 1
        for own, found in zip(raw, self._grid(seen.own, raw), strict=True):
            peak = float(own.max())
            usual = self.k if self.binarise == "mean_plus_k_std" else self.tau
            tried = _ladder(peak) if self.binarise == "absolute" else [usual]
            pairs = [self._counted(found, level) for level in tried]
            rows.append([peak, *map(itemgetter(0), pairs), *map(itemgetter(1), pairs)])
        return torch.tensor(rows, dtype=torch.float64).reshape(len(raw), 1 + 2 * tries)

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:  # noqa: ARG002
        """With the gate or level that benign images ask for; itself for other ways to binarise, and without images."""
        measured = benign.cpu().numpy()
        measured = measured[np.isfinite(measured[:, 0])]
        if self.binarise == "gate" and len(measured):
            return replace(self, gate=float(np.quantile(measured[:, 0], 1 - FALSE_ALARMS)))
        if self.binarise != "absolute" or not len(measured):
            return self
        tops = [_top(peak) for peak in measured[:, 0] if peak > 0] or [0]
        best = max(tops)
        for rung in range(max(tops), min(tops) - RUNGS - 1, -1):
            clusters = replace(self, level=_height(rung)).counted(measured)[1]
            if self.judge(clusters).mean() > FALSE_ALARMS:
                break
            best = rung
        return replace(self, level=_height(best))

    def counted(self, measured: Float[np.ndarray, "n f"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Share of the pixels that are points, and number of clusters, under the gate or level that holds now."""
        peaks, (shares, clusters) = measured[:, 0], np.split(measured[:, 1:], 2, axis=1)
        if self.binarise == "absolute":
            level = self._known_level()
            below = np.array([_top(peak) for peak in peaks], dtype=int) - 1 - round(2 * math.log2(level))
            at, all_rows = np.clip(below, 0, RUNGS - 1), np.arange(len(peaks))
            shut, shares, clusters = below < 0, shares[all_rows, at], clusters[all_rows, at]  # no pixel is above it
        else:
            shut = (peaks < self.gate) & (self.binarise == "gate")
            shares, clusters = shares[:, 0], clusters[:, 0]
        shut &= ~np.isnan(peaks)
        return np.where(shut, 0, shares), np.where(shut, 0, clusters)

    def _counted(self, found: Float[np.ndarray, "h w"], level: float) -> tuple[float, float]:
        if not np.isfinite(found).all():
            return math.nan, math.nan
        marked = MARKS[self.binarise](found, level)
        return float(marked.mean()), float(count_clusters(marked, self.min_samples))

    def _grid(self, evidence: Evidence, raw: Float[np.ndarray, "n hl wl"]) -> Float[np.ndarray, "n h w"]:
        if self.grid == "native":
            return raw
        size = (evidence.images.shape[2], evidence.images.shape[3])
        return np.asarray(interpolate(torch.from_numpy(raw)[:, None], size=size, mode="bilinear")[:, 0].numpy())

    def _known_level(self) -> float:
        if self.level is None or not self.level > 0:
            raise SettingsError(
                "noisecam_dbscan with binarise=absolute needs a level above 0: fit it on benign images, or give one."
            )
        return self.level


def _top(peak: float) -> int:
    """The first rung that is not below the peak; of a blank or undefined map, one below every other's."""
    return math.ceil(2 * math.log2(peak)) if 0 < peak < math.inf else -2000


def _height(rung: int) -> float:
    return float(2 ** (rung / 2))


def _ladder(peak: float) -> list[float]:
    return [_height(_top(peak) - 1 - at) if 0 < peak < math.inf else 1.0 for at in range(RUNGS)]
