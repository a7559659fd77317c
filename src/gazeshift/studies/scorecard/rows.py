"""One cell of a scorecard: what every detector measures of clean images and their benign changes, or of a set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gazeshift.calibrated import fingerprints
from gazeshift.records import Batch
from gazeshift.registry import build
from gazeshift.runs.detector.rows import FeatureExtractor, eight_bit, judged
from gazeshift.runs.examples import SetSource
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.transforms.matched_noise import MatchedNoise

CLEAN, BENIGN, ATTACK = "clean", "benign", "attack"
NOISE = "gaussian noise"
SEEN = pa.schema(
    [
        ("eyes", pa.int16()),
        *((name, pa.string()) for name in ("kind", "condition", "image", "print")),
        *((name, pa.int32()) for name in ("label", "clean_class", "predicted")),
        ("confidence", pa.float32()),
        *((name, pa.bool_()) for name in ("clean_correct", "success")),
        ("measured", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ScorecardRows:
    """Looks at images for every detector; those that measure the same look once.

    Args:
        eyes: one for each way to measure.
        benign: specs of changes that are no attack.
        noise: a set whose perturbations say how large Gaussian noise is, or None.
        seed: of the study.
    """

    eyes: Sequence[FeatureExtractor]
    benign: Sequence[str]
    noise: SetSource | None
    seed: int

    def clean(self, batch: Batch) -> CellResult:
        """A batch of clean images and their changes."""
        rows, right = Rows(SEEN), 0
        if batch.ids:
            images = eight_bit(batch.images.to(self.eyes[0].classifier.device))
            classes = self._classes(images)
            labels = classes if batch.labels is None else batch.labels.to(classes.device)
            right = int((classes == labels).sum())
            seen = partial(self._add, rows, labels=labels, classes=classes)
            seen(CLEAN, CLEAN, batch.ids, images)
            for spec in self.benign:
                draws = [generator_for(self.seed, spec, name) for name in batch.ids]
                seen(BENIGN, spec, batch.ids, eight_bit(build("transforms", spec)(images, generator=draws)))
            self._add_noise(rows, batch.ids, images, labels, classes)
        return CellResult({"seen": rows.table()}, CellNotes(right=right))

    def attacked(self, name: str, source: SetSource, batch: Batch) -> CellResult:
        """A batch of a set's examples, fooled or not."""
        rows = Rows(SEEN)
        example = judged(self.eyes[0].classifier, source.pairs(batch.ids))
        told = {"labels": example.labels, "classes": example.clean_logits.argmax(1)}
        self._add(rows, ATTACK, name, batch.ids, example.images, success=example.success, **told)
        return CellResult({"seen": rows.table()}, CellNotes(examples=int(example.success.sum())))

    def _add_noise(self, rows: Rows, ids: Sequence[str], images: Tensor, labels: Tensor, classes: Tensor) -> None:
        """Noise of the mean and deviation of each image's perturbation in the set, where the set has the image."""
        if self.noise is None:
            return
        known = set(self.noise.ids)
        at = [place for place, name in enumerate(ids) if name in known]
        if not at:
            return
        chosen = [ids[place] for place in at]
        example = judged(self.eyes[0].classifier, self.noise.pairs(chosen))
        draws = [generator_for(self.seed, NOISE, name) for name in chosen]
        noisy = images[at] + MatchedNoise()(example.perturbation, generator=draws)
        self._add(rows, BENIGN, NOISE, chosen, eight_bit(noisy.clamp(0, 1)), labels=labels[at], classes=classes[at])

    def _add(
        self,
        rows: Rows,
        kind: str,
        condition: str,
        ids: Sequence[str],
        images: Float[Tensor, "n channels h w"],
        *,
        labels: Tensor,
        classes: Tensor,
        success: Bool[Tensor, " n"] | None = None,
    ) -> None:
        for place, eyes in enumerate(self.eyes):
            found, logits = eyes.measured(images, [(condition, one) for one in ids])
            confidence, predicted = logits.softmax(1).max(1)
            rows.add(
                len(ids),
                eyes=place,
                kind=kind,
                condition=condition,
                image=list(ids),
                print=list(fingerprints(images)),
                label=labels,
                clean_class=classes,
                predicted=predicted,
                confidence=confidence,
                clean_correct=classes == labels,
                success=torch.zeros(len(ids), dtype=torch.bool) if success is None else success,
                measured=list(found.numpy()),
            )

    def _classes(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            classes: Tensor = self.eyes[0].classifier(images).argmax(1)
        return classes
