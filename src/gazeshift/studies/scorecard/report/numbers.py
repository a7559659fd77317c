"""What detectors said of every image of a scorecard, as arrays, and how well that tells attacks from the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gazeshift.errors import DataError
from gazeshift.report.cells import tuples
from gazeshift.report.study import REPAIR, Study
from gazeshift.studies.scorecard.manifest import DetectorEntry, ScorecardManifest, SetEntry
from gazeshift.studies.scorecard.report.bootstrap import Negatives, Resample, mean, resampled, share

CLEAN, ATTACK = "clean", "attack"
AS_FITTED, CLEAN_ONLY, WITHOUT, ONLY = "as fitted", "clean images only", "without", "only"
KEYS = ("detector", "learned", "from_set")
COLUMNS = ("kind", "condition", "image", "clean_correct", "success", "suspicion", "is_attack")
FOOLED, FAILED, ALL = "successful", "failed", "all"
AUROC, FLAGGED = "AUROC", "flagged"
RATES = {"TPR at 5 %": 0.05, "TPR at 1 %": 0.01}  # of false alarms
MEASURES = (AUROC, *RATES, FLAGGED)
Samples = Float[np.ndarray, " b"]


class Key(NamedTuple):
    """A detector, from what it learned (`AS_FITTED` ...), and which attack was left out or which set was the only."""

    detector: str
    learned: str
    of: str


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well one attack's examples are told from what is no attack.

    Args:
        n: examples.
        values: of `MEASURES`: the AUROC against clean images and their benign changes; the share above the threshold
            that a rate of false alarms leaves; the share that the detector itself called attacks. Arrays as of
            `bootstrap`.
    """

    n: int
    values: Mapping[str, Samples]


