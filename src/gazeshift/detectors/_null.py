"""An image's own null distribution: similarities under benign noise, and where its similarity lies among them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.precision import exact
from gazeshift.summaries import Summary, listed, plural

RULES = ("quantile", "median", "mean_minus_k_std", "absolute")
ROUNDING = 1e-9  # a similarity this little below its threshold is not below it


@dataclass(frozen=True, kw_only=True, repr=False)
class NullDistribution(Summary):
    """What the behaviour of one layer says of n images.

    Args:
        similarity: of each image's map to that of its cleaned version.
        null: the same for v noisy images made from the cleaned version.
        threshold: below which the similarity is suspicious.
    """

    similarity: Float[Tensor, " n"]
    null: Float[Tensor, "n v"]
    threshold: Float[Tensor, " n"]

    def _says(self) -> Iterator[str]:
        yield f"{plural(len(self.null), 'image')}, {plural(self.null.shape[1], 'noisy version')} of each"
        rows = list(zip(self.similarity.tolist(), self.threshold.tolist(), strict=True))
        yield from listed(len(rows), lambda at: "{}: similarity {:.3g}, threshold {:.3g}".format(at, *rows[at]))

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """Of the null similarities."""
        return self.null.mean(1)

    @property
    def std(self) -> Float[Tensor, " n"]:
        """Population standard deviation of the null similarities, at least the size of rounding."""
        return self.null.std(1, correction=0).clamp_min(ROUNDING)

    @property
    def p_value(self) -> Float[Tensor, " n"]:
        """(1 + null similarities not above the image's) / (v + 1); never 0."""
        return (1 + exact((self.null <= self.similarity[:, None]).sum(1))) / (self.null.shape[1] + 1)

    @property
    def z(self) -> Float[Tensor, " n"]:
        """Standard deviations by which the similarity lies below the null mean."""
        return (self.mean - self.similarity) / self.std

    @property
    def margin(self) -> Float[Tensor, " n"]:
        """Standard deviations by which the similarity lies below its threshold; above 0 is the paper's alarm."""
        return (self.threshold - ROUNDING - self.similarity) / self.std


def threshold(
    null: Float[Tensor, "n v"], rule: str, *, alpha: float, k: float, level: float | None
) -> Float[Tensor, " n"]:
    """Each image's threshold under a rule; see `BehaviourDeviation`."""
    if rule == "quantile":
        return null.quantile(alpha, dim=1)
    if rule == "median":
        return null.quantile(0.5, dim=1)
    if rule == "mean_minus_k_std":
        return null.mean(1) - k * null.std(1, correction=0)
    return torch.full_like(null[:, 0], level or 0.0)
