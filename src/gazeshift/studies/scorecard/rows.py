"""One cell of a scorecard: what every detector measures of clean images and their benign changes, or of a set."""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector, fingerprints
from gazeshift.detectors import Detector
from gazeshift.errors import SettingsError
from gazeshift.registry import build
from gazeshift.runs.detector.rows import FeatureExtractor, eight_bit, judged
from gazeshift.runs.detector.settings import named_folders
from gazeshift.runs.examples import open_pairs
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.scorecard.settings import Scorecard
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


class ScorecardCells(Reopened):
    """What the cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Scorecard]) -> None:
        self.recipe, self.work, settings = (ScorecardCells, (work,)), work, work.settings
        self.folders = named_folders(settings.detector)
        self.deployed = {name: CalibratedDetector.load(folder) for name, folder in self.folders.items()}
        for one in self.deployed.values():
            one.check(work.classifier)
        named = {name: open_pairs(folder, settings) for name, folder in named_folders(settings.set).items()}
        self.sets = {name: pairs.shown_to(work.classifier) for name, pairs in named.items()}
        if settings.noise_like and settings.noise_like not in self.sets:
            known = ", ".join(self.sets) or "none"
            raise SettingsError(f"--noise-like must name a set, one of {known}, got {settings.noise_like}.")
        kinds: list[Detector] = []
        for one in self.deployed.values():
            if one.detector not in kinds:
                kinds.append(one.detector)
        self.eyes_of = {
            name: kinds.index(one.detector) for name, one in self.deployed.items()
        }  # those alike share them
        self.eyes = [FeatureExtractor(classifier=work.classifier, detector=kind, seed=settings.seed) for kind in kinds]
        self.noise = self.sets[settings.noise_like] if settings.noise_like else next(iter(self.sets.values()), None)

    def clean(self, cell: Cell) -> CellResult:
        """A cell of clean images and their benign changes."""
        rows, right, settings = Rows(SEEN), 0, self.work.settings
        with self.work.reading(cell) as read:
            batch = read.batch
            if batch.ids:
                images = eight_bit(batch.images.to(self.work.classifier.device))
                with torch.no_grad():
                    classes = self.work.classifier(images).argmax(1)
                labels = classes if batch.labels is None else batch.labels.to(classes.device)
                right = int((classes == labels).sum())
                seen = partial(self._add, rows, labels=labels, classes=classes)
                seen(CLEAN, CLEAN, batch.ids, images)
                for spec in settings.benign:
                    draws = [generator_for(settings.seed, spec, name) for name in batch.ids]
                    seen(BENIGN, spec, batch.ids, eight_bit(build("transforms", spec)(images, generator=draws)))
                self._add_noise(rows, batch.ids, images, labels, classes)
        return read.noted(CellResult({"seen": rows.table()}, CellNotes(right=right)))

    def attacked(self, cell: Cell, *, name: str) -> CellResult:
        """A cell of a set's examples, fooled or not."""
        rows, pairs = Rows(SEEN), self.sets[name]
        with self.work.reading(cell, source=pairs) as read:
            example = judged(self.work.classifier, pairs.pairs(read.batch.ids))
            told = {"labels": example.labels, "classes": example.clean_logits.argmax(1)}
            self._add(rows, ATTACK, name, read.batch.ids, example.images, success=example.success, **told)
        return read.noted(CellResult({"seen": rows.table()}, CellNotes(examples=int(example.success.sum()))))

    def _add_noise(self, rows: Rows, ids: Sequence[str], images: Tensor, labels: Tensor, classes: Tensor) -> None:
        """Noise of the mean and deviation of each image's perturbation in the set, where the set has the image."""
        if self.noise is None:
            return
        known = set(self.noise.ids)
        at = [place for place, name in enumerate(ids) if name in known]
        if not at:
            return
        chosen = [ids[place] for place in at]
        example = judged(self.work.classifier, self.noise.pairs(chosen))
        draws = [generator_for(self.work.settings.seed, NOISE, name) for name in chosen]
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
