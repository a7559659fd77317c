"""What both detectors of a noisecam2023 study said, as arrays: scores and alarms by kind, strength and part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from gazeshift.report.cells import tuples
from gazeshift.report.roc import auroc
from gazeshift.report.similarity import SimilarityNumbers, numbers, short
from gazeshift.report.study import Study
from gazeshift.studies.noisecam2023.manifest import NoisecamManifest

CLEAN, ATTACKED, NOISE = "clean", "attacked", "noise"
FACTORS = {"none": "1", "logit": "exp(logit)", "prob": "exp(probability)"}
WAYS = {
    "gate": "half of the range, gated",
    "otsu": "Otsu",
    "mean_plus_k_std": "mean + 3 std",
    "positive": "above 0",
    "absolute": "learned level",
}
PEAK = "maximum"
NOTHING = pa.table({"kind": pa.array([], pa.string()), "strength": pa.array([], pa.float32())})
SURE = ("image", "kind", "strength", "clean_confidence", "changed_confidence")
FOOLED = ("kind", "strength", "switched_sum", "switched_count")


class Combination(NamedTuple):
    """One reading of the paper's NoiseCAM detector."""

    layer: str
    alpha_norm: str
    factor: str
    binarise: str

    @property
    def map(self) -> str:
        """The map without the way to binarise it."""
        return f"{self.layer}, {self.alpha_norm}, E = {FACTORS[self.factor]}"


