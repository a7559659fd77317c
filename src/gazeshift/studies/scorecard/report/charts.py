"""Charts of a scorecard: AUROC at a glance, ROC curves, suspicions, false alarms, and unseen attacks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gazeshift.report.cells import Estimate, with_whiskers
from gazeshift.report.charts import COLOURS, Values, bars, curves, heat, histogram, lines
from gazeshift.report.document import Chart, Choice, Plotly
from gazeshift.studies.scorecard.report.bootstrap import estimate
from gazeshift.studies.scorecard.report.numbers import (
    ALL,
    AS_FITTED,
    AUROC,
    CLEAN,
    CLEAN_ONLY,
    FOOLED,
    ONLY,
    Key,
    Samples,
    ScorecardNumbers,
    ScorecardScores,
)
from gazeshift.studies.scorecard.report.tables import attack_name, counted

SPAN = (0.5, 1.0)
DASHES, STRIPES = ("solid", "dot", "dashdot"), ("", "/", "x")
TOGETHER = "all attacks together"
LEAST = 1e-4


def condition_name(condition: str) -> str:
    """A benign change as people say it.

    >>> condition_name("jpeg:quality=75"), condition_name("blur:sigma=0.6"), condition_name("clean")
    ('JPEG (quality 75)', 'blur (sigma 0.6)', 'clean')
    """
    name, colon, settings = condition.partition(":")
    said = {"jpeg": "JPEG", "gaussian noise": "Gaussian noise"}.get(name, name.replace("_", " "))
    return f"{said} ({settings.replace('=', ' ').replace(',', ', ')})" if colon else said


def glance(found: ScorecardNumbers) -> Chart:
    """Mean and every attack's AUROC of every contestant."""
    rows = []
    for one in found.contestants:
        known = {name: detection.values[AUROC] for name, detection in one.detections.items()}
        rows.append([_first(one.means[AUROC]), *(_first(known.get(name)) for name in found.tested)])
    chart = heat(
        "AUROC by detector and attack",
        ["mean", *found.tested],
        [one.name for one in found.contestants],
        rows,
        about="From 0.5, chance, to 1. Successful examples against clean images and benign changes.",
        wide=True,
        span=SPAN,
        digits=3 if len(found.tested) < 10 else 2,
    )
    return _written(chart)


def strengths(found: ScorecardNumbers) -> Iterator[Chart]:
    """AUROC of the main detector against the size of the change, if there are attacks of several sizes."""
    sizes: dict[str, dict[float, str]] = {}
    for name in found.tested:
        told = found.sets[name]
        if told.attack.epsilon is not None and told.attack.norm != "l2":
            family = f"{told.family} on {told.model or 'the model'}"
            sizes.setdefault(family, {})[round(255 * told.attack.epsilon, 4)] = name
    several = {family: of for family, of in sizes.items() if len(of) > 1}
    if not several:
        return
    main = found.fitted(found.main)
    places = sorted({size for of in several.values() for size in of})
    areas = {name: _area(main, name) for of in several.values() for name in of.values()}
    series = {family: [areas[of[size]] if size in of else None for size in places] for family, of in several.items()}
    yield lines(
        f"{found.main}: AUROC against the size of the change",
        places,
        series,
        x_title="epsilon x 255 (largest change of a pixel)",
        y_title="AUROC",
        level=0.5,
        digits=3,
        about="Attacks of which there are sets of several sizes. Successful examples.",
    )


def receivers(found: ScorecardNumbers) -> Choice:
    """ROC curves of every attack, one at a time; detectors that know the attack are left out."""
    fair = [one for one in found.contestants if not one.knows]
    charts = {TOGETHER: _receiver(TOGETHER, {one.name: one.common for one in fair}, None)}
    for name in found.tested:
        title = f"{name} ({attack_name(found.sets[name])})"
        charts[title] = _receiver(title, {one.name: one.scores.get(name) for one in fair}, name)
    return Choice(
        title="ROC curves",
        label="attack",
        charts=charts,
        about="False alarms among clean images and benign changes, on a logarithmic axis, against the share of "
        "successful examples detected. Dotted and grey: chance. “Unseen attack” is another detector for every attack, "
        "so that it has no curve for all together.",
        name="roc",
    )