@dataclass(frozen=True, kw_only=True)
class ScorecardScores:
    """Everything that one detector said.

    Args:
        kind: clean, benign or attack.
        condition: the benign change, or the set.
        image: place of the image it is of, among all images.
        correct: the clean image was classified right.
        success: the attack fooled the model.
        flagged: called an attack.
        suspicion: larger is more suspicious; infinite where it is undefined, because that is called an attack.
        counts: of the bootstrap.
    """

    kind: Any
    condition: Any
    image: Int[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]
    flagged: Bool[np.ndarray, " n"]
    suspicion: Float[np.ndarray, " n"]
    counts: Int[np.ndarray, "b i"]

    @cached_property
    def negatives(self) -> Negatives:
        """Clean images, classified right or not, and all their benign changes."""
        return Negatives.of(self.sample(self.kind != ATTACK), self.counts)

    def sample(self, chosen: Bool[np.ndarray, " n"]) -> Resample:
        """Suspicions of the chosen rows."""
        return Resample(self.suspicion[chosen], self.image[chosen])

    def examples(self, name: str | None = None, part: str = FOOLED) -> Bool[np.ndarray, " n"]:
        """Rows of a set, or of all, that fooled the model, failed to, or both."""
        chosen = self.kind == ATTACK
        if name is not None:
            chosen = chosen & (self.condition == name)
        wanted = {FOOLED: self.success, FAILED: ~self.success, ALL: np.ones(len(chosen), dtype=bool)}[part]
        mask: Bool[np.ndarray, " n"] = chosen & wanted
        return mask

    def benign(self, condition: str) -> Bool[np.ndarray, " n"]:
        """Rows of a benign change, or of the clean images."""
        mask: Bool[np.ndarray, " n"] = (self.kind != ATTACK) & (self.condition == condition)
        return mask

    def detection(self, name: str | None, part: str = FOOLED) -> Detection:
        """Of a set, or of all examples together."""
        chosen = self.examples(name, part)
        positive = self.sample(chosen)
        return Detection(
            n=int(chosen.sum()),
            values={
                AUROC: self.negatives.auroc(positive),
                **{name: self.negatives.detected(positive, rate) for name, rate in RATES.items()},
                FLAGGED: share(self.flagged[chosen], positive.image, self.counts),
            },
        )


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A detector in one way to learn: a row of the scorecard.

    Args:
        name: of the row.
        detector: its name in the manifest.
        knows: it learned from the tested attacks, on other images.
        scores: what it said, by set; another one for each if the tested attack was left out.
        common: what it said if that does not depend on the set, or None.
    """

    name: str
    detector: str
    knows: bool
    scores: Mapping[str, ScorecardScores]
    common: ScorecardScores | None

    @cached_property
    def detections(self) -> Mapping[str, Detection]:
        """Of the successful examples of every set that has some."""
        found = {name: scores.detection(name) for name, scores in self.scores.items()}
        return {name: one for name, one in found.items() if one.n}

    @cached_property
    def means(self) -> Mapping[str, Samples]:
        """Of each measure over the attacks."""
        return means(self.detections)

    @property
    def worst(self) -> str | None:
        """The attack that it tells worst."""
        return min(self.detections, key=lambda name: self.detections[name].values[AUROC][0], default=None)

    def false_alarms(self, condition: str) -> tuple[int, int] | None:
        """Flagged and all images under a benign change; None if its threshold is another one for every attack."""
        if self.common is None:
            return None
        chosen = self.common.flagged[self.common.benign(condition)]
        return int(chosen.sum()), len(chosen)


@dataclass(frozen=True, kw_only=True)
class ScorecardNumbers:
    """Everything that the page says in numbers.

    Args:
        scores: by detector and way to learn.
        sets: by name.
        detectors: by name.
        conditions: clean, then the benign changes.
        adaptive: results of attacks that know the detector; may be empty.
    """

    scores: Mapping[Key, ScorecardScores]
    sets: Mapping[str, SetEntry]
    detectors: Mapping[str, DetectorEntry]
    conditions: Sequence[str]
    adaptive: Sequence[Mapping[str, object]]

    def fitted(self, detector: str) -> ScorecardScores:
        """As it was fitted."""
        return self.scores[Key(detector, AS_FITTED, "")]

    @property
    def main(self) -> str:
        """The detector named first."""
        return next(iter(self.detectors))

    @property
    def clean(self) -> int:
        """How many clean images there are."""
        return int(self.fitted(self.main).benign(CLEAN).sum())

    @cached_property
    def supervised(self) -> list[str]:
        """Detectors that learned from sets."""
        taught = {key.detector for key in self.scores if key.learned != AS_FITTED}
        return [name for name in self.detectors if name in taught]

    @cached_property
    def tested(self) -> list[str]:
        """Sets with an example that fools the model."""
        scores = self.fitted(self.main)
        return [name for name in self.sets if scores.examples(name).any()]

    @cached_property
    def contestants(self) -> list[Contestant]:
        """Every detector; one that learned from sets in three ways."""
        return [one for name in self.detectors for one in self._ways(name)]

    def left_out(self, detector: str) -> Mapping[str, ScorecardScores]:
        """By set, what the detector says that learned from the sets of other attacks; without those it cannot have."""
        keys = {name: Key(detector, WITHOUT, told.family) for name, told in self.sets.items()}
        return {name: self.scores[key] for name, key in keys.items() if key in self.scores}

    def _ways(self, name: str) -> list[Contestant]:
        ways = {CLEAN_ONLY: f"{name}, clean only", AS_FITTED: f"{name}, all sets" if name in self.supervised else name}
        found = []
        for learned, called in ways.items():
            if Key(name, learned, "") not in self.scores:
                continue  # it learns nothing from clean images alone
            scores = self.scores[Key(name, learned, "")]
            knows = learned == AS_FITTED and name in self.supervised
            same = dict.fromkeys(self.sets, scores)
            found.append(Contestant(name=called, detector=name, knows=knows, scores=same, common=scores))
        unseen = self.left_out(name)
        if unseen:
            more = Contestant(name=f"{name}, unseen attack", detector=name, knows=False, scores=unseen, common=None)
            found.insert(len(found) - 1, more)
        return found


def read_found(study: Study) -> ScorecardNumbers:
    """All numbers of a finished scorecard.

    Raises:
        DataError: its table is absent or damaged, or says nothing of a detector.
    """
    table, told = study.table("rows"), study.entries(ScorecardManifest)
    lacking = [name for name in (*KEYS, *COLUMNS) if name not in table.column_names]
    if lacking:
        raise DataError(f"{study.folder / 'rows.parquet'} lacks the column {lacking[0]}. {REPAIR}")

    def column(name: str, kind: type) -> np.ndarray:
        values: np.ndarray = table[name].to_numpy(zero_copy_only=False).astype(kind)
        return values

    names, places = np.unique(column("image", str), return_inverse=True)
    suspicion, counts = column("suspicion", float), resampled(len(names))
    arrays = {
        "kind": column("kind", str),
        "condition": column("condition", str),
        "image": places,
        "correct": column("clean_correct", bool),
        "success": column("success", bool),
        "flagged": column("is_attack", bool),
        "suspicion": np.where(np.isnan(suspicion), np.inf, suspicion),
    }
    rows: dict[Key, list[int]] = {}
    for at, key in enumerate(tuples(table, *KEYS)):
        rows.setdefault(Key(*key), []).append(at)
    found = {
        key: ScorecardScores(
            **{name: array[own] for name, array in arrays.items()}, counts=counts[:1] if key.learned == ONLY else counts
        )
        for key, own in rows.items()
    }
    silent = [name for name in told.detectors if Key(name, AS_FITTED, "") not in found]
    if silent or not found:
        raise DataError(f"{study.folder / 'rows.parquet'} says nothing of detector {', '.join(silent)}. {REPAIR}")
    seen = dict.fromkeys(arrays["condition"][arrays["kind"] != ATTACK].tolist())
    return ScorecardNumbers(
        scores=found,
        sets=told.sets,
        detectors=told.detectors,
        conditions=sorted(seen, key=lambda name: name != CLEAN),
        adaptive=[one for one in told.adaptive if isinstance(one, Mapping)],
    )


def means(detections: Mapping[str, Detection]) -> Mapping[str, Samples]:
    """Of each measure over the attacks."""
    return {measure: mean([one.values[measure] for one in detections.values()]) for measure in MEASURES}