@dataclass(frozen=True, kw_only=True)
class NoisecamScores:
    """One detector's answers to some images.

    Args:
        kind: clean, attacked or noise.
        strength: 0 for clean images.
        is_test: the image is in the test part.
        score: larger is more suspicious.
        alarm: the detector's own decision.
        share: part of the map's pixels that are points; NaN where there are none to count.
        peak: the map's maximum, likewise.
    """

    kind: Any
    strength: Float[np.ndarray, " n"]
    is_test: Bool[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    alarm: Bool[np.ndarray, " n"]
    share: Float[np.ndarray, " n"]
    peak: Float[np.ndarray, " n"]

    def at(self, kind: str, strength: float = 0.0, *, test: bool = True) -> Bool[np.ndarray, " n"]:
        """Which rows are of a kind, a strength (clean images have none) and a part."""
        size = np.isclose(self.strength, 0.0 if kind == CLEAN else strength)
        mask: Bool[np.ndarray, " n"] = (self.kind == kind) & size & (self.is_test == test)
        return mask

    def rate(self, kind: str, strength: float) -> float:
        """Share of test images that raise the alarm; NaN without one."""
        chosen = self.alarm[self.at(kind, strength)]
        return float(chosen.mean()) if chosen.size else float("nan")

    def accuracy(self, strength: float) -> float:
        """Share of right decisions over attacked, noisy and clean test images together."""
        right = [self.alarm[self.at(ATTACKED, strength)]]
        right += [~self.alarm[self.at(kind, strength)] for kind in (CLEAN, NOISE)]
        together = np.concatenate(right)
        return float(together.mean()) if together.size else float("nan")

    def auroc(self, strength: float, against: Sequence[str], *, test: bool = True, peak: bool = False) -> float:
        """Of the score, or of the map's maximum, for attacked images against the kinds named."""
        values = self.peak if peak else self.score
        negative = np.concatenate([values[self.at(kind, strength, test=test)] for kind in against])
        return auroc(values[self.at(ATTACKED, strength, test=test)], negative)


@dataclass(frozen=True, kw_only=True)
class NoisecamTables:
    """Everything that the page says in numbers.

    Args:
        told: the manifest.
        gaze: similarities of the maps, as a renkhoff2022 study has them.
        seeds: images attacked.
        switched: those whose class was changed.
        fooled: images of a kind and strength (rounded to four digits, for tables have it in single precision) whose
            class is another one, and all of them.
        verdicts: by combination.
        deviation: of one layer.
        doubt: one minus the model's confidence in its class, as a score; it raises no alarm.
        main: the combination that was followed through all strengths.
        probe: the layer of the deviation.
    """

    told: NoisecamManifest
    gaze: SimilarityNumbers
    seeds: int
    switched: int
    fooled: Mapping[tuple[str, float], Sequence[int]]
    verdicts: Mapping[Combination, NoisecamScores]
    deviation: NoisecamScores
    doubt: NoisecamScores
    main: Combination
    probe: str

    @property
    def strengths(self) -> tuple[float, ...]:
        """Ascending."""
        return self.gaze.strengths

    @property
    def shown(self) -> float:
        """The strength nearest to the attack as it was made."""
        return self.strengths[self.gaze.own]

    @property
    def noisecam(self) -> NoisecamScores | None:
        """The main combination's answers; None if there is no example, or nothing it could learn from."""
        return self.verdicts.get(self.main)

    @cached_property
    def tested(self) -> int:
        """Test images with an example."""
        one = next(iter(self.verdicts.values()), None)
        return 0 if one is None else int(one.at(CLEAN).sum())

    @cached_property
    def deviated(self) -> int:
        """Test images that the deviation saw."""
        return int(self.deviation.at(CLEAN).sum())

    @cached_property
    def chosen(self) -> Combination | None:
        """The combination that separates best on the calibration part, from benign images of both kinds."""
        scored = {one: self.verdicts[one].auroc(self.shown, (CLEAN, NOISE), test=False) for one in self.verdicts}
        known = {one: value for one, value in scored.items() if not np.isnan(value)}
        return max(known, key=lambda one: known[one]) if known else None

    def ranked(self) -> Iterator[tuple[Combination, float]]:
        """Combinations by AUROC against benign test images of both kinds, best first."""
        scored = [(one, said.auroc(self.shown, (CLEAN, NOISE))) for one, said in self.verdicts.items()]
        yield from sorted(scored, key=lambda pair: -pair[1] if not np.isnan(pair[1]) else 1.0)


def read_found(study: Study) -> NoisecamTables:
    """All numbers of a finished study.

    Raises:
        DataError: a table or the manifest is absent or damaged.
    """
    told, verdicts = study.entries(NoisecamManifest), study.table("verdicts")
    called = {layer.name: short((layer.name, *layer.aliases)) for layer in told.layers}
    places: dict[Combination, list[int]] = {}
    for at, (layer, *rest) in enumerate(tuples(verdicts, *Combination._fields)):
        places.setdefault(Combination(called.get(layer, layer), *rest), []).append(at)
    images = study.table("images", (*SURE, "switched"))
    switched = study.table("seeds", ["switched"])["switched"].to_pylist()
    groups = images.group_by(["kind", "strength"]).aggregate([("switched", "sum"), ("switched", "count")])
    main = told.main
    return NoisecamTables(
        told=told,
        gaze=numbers(study),
        seeds=len(switched),
        switched=sum(switched),
        fooled={(kind, round(strength, 4)): pair for kind, strength, *pair in tuples(groups, *FOOLED)},
        verdicts={key: _scores(verdicts.take(at), "clusters") for key, at in places.items()},
        deviation=_scores(study.table("behaviour") if study.has("behaviour") else NOTHING, "z"),
        doubt=_doubt(images, verdicts),
        main=Combination(called.get(main.layer, main.layer), main.alpha_norm, main.factor, main.binarise),
        probe=called.get(told.probe, told.probe),
    )


def _scores(table: pa.Table, score: str) -> NoisecamScores:
    """A detector's answers; what the table does not say is NaN, a test image, and no alarm."""

    def column(name: str, kind: type, other: object) -> np.ndarray:
        if name not in table.column_names:
            return np.full(table.num_rows, other)
        values: np.ndarray = table[name].to_numpy(zero_copy_only=False).astype(kind)
        return values

    return NoisecamScores(
        kind=column("kind", str, ""),
        strength=column("strength", float, 0.0),
        is_test=column("part", str, "test") == "test",
        score=column(score, float, np.nan),
        alarm=column("is_attack", bool, False),
        share=column("share", float, np.nan),
        peak=column("peak", float, np.nan),
    )


def _doubt(images: pa.Table, verdicts: pa.Table) -> NoisecamScores:
    """What a reader of the class probabilities alone would suspect."""
    part = dict(tuples(verdicts, "image", "part"))
    found: dict[tuple[str, str, float], float] = {}
    for image, kind, strength, clean, changed in tuples(images, *SURE):
        found[image, CLEAN, 0.0] = 1 - clean
        found[image, kind, strength] = 1 - changed
    columns = {
        "kind": [kind for _, kind, _ in found],
        "strength": [strength for *_, strength in found],
        "part": [part.get(image, "") for image, *_ in found],
        "doubt": list(found.values()),
    }
    return _scores(pa.table(columns), "doubt")


def chance(positives: int, negatives: int, looks: int = 1) -> float:
    """How far above 0.5 an AUROC of two samples that do not differ goes in 1 of 40 studies that take so many looks.

    Normal approximation to Mann and Whitney's statistic; several looks share the error (Bonferroni).
    """
    if not positives or not negatives:
        return 0.5
    spread = sqrt((positives + negatives + 1) / (12 * positives * negatives))
    return min(0.5, NormalDist().inv_cdf(1 - 0.025 / max(1, looks)) * spread)