def _receiver(title: str, scores: Mapping[str, ScorecardScores | None], name: str | None) -> Chart:
    known = {called: one for called, one in scores.items() if one is not None}
    paths = {called: one.negatives.roc(one.sample(one.examples(name))) for called, one in known.items()}
    paths = {called: path for called, path in paths.items() if path[0].size}
    least = min((0.5 / len(one.negatives.score) for one in known.values() if len(one.negatives.score)), default=0.01)
    least = max(LEAST, least)
    series: dict[str, tuple[Values, Values]] = {
        called: (np.maximum(x, least).tolist(), y.tolist()) for called, (x, y) in paths.items()
    }
    summary = {called: f"AUROC {_area(known[called], name):.3f}" for called in series}
    if series:
        diagonal = np.geomspace(least, 1, 40).tolist()
        series["chance"], summary["chance"] = (diagonal, diagonal), "AUROC 0.500"
    chart = curves(
        f"ROC, {title}",
        series,
        x_title="false alarms",
        y_title="detected",
        summary=summary,
        colours={"chance": "--quiet"},
    )
    traces = [_told_apart(trace, place) for place, trace in enumerate(chart.traces)]
    ticks = [tick for tick in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick >= least]
    axis = {"type": "log", "range": [math.log10(least), 0.01], "tickvals": ticks, "tickformat": ".3~p"}
    layout = dict(chart.layout) | {"xaxis": chart.layout["xaxis"] | axis, "height": 420}
    layout["yaxis"] = layout["yaxis"] | {"range": [0, 1.02], "tickformat": ".0%"}
    return replace(chart, traces=traces, layout=layout)


