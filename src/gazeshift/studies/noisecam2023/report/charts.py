"""Figures 6 to 8 of Tan et al. 2023, ROC curves, and the tables of all combinations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gazeshift.report.charts import curves, heat, lines
from gazeshift.report.document import NONE, Chart, Table, number, share
from gazeshift.report.roc import auroc, roc
from gazeshift.report.similarity import percent
from gazeshift.report.similarity_charts import mean_lines, probability
from gazeshift.studies.noisecam2023.report.numbers import (
    ATTACKED,
    CLEAN,
    FACTORS,
    NOISE,
    PEAK,
    WAYS,
    Combination,
    NoisecamScores,
    NoisecamTables,
    chance,
)

NAMES = {CLEAN: "clean", NOISE: "Gaussian"}
DOUBT = "low confidence"
CLUSTERS, DEVIATION = "clusters", "deviation"  # a chart draws what is called noise as a control
COLOURS = {CLUSTERS: "--attacked", DEVIATION: "--noise"}
AREAS = {"AUC clean": (CLEAN,), "AUC Gaussian": (NOISE,), "AUC both": (CLEAN, NOISE)}
FIRST = 12


def detectors(found: NoisecamTables) -> dict[str, NoisecamScores]:
    """Both detectors' answers, by name; one that saw nothing is left out."""
    both = {CLUSTERS: found.noisecam, DEVIATION: found.deviation}
    return {name: said for name, said in both.items() if said is not None and said.at(CLEAN).any()}


def similarity(found: NoisecamTables, kind: int) -> Chart:
    """Figure 6a (attacked) or 6b (noise)."""
    said = (
        "adversarial examples deviate further than Gaussian noise, deeper layers more, 5-1 most; 25 % further than 200 "
        "and 400 %.",
        "noise makes the layers deviate too, 5-1 among them.",
    )[kind]
    return replace(mean_lines(found.gaze, kind), item=f"Fig 6{'ab'[kind]}", paper=said, name=f"similarity-{'ab'[kind]}")


def compromise(found: NoisecamTables) -> Chart:
    """Figure 7."""
    said = "about 0.4 at the lowest strength for any layer, 0.8 above 200 % or below 25 %."
    return replace(probability(found.gaze), item="Fig 7", paper=said, name="compromise")


def accuracy(found: NoisecamTables) -> Chart:
    """Figure 8a."""
    return _by_strength(
        found,
        "Accuracy of both detectors",
        {name: [said.accuracy(s) for s in found.strengths] for name, said in detectors(found).items()},
        y_title="accuracy",
        level=2 / 3,
        colours=COLOURS,
        item="Fig 8a",
        about="Clusters in NoiseCAM, and deviation of one layer. Of attacked, noisy and clean test images, one of each "
        "per example. Dotted: what a detector that never "
        "raises the alarm has, two thirds.",
        paper="NoiseCAM is the more accurate at every strength (bars without numbers).",
        name="accuracy",
    )


def rates(found: NoisecamTables) -> Chart:
    """Figure 8b."""
    series: dict[str, list[float]] = {}
    for name, said in detectors(found).items():
        series[f"{name}, TPR"] = [said.rate(ATTACKED, s) for s in found.strengths]
        for kind, what in NAMES.items():
            series[f"{name}, TNR {what}"] = [1 - said.rate(kind, s) for s in found.strengths]
    return _by_strength(
        found,
        "Attacks found, and benign images left alone",
        series,
        y_title="rate",
        item="Fig 8b",
        about="TPR: attacked test images that raise the alarm. TNR: clean ones, and ones with matched Gaussian noise, "
        "that do not. TPR + TNR = 1 is chance.",
        paper="the deviation has a lower TPR and a higher TNR than NoiseCAM; its TPR falls slightly from 25 to 400 %, "
        "NoiseCAM's stays.",
        name="rates",
    )


def _by_strength(found: NoisecamTables, title: str, series: Mapping[str, Sequence[float]], **words: Any) -> Chart:
    places = [percent(strength) for strength in found.strengths]
    return lines(title, places, series, x_title="strength", y_range=(0.0, 1.02), empty=_nothing(found), **words)


def receiver(found: NoisecamTables) -> Chart:
    """ROC curves of both detectors and of the map's maximum, at the attack's own strength."""
    s, scored = found.shown, {}
    for name, said in detectors(found).items():
        for kind, what in NAMES.items():
            scored[f"{name} against {what}"] = said.score[said.at(ATTACKED, s)], said.score[said.at(kind, s)]
    if found.noisecam is not None:
        peak, at = found.noisecam.peak, found.noisecam.at
        scored["map's maximum against Gaussian"] = peak[at(ATTACKED, s)], peak[at(NOISE, s)]
    return curves(
        f"ROC curves at {percent(found.shown)}",
        {name: roc(*sides) for name, sides in scored.items()},
        x_title="false alarms",
        y_title="attacks found",
        summary={name: f"AUC {number(auroc(*sides), 3)}" for name, sides in scored.items()},
        diagonal=True,
        about="Clusters are scored by their number, the deviation by how many standard deviations the "
        "similarity lies below those under noise. Dotted: chance.",
        name="roc",
        empty=_nothing(found),
    )


