"""Mahalanobis distance of channel means (Lee et al. 2018, arXiv:1807.03888)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.detectors._answers import FromAnswers
from gazeshift.detectors._places import chosen
from gazeshift.errors import BoundsError, SettingsError
from gazeshift.precision import exact
from gazeshift.records import DetectorInput, Layer

__all__ = ["Mahalanobis"]

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Mahalanobis(FromAnswers):
    """Suspicion = squared Mahalanobis distance of the channels' mean activations from those of clean images.

    The paper has a mean for each class and one covariance. A mean for each of ImageNet's classes takes many images of
    each; with few, all share one mean, which is the default. There are often fewer images than channels, so that the
    covariance is shrunk (Ledoit & Wolf 2004) where the paper's is not. Its changed inputs (ODIN) are left out.

    Several layers: each one's distance in standard deviations of clean images', and their sum; with adversarial images
    a logistic regression weighs them, as in the paper. Both look at clean images' distances from four fifths that they
    are no part of: from a covariance of their own, images are too near.

    Args:
        at: layers: ``last`` of the trunk, ``trunk``, ``convs``, ``blocks``, names, aliases or globs.
        per_class: clean images of a predicted class that give it a mean of its own; all other classes share one, and
            the nearest mean counts. 0: one mean for all.
        means: learned: a row per mean; all layers' channels, one after the other.
        precisions: learned: of each layer, by its place, the inverse of its covariance.
        slopes: learned: what each layer's distance is multiplied by in the sum, and last what is added to it.

    Raises:
        BoundsError: a negative `per_class`.
    """

    min_clean: ClassVar[int] = 10
    at: str = "last"
    per_class: int = 0
    means: Tensor | None = field(default=None, repr=False, compare=False)
    precisions: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)
    slopes: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.per_class < 0:
            raise BoundsError(f"mahalanobis wants per_class of at least 0, got {self.per_class}. 0 is one mean.")

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """All that `at` names."""
        return super().layers(known) if self.at == "last" else chosen(known, self.at)

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """The class predicted, the number of layers, how many channels each has, and all channels' mean activations."""
        found = [trace.activation for trace in seen.own.traces.values()]
        head = torch.tensor([len(found), *(len(one.T) for one in found)])
        columns = [seen.own.predicted[:, None], head.expand(len(seen.own.images), -1), *found]
        return torch.cat([exact(one).cpu() for one in columns], 1)

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:
        """With means, covariances, and what makes the layers' distances one number.

        Raises:
            BoundsError: fewer than 10 clean images, or no adversarial one where they are given.
        """
        if len(benign) < self.min_clean:
            raise BoundsError(f"mahalanobis learns from at least {self.min_clean} clean images, got {len(benign)}.")
        if attacked is not None and not len(attacked):
            raise BoundsError("mahalanobis was to learn from adversarial images too, got none. Give some, or None.")
        groups = _groups(benign[:, 0].long(), self.per_class)
        fold = torch.arange(len(benign)) % FOLDS
        near = torch.empty(len(benign), int(benign[0, 1]), dtype=torch.float64)
        for at in range(FOLDS):
            near[fold == at] = self._learned(benign[fold != at], groups[fold != at]).distances(benign[fold == at])
        learned = self._learned(benign, groups)
        far = None if attacked is None else learned.distances(attacked)
        return replace(learned, slopes=_slopes(near, far))

    def distances(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, "n layers"]:
        """Squared distance from the nearest mean, at each layer.

        Raises:
            SettingsError: nothing was learned.
        """
        if self.means is None or self.precisions is None:
            raise SettingsError("mahalanobis knows no clean images yet: fit it first.")
        inverse = [self.precisions[str(at)] for at in range(len(self.precisions))]
        widths = [len(one) for one in inverse]
        pieces, means = (torch.split(one[:, -sum(widths) :], widths, 1) for one in (measured, self.means))
        return torch.stack([_nearest(*one) for one in zip(pieces, means, inverse, strict=True)], 1)

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """Suspicion per image: the weighted sum of the distances.

        Raises:
            SettingsError: nothing was learned.
        """
        distances = self.distances(measured)
        return distances.sum(1) if self.slopes is None else distances @ self.slopes[:-1] + self.slopes[-1]

    def _learned(self, measured: Float[Tensor, "n f"], groups: Int[Tensor, " n"]) -> Self:
        """With means of these groups, and covariances within them."""
        from sklearn.covariance import ledoit_wolf  # takes seconds to load

        count = int(measured[0, 1])
        values = measured[:, 2 + count :]
        kinds, place = np.unique(groups.numpy(), return_inverse=True)
        means = torch.stack([values[groups == int(kind)].mean(0) for kind in kinds])
        pieces = torch.split(values - means[place], measured[0, 2 : 2 + count].long().tolist(), 1)
        spread = [torch.from_numpy(ledoit_wolf(piece.numpy(), assume_centered=True)[0]) for piece in pieces]
        inverse = {str(at): torch.linalg.pinv(one, hermitian=True) for at, one in enumerate(spread)}
        return replace(self, means=means, precisions=inverse, slopes=None)


def _groups(predicted: Int[Tensor, " n"], least: int) -> Int[Tensor, " n"]:
    """Which images share a mean: 0 for those of all classes too rare, then a number for each other class."""
    if least == 0:
        return torch.zeros_like(predicted)
    _, place, counts = np.unique(predicted.numpy(), return_inverse=True, return_counts=True)
    own = counts >= least
    return torch.from_numpy((own.cumsum() * own)[place])


def _nearest(
    values: Float[Tensor, "n k"], means: Float[Tensor, "g k"], inverse: Float[Tensor, "k k"]
) -> Float[Tensor, " n"]:
    away = ((values - mean) for mean in means)
    return torch.stack([((one @ inverse) * one).sum(1) for one in away], 1).amin(1)


def _slopes(near: Float[Tensor, "n layers"], far: Float[Tensor, "m layers"] | None) -> Float[Tensor, " layers+1"]:
    """Weights of the distances as they are, and the constant, from clean images' and maybe adversarial ones'."""
    centre, spread = near.mean(0), near.std(0)
    spread = torch.where(spread > 0, spread, 1)
    weights, constant = torch.ones_like(spread), 0.0
    if far is not None:
        from sklearn.linear_model import LogisticRegression

        scaled = (torch.cat([near, far]) - centre) / spread
        found = LogisticRegression(class_weight="balanced", max_iter=2000)
        found.fit(scaled.numpy(), [0] * len(near) + [1] * len(far))
        weights, constant = torch.from_numpy(found.coef_[0]).double(), float(found.intercept_[0])
    slopes = weights / spread
    return torch.cat([slopes, (constant - slopes @ centre)[None]])
