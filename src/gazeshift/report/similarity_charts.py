"""Figures 2 and 4 to 7 of Renkhoff et al. 2022, and the tables beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gazeshift.report.charts import bars, boxes, lines
from gazeshift.report.document import Chart, Table, number, share
from gazeshift.report.similarity import (
    ATTACKED,
    NOISE,
    PREDICTED,
    REFERENCE,
    ExampleOutcome,
    SimilarityNumbers,
    mean,
    percent,
)
from gazeshift.report.statistics import Compromise, wilson

OWN, CLEAN = "each image's own class", "the clean image's class"
SIMILARITY = "cosine similarity"
WHOLE = (0.0, 1.02)


def coverage_arms(found: SimilarityNumbers) -> Chart:
    """Figure 2a, with what the seeds alone cover."""
    wanted = {"adversarial": ("adversarial", 1.0), "random": ("random", 1.0), "seeds alone": ("seeds", 0.0)}
    return _curves(
        found,
        {name: found.curves[key] for name, key in wanted.items() if key in found.curves},
        "Neuron coverage: adversarial and random steps",
        item="Fig 2a",
        about="After each seed: all its mutants count in both arms. The third line is what the unchanged seeds cover.",
        paper="0.456 (adversarial) and 0.442 (random) after 20 seeds, from about 0.05. Its random curve is the run at "
        "25 %, and only class-changing mutants counted in the adversarial arm.",
        name="coverage-arms",
    )


def coverage_strengths(found: SimilarityNumbers) -> Chart:
    """Figure 2b."""
    series = {percent(s): values for (arm, s), values in found.curves.items() if arm == "adversarial"}
    return _curves(
        found,
        series,
        "Neuron coverage at each strength of the step",
        item="Fig 2b",
        about="Here the strength scales each step of the fuzzing, not the finished perturbation.",
        paper="0.4435, 0.4474, 0.4562, 0.4585 and 0.4586 after 20 seeds at 25 to 400 %.",
        name="coverage-strengths",
    )


def _curves(found: SimilarityNumbers, series: Mapping[str, Sequence[float]], title: str, **words: Any) -> Chart:
    places: list[int | str] = list(range(1, 1 + max(map(len, series.values()), default=0)))
    if len(places) <= 8:  # an axis of numbers would have ticks at halves
        places = [str(place) for place in places]
    off = found.manifest.settings["coverage_seeds"] == 0
    empty = "No seeds were set aside for coverage curves (--coverage-seeds 0)." if off else ""
    return lines(title, places, series, x_title="seeds", y_title="neuron coverage", digits=4, empty=empty, **words)


def pooled_boxes(found: SimilarityNumbers, kind: int) -> Chart:
    """Figure 4a (attacked) or 4b (noise): all strengths together."""
    what, letter = (("adversarial examples", "a"), ("Gaussian noise", "b"))[kind]
    values = np.concatenate(list(found.values(PREDICTED, kind, found.main)), axis=1)
    colour = ("--attacked", "--noise")[kind]
    return boxes(
        f"Similarity to the clean map: {what}",
        found.layers,
        {what: list(values)},
        x_title="layer",
        y_title=SIMILARITY,
        y_range=WHOLE,
        colours={what: colour},
        item=f"Fig 4{letter}",
        about="All strengths together; boxes are quartiles, whiskers the 5 % and 95 % points.",
        paper=(
            "lower and more spread than under noise, most of all at 4-1 and 5-1; the axis runs from 0.5 to 1.",
            "noise moves the maps too, though less than adversarial examples do.",
        )[kind],
        name=f"boxes-{letter}",
    )


def mean_lines(found: SimilarityNumbers, kind: int, target: int = PREDICTED) -> Chart:
    """Figure 5a (attacked) or 5b (noise): a line for each strength."""
    what, letter = (("adversarial examples", "a"), ("Gaussian noise", "b"))[kind]
    levels = [level.attacked if kind == ATTACKED else level.noise for level in found.levels(target)]
    said = _target(target)
    return lines(
        f"Mean similarity at each strength: {what}{said}",
        found.layers,
        {percent(s): list(level.mean) for s, level in zip(found.strengths, levels, strict=True)},
        x_title="layer",
        y_title=SIMILARITY,
        y_range=WHOLE,
        item=f"Fig 5{letter}" if target == PREDICTED else "",
        paper=(
            "25, 200 and 400 % much alike, 50 and 100 % almost identical.",
            "above the adversarial curves at every strength.",
        )[kind]
        if target == PREDICTED
        else "",
        name=f"means-{letter}-{target}",
    )


def probability(found: SimilarityNumbers, target: int = PREDICTED, *, paired: bool = False) -> Chart:
    """Figure 6, or its paired version."""
    levels = zip(found.strengths, found.levels(target), strict=True)
    series = {percent(s): list(level.paired if paired else level.probability) for s, level in levels}
    first = target == PREDICTED and not paired
    about = (
        "Share of examples whose map is less alike than the same image's under its own noise. Dotted: chance."
        if paired
        else "Share of examples whose map is less alike than the median under noise of this strength. Dotted: chance, "
        "which noise itself reaches by construction."
    )
    return lines(
        ("Less alike than under the image's own noise" if paired else "Compromise probability") + _target(target),
        found.layers,
        series,
        x_title="layer",
        y_title="share" if paired else "probability",
        y_range=(0.0, 1.02),
        level=0.5,
        item="Fig 6" if first else "",
        about=about,
        paper="about 0.4 at the lowest strength for any layer, 0.8 above 200 %." if first else "",
        name=f"{'paired' if paired else 'compromise'}-{target}",
    )


def compromised_layers(found: SimilarityNumbers) -> Chart:
    """Figure 7."""
    count = len(found.layers)
    levels = zip(found.strengths, found.levels(PREDICTED), strict=True)
    shares = {
        percent(s): list(np.bincount(level.per_image, minlength=count + 1) / max(1, len(level.per_image)))
        for s, level in levels
    }
    return bars(
        "How many layers one example compromises",
        list(range(count + 1)),
        shares,
        x_title="compromised layers",
        y_title="share of examples",
        digits=3,
        item="Fig 7",
        about=f"Of {count} layers; each strength's bars sum to 1.",
        paper="some examples compromise no layer or few, some all 13; all 13 more often above 200 % or below 25 %.",
        name="compromised-layers",
        wide=True,
    )


def ranking(found: SimilarityNumbers) -> Table:
    """Layers by how much further the attack moves them than noise."""
    pooled = found.pooled(PREDICTED)
    gap = pooled.attacked.mean - pooled.noise.mean
    total = max(1, int(pooled.lowest.sum()))
    order = sorted(range(len(gap)), key=lambda at: (np.isnan(gap[at]), gap[at]))
    rows = [
        [
            found.layers[at],
            number(pooled.attacked.mean[at]),
            number(pooled.noise.mean[at]),
            number(round(gap[at], 2) + 0.0),  # no minus before 0.00
            share(pooled.lowest[at] / total),
            number(pooled.probability[at]),
            number(pooled.paired[at]),
        ]
        for at in order
    ]
    head = ["layer", "adversarial", "noise", "difference", "lowest layer of", "compromised", "paired"]
    return Table(
        title="Layers ranked by how much further the attack moves them than noise",
        head=head,
        rows=rows,
        about="Mean similarity over all strengths and examples; the share of examples in which this layer has the "
        "lowest similarity; and both probabilities.",
        paper="block4_conv1 and block5_conv1 of VGG-16 are named the most vulnerable.",
        name="ranking",
    )


def targets(found: SimilarityNumbers) -> Table:
    """Predicted and reference class side by side, at the attack's own strength."""
    pair = [found.levels(target)[found.own] for target in (PREDICTED, REFERENCE)]
    rows = [[layer, *_cells(pair, at)] for at, layer in enumerate(found.layers)]
    rows.append(["mean over layers", *_cells(pair, slice(None))])
    heads = [f"{what}, {whose}" for what in ("adversarial", "noise", "compromised") for whose in ("own", "clean")]
    return Table(
        title=f"The class explained: {OWN}, or {CLEAN}, at {percent(found.strengths[found.own])}",
        head=["layer", *heads],
        rows=rows,
        about=f"own: the map explains {OWN}, as in the paper; clean: {CLEAN}, so that only a moved gaze counts and "
        "not a switched class.",
        name="targets",
    )


