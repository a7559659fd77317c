"""One shard of an adversarial set: images attacked, judged twice, and turned into rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gazeshift.data import attacked_levels, set_rows
from gazeshift.models import Classifier
from gazeshift.pipeline import attack
from gazeshift.records import Attacked, Sample
from gazeshift.seeds import generator_for

BEYOND = 1e-6  # by so much, in [0, 1] units, rounding alone may leave an L-inf ball
BEYOND_L2 = 1e-4  # and by this share of epsilon an L2 ball


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """Attacks batches of one run.

    Args:
        classifier: whom to fool.
        made: the attack with its settings.
        spec: what the run calls it; draws follow from this name, the seed and the image's id.
        seed: of the run.
    """

    classifier: Classifier
    made: Any
    spec: str
    seed: int

    @property
    def norm(self) -> str | None:
        """The norm that the attack promises to stay in, or None."""
        return getattr(self.made, "norm", None)

    @property
    def epsilon(self) -> float | None:
        """The size it promises, or None."""
        return getattr(self.made, "epsilon", None)

    def rows(self, batch: Sequence[Sample]) -> tuple[pa.Table, tuple[float, float]]:
        """Rows of images of one size, and the forward and backward passes of their attack.

        A success counts only if a second prediction, of the images in another order, confirms it.
        """
        images = torch.stack([sample.image for sample in batch])
        known = [sample.label for sample in batch if sample.label is not None]
        labels = torch.tensor(known) if len(known) == len(batch) else None
        draws = [generator_for(self.seed, self.spec, sample.id) for sample in batch]
        found = _on_cpu(attack(self.classifier, images, labels, by=self.made, generator=draws), images)
        again = self._predict(found.images.flip(0)).flip(0)
        levels = attacked_levels(images, found.images, norm=self.norm, epsilon=self.epsilon)
        table = set_rows(
            ids=[sample.id for sample in batch],
            labels=found.labels,
            sha256=[sample.sha256 for sample in batch],
            clean=images,
            attacked=found.images,
            facts=_facts(found, again, self._predict(levels.float() / 255)),
        )
        return table, (found.forwards * len(batch), found.backwards * len(batch))

    def beyond(self, facts: Mapping[str, np.ndarray]) -> tuple[dict[str, int], float]:
        """Of rows: how many perturbations are too large or not finite, successes that 8 bit keep; the largest norm."""
        norms = facts["l2" if self.norm == "l2" else "linf"]
        slack = BEYOND if self.norm == "linf" else BEYOND_L2 * (self.epsilon or 0)
        bound = np.inf if self.norm is None or self.epsilon is None else self.epsilon + slack
        finite = np.isfinite(norms)
        counts = {
            "exceeded": int(np.sum(norms > bound)),
            "not_finite": int(np.sum(~finite)),
            "kept_8bit": int(np.sum(facts["success"] & facts["success_8bit"])),
        }
        return counts, float(np.max(norms[finite], initial=0.0))

    @torch.no_grad()
    def _predict(self, images: Tensor) -> Tensor:
        """Top class of each image."""
        logits: Tensor = self.classifier(images.to(self.classifier.device))
        return logits.argmax(1).cpu()


def batches_of(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """At most `size` images of one size side by side, in order."""
    for _, group in groupby(samples, key=lambda sample: sample.image.shape):
        alike = list(group)
        for at in range(0, len(alike), size):
            yield alike[at : at + size]


def _facts(found: Attacked, again: Tensor, in_8_bit: Tensor) -> dict[str, Tensor]:
    """What a set says of each example."""
    clean, attacked = found.clean_logits.float().softmax(1).max(1), found.logits.float().softmax(1).max(1)
    claimed = found.success & found.images.isfinite().flatten(1).all(1)  # NaN does not count as fooled
    return {
        "clean_class": clean.indices.int(),
        "clean_confidence": clean.values,
        "attacked_class": attacked.indices.int(),
        "attacked_confidence": attacked.values,
        "margin": found.margin.float(),
        "linf": found.linf,
        "l2": found.l2,
        "rms": found.rms,
        "clean_correct": found.clean_correct,
        "claimed": claimed,
        "success": claimed & (again != found.labels),
        "success_8bit": found.clean_correct & (in_8_bit != found.labels),
    }


def _on_cpu(found: Attacked, clean: Tensor) -> Attacked:
    """The same result beside the caller's own images, in float32: what a set holds."""
    return replace(
        found,
        clean=clean,
        images=found.images.float().cpu(),
        labels=found.labels.cpu(),
        clean_logits=found.clean_logits.cpu(),
        logits=found.logits.cpu(),
    )