def areas(found: NoisecamTables) -> Chart:
    """AUC per strength against each kind of benign image."""
    series = {
        f"{name}, {what}": [said.auroc(s, (kind,)) for s in found.strengths]
        for name, said in (detectors(found) | {DOUBT: found.doubt}).items()
        for kind, what in NAMES.items()
    }
    return _by_strength(
        found,
        "AUC at each strength",
        series,
        y_title="AUC",
        level=0.5,
        about="Against clean images and against Gaussian noise apart; low confidence is what the class probabilities "
        "alone say, without any map. Dotted: chance.",
        name="auc",
    )


def strengths(found: NoisecamTables) -> Table:
    """Both detectors in numbers, negatives apart and together."""

    def decided(said: NoisecamScores, s: float) -> list[str]:
        decisions = said.accuracy(s), said.rate(ATTACKED, s), *(1 - said.rate(kind, s) for kind in NAMES)
        return [NONE] * len(decisions) if said is found.doubt else [share(value) for value in decisions]

    rows = [
        [f"{name}, {percent(s)}", *decided(said, s), *_areas(said, s), str(int(said.at(CLEAN).sum()))]
        for name, said in (detectors(found) | {DOUBT: found.doubt}).items()
        for s in found.strengths
    ]
    head = ["detector", "accuracy", "TPR", "TNR clean", "TNR Gaussian", *AREAS]
    return Table(
        title="Both detectors at every strength",
        head=[*head, "examples"],
        rows=rows,
        about=f"Clusters: NoiseCAM at {found.main.map}, binarised by {WAYS[found.main.binarise]}. "
        "Low confidence: one minus the probability of the class predicted, without any map and without a threshold.",
        name="strengths",
    )


def _areas(said: NoisecamScores, strength: float) -> list[str]:
    return [number(said.auroc(strength, kinds), 3) for kinds in AREAS.values()]


def combinations(found: NoisecamTables, against: str) -> Chart:
    """AUC of every combination against one kind of benign image, and of the map's maximum."""
    by_map: dict[str, dict[str, NoisecamScores]] = {}
    for one, said in found.verdicts.items():
        by_map.setdefault(one.map, {})[one.binarise] = said
    values = []
    for known in by_map.values():
        row = [known[way].auroc(found.shown, (against,)) if way in known else None for way in WAYS]
        values.append([*row, next(iter(known.values())).auroc(found.shown, (against,), peak=True)])
    return heat(
        f"AUC of every combination against {NAMES[against]} images",
        [*WAYS.values(), PEAK],
        list(by_map),
        values,
        x_title="binarised by",
        about=f"Test images at {percent(found.shown)}; 0.5 is chance. Rows are layer, normalisation of the weights and "
        "factor. The last column needs no clusters: it is the maximum of the map.",
        name=f"combinations-{against}",
        wide=True,
        empty=_nothing(found),
    )


def best(found: NoisecamTables) -> Table:
    """The combinations that separate best on the test images, and what the paper's rule makes of them."""
    ranked = [one for one, _ in found.ranked()]
    shown = dict.fromkeys((*ranked[:FIRST], *(one for one in (found.chosen, found.main) if one in ranked)))
    rows = [[str(ranked.index(one) + 1), *_described(one), *_rates(found, one)] for one in shown]
    head = ["rank", "layer", "normalised", "factor", "binarised by", *AREAS]
    looks, n = len(ranked), found.tested
    return Table(
        title=f"The best of {looks} combinations",
        head=[*head, "accuracy", "TPR", "TNR", "points"],
        rows=rows,
        about=f"By AUC against clean and Gaussian test images together ({n} examples). Among {looks} combinations of "
        f"no use, the best would reach {number(0.5 + chance(n, 2 * n, looks), 3)} by chance in 1 of 40 studies. "
        "Accuracy, TPR and TNR are of the rule of more than three clusters; points: mean share of marked pixels. Below "
        f"the first {FIRST}: the one that was best on the calibration images, and the one of figure 8.",
        name="best",
    )


def _described(one: Combination) -> list[str]:
    return [one.layer, one.alpha_norm, FACTORS[one.factor], WAYS[one.binarise]]


def _rates(found: NoisecamTables, one: Combination) -> list[str]:
    said, s = found.verdicts[one], found.shown
    benign = said.alarm[said.at(CLEAN) | said.at(NOISE, s)]
    points = said.share[said.at(CLEAN) | said.at(NOISE, s) | said.at(ATTACKED, s)]
    return [
        *_areas(said, s),
        share(said.accuracy(s)),
        share(said.rate(ATTACKED, s)),
        share(1 - float(benign.mean()) if benign.size else None),
        share(float(np.nanmean(points)) if np.isfinite(points).any() else None, 1),
    ]


def _nothing(found: NoisecamTables) -> str:
    return "" if detectors(found) else "No test image has an adversarial example, so there is nothing to detect."