def _cells(pair: Sequence[Compromise], at: Any) -> list[str]:
    parts = [[level.attacked.mean for level in pair], [level.noise.mean for level in pair]]
    parts.append([level.probability for level in pair])
    return [number(mean(values[at])) for part in parts for values in part]


def outcomes(found: SimilarityNumbers) -> Table:
    """How many seeds gave an example: those classified right, and apart from them those that were wrong."""
    rows = []
    for name, right in (("classified right", True), ("wrong from the start", False)):
        seeds = [seed for seed in found.seeds if seed.clean_correct is right]
        hit = [seed for seed in seeds if seed.switched]
        low, high = wilson(len(hit), len(seeds))
        interval = f"{share(low)} to {share(high)}" if seeds else "–"
        rate = share(len(hit) / len(seeds)) if seeds else "–"
        sizes = [number(255 * mean(values), 2) for values in ([s.rms for s in hit], [s.linf for s in hit])]
        cells = [rate, interval, *sizes, number(mean([seed.psnr for seed in hit]), 1)]
        rows.append([name, str(len(seeds)), str(len(hit)), *cells])
    return Table(
        title="Seeds and examples",
        head=["seeds", "how many", "examples", "share", "95 % interval", "RMS, grey levels", "largest", "PSNR, dB"],
        rows=rows,
        about="An example is classified otherwise than its seed. All figures below are of seeds classified right; the "
        "others are counted here and in the table at the end.",
        paper="48 % of 5,000 seeds; those wrong from the start were not set apart.",
        name="outcomes",
    )