def _told_apart(trace: Plotly, place: int) -> Plotly:
    """A step of one curve; more of them than colours differ in their dashes."""
    chance = trace["name"] == "chance"
    dash = "dot" if chance else DASHES[place // len(COLOURS) % len(DASHES)]
    shape = "linear" if chance else "hv"
    return {**trace, "line": {**trace["line"], "dash": dash, "shape": shape}, "hovertemplate": "%{x:.1%}: %{y:.0%}"}


def _area(scores: ScorecardScores, name: str | None) -> float:
    return estimate(scores.negatives.auroc(scores.sample(scores.examples(name)))).value


def suspicions(found: ScorecardNumbers) -> Choice:
    """Where suspicions of clean images, benign changes and attacks lie, one detector at a time."""
    return Choice(
        title="Suspicions",
        label="detector",
        charts={name: _suspicion(found, name) for name in found.detectors},
        about="Shares of the images by their suspicion, as the detector was fitted. The dotted line is its threshold: "
        "what lies to the right is called an attack. The outermost 0.5 % are put at the ends.",
        name="suspicions",
    )


def _suspicion(found: ScorecardNumbers, name: str) -> Chart:
    scores = found.fitted(name)
    groups = {
        "clean": scores.suspicion[scores.benign(CLEAN)],
        "benign changes": scores.suspicion[~scores.benign(CLEAN) & ~scores.examples(part=ALL)],
        "successful attacks": scores.suspicion[scores.examples(part=FOOLED)],
    }
    finite = scores.suspicion[np.isfinite(scores.suspicion)]
    low, high = np.quantile(finite, (0.005, 0.995)) if finite.size else (0.0, 1.0)
    colours = {"clean": "--ok", "benign changes": "--noise", "successful attacks": "--attacked"}
    groups = {key: np.clip(values, low, high) for key, values in groups.items() if values.size}
    chart = histogram(
        f"Suspicions of {name}",
        groups,
        low=float(low),
        high=float(high) if high > low else float(low) + 1,
        bins=40,
        x_title="suspicion",
        colours=colours,
    )
    limit = found.detectors[name].threshold
    if limit is None or not math.isfinite(limit):
        return chart
    shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": limit, "x1": limit}
    shape |= {"line": {"color": "--ink", "width": 1.5, "dash": "dot"}}
    return replace(chart, layout=dict(chart.layout) | {"shapes": [*chart.layout["shapes"], shape]})


def false_alarms(found: ScorecardNumbers) -> Chart:
    """Flagged clean images and benign changes, with the promised rate."""
    everyone = [one for one in found.contestants if one.common is not None]
    promised = sorted({found.detectors[one.detector].false_alarms for one in everyone})
    counts = {one.name: [one.false_alarms(condition) or (0, 0) for condition in found.conditions] for one in everyone}
    shares = {name: [Estimate.counted(*pair) for pair in several] for name, several in counts.items()}
    names = [condition_name(condition) for condition in found.conditions]
    chart = bars(
        "Flagged images that are no attack",
        names,
        {name: [one.value for one in several] for name, several in shares.items()},
        y_title="share flagged",
        level=promised[0] if len(promised) == 1 else None,
        wide=True,
        about="Share of images that are no attack and were called one, at each detector’s own threshold, with 95 % "
        "intervals (Wilson). The dotted line is the promised rate; the promise is about clean images.",
        name="benign",
    )
    chart = with_whiskers(chart, shares.values())
    stripes = [STRIPES[place // len(COLOURS) % len(STRIPES)] for place in range(len(chart.traces))]
    return replace(
        chart,
        traces=[
            {**trace, "marker": {**trace["marker"], "pattern": {"shape": stripe}}}
            for trace, stripe in zip(chart.traces, stripes, strict=True)
        ],
        rows=[[name, *(counted(*several[at]) for several in counts.values())] for at, name in enumerate(names)],
        layout=dict(chart.layout)
        | {"yaxis": chart.layout["yaxis"] | {"tickformat": ".0%", "rangemode": "tozero"}, "height": 420},
    )


def transfer(found: ScorecardNumbers, detector: str) -> Chart:
    """What a detector learned from, against what it is tested on."""
    rows: dict[str, list[float | None]] = {}
    for key, scores in found.scores.items():
        if key.detector == detector and key.learned == ONLY:
            rows[f"only {key.of}"] = _areas(dict.fromkeys(found.tested, scores), found.tested)
    clean, every = (found.scores.get(Key(detector, learned, "")) for learned in (CLEAN_ONLY, AS_FITTED))
    if clean is not None:  # some learn nothing from clean images alone
        rows["clean images only"] = _areas(dict.fromkeys(found.tested, clean), found.tested)
    rows["all but the tested attack"] = _areas(found.left_out(detector), found.tested)
    rows["all sets"] = _areas(dict.fromkeys(found.tested, every) if every else {}, found.tested)
    chart = heat(
        f"AUROC of {detector}, by what it learned from",
        found.tested,
        list(rows),
        list(rows.values()),
        x_title="tested on",
        y_title="learned from clean images and",
        about="From 0.5, chance, to 1. Each row is the same detector fitted anew; the images it learned from and those "
        "it is tested on differ. Successful examples.",
        wide=True,
        span=SPAN,
    )
    return _written(
        replace(chart, layout=dict(chart.layout) | {"yaxis": chart.layout["yaxis"] | {"title": {"text": ""}}})
    )


def _areas(scores: Mapping[str, ScorecardScores], names: Sequence[str]) -> list[float | None]:
    return [_area(scores[name], name) if name in scores else None for name in names]


def _written(chart: Chart) -> Chart:
    """The numbers in the cells, however many there are."""
    digits = 3 if chart.rows and len(chart.rows[0]) < 10 else 2
    return replace(chart, traces=[{**trace, "texttemplate": f"%{{z:.{digits}f}}"} for trace in chart.traces])


def _first(values: Samples | None) -> float | None:
    return None if values is None else float(values[0])
