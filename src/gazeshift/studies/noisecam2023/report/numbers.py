"""What both detectors of a noisecam2023 study said, as arrays: scores and alarms by kind, strength and part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.report.similarity import SimilarityNumbers, numbers, short
from gazeshift.report.study import Study

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
        gaze: similarities of the maps, as a renkhoff2022 study has them.
        verdicts: by combination.
        deviation: of one layer.
        doubt: one minus the model's confidence in its class, as a score; it raises no alarm.
        main: the combination that was followed through all strengths.
        probe: the layer of the deviation.
    """

    gaze: SimilarityNumbers
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
    """All numbers of a finished study."""
    verdicts, called = study.table("verdicts"), _names(study)
    keys = zip(*(verdicts[name].to_pylist() for name in Combination._fields), strict=True)
    places: dict[Combination, list[int]] = {}
    for at, (layer, *rest) in enumerate(keys):
        places.setdefault(Combination(called.get(layer, layer), *rest), []).append(at)
    columns = {name: verdicts[name].to_numpy(zero_copy_only=False) for name in verdicts.column_names}
    return NoisecamTables(
        gaze=numbers(study),
        verdicts={key: _verdicts({name: column[at] for name, column in columns.items()}) for key, at in places.items()},
        deviation=_deviation(study.table("behaviour") if study.has("behaviour") else None),
        doubt=_doubt(study),
        main=_main(study, called),
        probe=called.get(study.manifest["probe"], study.manifest["probe"]),
    )


def _main(study: Study, called: Mapping[str, str]) -> Combination:
    main = Combination(**study.manifest["main"])
    return main._replace(layer=called.get(main.layer, main.layer))


def _names(study: Study) -> dict[str, str]:
    """Layers as the papers' axes name them, where they do."""
    return {layer["name"]: short((layer["name"], *layer["aliases"])) for layer in study.manifest["layers"]}


def _verdicts(columns: Mapping[str, Any]) -> NoisecamScores:
    return NoisecamScores(
        kind=columns["kind"],
        strength=columns["strength"].astype(float),
        is_test=columns["part"] == "test",
        score=columns["clusters"].astype(float),
        alarm=columns["is_attack"].astype(bool),
        share=columns["share"].astype(float),
        peak=columns["peak"].astype(float),
    )


def _deviation(table: Any) -> NoisecamScores:
    rows = {} if table is None else {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    nothing = np.array([])
    strength = rows.get("strength", nothing).astype(float)
    undefined = np.full(strength.shape, np.nan)
    return NoisecamScores(
        kind=rows.get("kind", nothing),
        strength=strength,
        is_test=np.ones(strength.shape, dtype=bool),
        score=rows.get("z", nothing).astype(float),
        alarm=rows.get("is_attack", nothing).astype(bool),
        share=undefined,
        peak=undefined,
    )


def _doubt(study: Study) -> NoisecamScores:
    """What a reader of the class probabilities alone would suspect."""
    tests = {image for image, part in _columns(study, "verdicts", "image", "part") if part == "test"}
    found: dict[tuple[str, str, float], float] = {}
    names = ("image", "kind", "strength", "clean_confidence", "changed_confidence")
    for image, kind, strength, clean, changed in _columns(study, "images", *names):
        found[image, CLEAN, 0.0] = 1 - clean
        found[image, kind, strength] = 1 - changed
    score = np.array(list(found.values()), dtype=float)
    return NoisecamScores(
        kind=np.array([kind for _, kind, _ in found]),
        strength=np.array([strength for *_, strength in found], dtype=float),
        is_test=np.array([image in tests for image, *_ in found], dtype=bool),
        score=score,
        alarm=np.zeros(score.shape, dtype=bool),
        share=np.full(score.shape, np.nan),
        peak=np.full(score.shape, np.nan),
    )


def _columns(study: Study, table: str, *names: str) -> Iterator[tuple[Any, ...]]:
    found = study.table(table, names)
    return zip(*(found[name].to_pylist() for name in names), strict=True)


def auroc(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]) -> float:
    """Probability that a positive scores above a negative, equals counting half; NaN if either side has no number.

    >>> auroc(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    0.875
    """
    positive, negative = (side[np.isfinite(side)] for side in (positive, negative))
    if not positive.size or not negative.size:
        return float("nan")
    ordered = np.sort(negative)
    below, upto = (np.searchsorted(ordered, positive, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / negative.size)


def roc(
    positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]
) -> tuple[list[float | None], list[float | None]]:
    """False-alarm and detection rate at every threshold, from (0, 0) to (1, 1)."""
    positive, negative = (side[np.isfinite(side)] for side in (positive, negative))
    if not positive.size or not negative.size:
        return [], []
    levels = np.unique(np.concatenate([positive, negative]))[::-1]
    rates = ([0.0, *(float((side >= level).mean()) for level in levels)] for side in (negative, positive))
    false, true = rates
    return list(false), list(true)


def chance(positives: int, negatives: int, looks: int = 1) -> float:
    """How far above 0.5 an AUROC of two samples that do not differ goes in 1 of 40 studies that take so many looks.

    Normal approximation to Mann and Whitney's statistic; several looks share the error (Bonferroni).
    """
    if not positives or not negatives:
        return 0.5
    spread = sqrt((positives + negatives + 1) / (12 * positives * negatives))
    return min(0.5, NormalDist().inv_cdf(1 - 0.025 / max(1, looks)) * spread)