def fooled(found: SimilarityNumbers) -> Table:
    """What is left of the misclassification at each strength."""
    rows = []
    for at, strength in enumerate(found.strengths):
        cells = [percent(strength)]
        for kind in ("attacked", "noise"):
            here = [row.switched for row in found.images if _is(row, strength, kind)]
            cells.append(f"{sum(here)} of {len(here)}")
        cells += [number(mean(found.values(PREDICTED, kind, found.main)[at])) for kind in (ATTACKED, NOISE)]
        rows.append(cells)
    return Table(
        title="Strength by strength",
        head=["strength", "class changed, adversarial", "class changed, noise", "similarity, adversarial", "and noise"],
        rows=rows,
        about="Similarity is the mean over all layers and examples, each image's own class.",
        paper="keeps the label of 100 % for all strengths.",
        name="strengths",
    )


def _is(row: ExampleOutcome, strength: float, kind: str) -> bool:
    return row.clean_correct and row.kind == kind and abs(row.strength - strength) < 1e-6


def wrong_seeds(found: SimilarityNumbers) -> Table:
    """The same numbers of seeds that were misclassified before the attack."""
    apart = ~found.main
    levels = found.levels(PREDICTED, apart) if apart.any() else []
    rows = [
        [percent(s), *(number(mean(v)) for v in (level.attacked.mean, level.noise.mean, level.probability))]
        for s, level in zip(found.strengths, levels, strict=False)
    ]
    return Table(
        title=f"Seeds that were wrong from the start: {int(apart.sum())} examples",
        head=["strength", "similarity, adversarial", "and noise", "compromised"],
        rows=rows or [["none", "–", "–", "–"]],
        about="Means over all layers. The threshold is the median under noise of these examples alone.",
        name="wrong-seeds",
    )


def arithmetic(found: SimilarityNumbers) -> Table:
    """What each strength multiplies, here and in the released code."""
    settings, used = found.manifest.settings, found.manifest.arithmetic
    values = settings["strengths"]
    under, released = 0.0, []
    for value in values:
        released.append((under + value, under))
        under += value - 1
    rows = [
        [percent(value), number(c), number(b), f"{number(rc)}", f"{number(rb)}"]
        for value, c, b, (rc, rb) in zip(values, used.coefficients, used.bases, released, strict=True)
    ]
    return Table(
        title="What each strength multiplies",
        head=["strength", "perturbation", "under the noise", "released: perturbation", "released: under the noise"],
        rows=rows,
        about="The released code takes the whole perturbation off its last result before every strength, so that 50 "
        "and 100 % are one image, pushed away from the attack; its noisy images hold a share of the perturbation too.",
        name="arithmetic",
    )


def _target(target: int) -> str:
    return "" if target == PREDICTED else f", {CLEAN}"
