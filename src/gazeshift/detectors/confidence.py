"""What the answer alone tells: confidence, energy, entropy or margin of the logits."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._answers import FromAnswers
from gazeshift.errors import check_known
from gazeshift.precision import exact
from gazeshift.records import DetectorInput

__all__ = ["Confidence"]

WAYS = ("msp", "energy", "entropy", "margin")


@dataclass(frozen=True, kw_only=True)
class Confidence(FromAnswers):
    """Suspicion = how unsure the classifier is of its answer, from the logits alone. Nothing is learned.

    Strong attacks make a classifier surer than clean images do; then they are the less suspicious ones here.

    Args:
        by: ``msp``, one minus the largest softmax probability (Hendrycks & Gimpel 2017, arXiv:1610.02136), 0 to 1;
            ``energy``, minus log-sum-exp of the logits (Liu et al. 2020, arXiv:2010.03759); ``entropy`` of the softmax
            in nats, 0 to log of the number of classes; ``margin``, minus the lead of the largest logit over the
            second, at most 0.

    Raises:
        UnknownNameError: no such way.
    """

    by: str = "msp"

    def __post_init__(self) -> None:
        check_known(self.by, WAYS, f"confidence has no by '{self.by}'")

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n 4"]:
        """The suspicion by each of the four ways."""
        logits = exact(seen.own.logits).cpu()
        top, total = logits.amax(1), logits.logsumexp(1)
        others = logits.scatter(1, logits.argmax(1, keepdim=True), -torch.inf)
        # The rest of the probabilities, and not one minus the largest: that is exactly 0 for many a sure answer.
        rest = (others.logsumexp(1) - total).exp()
        entropy = torch.special.entr(logits.softmax(1)).sum(1)
        return torch.stack([rest, -total, entropy, others.amax(1) - top], 1)

    def score(self, measured: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
        """Suspicion per image, as `by` says."""
        return measured[:, WAYS.index(self.by)]
