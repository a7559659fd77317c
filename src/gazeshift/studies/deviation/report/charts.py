"""The page's charts and tables for every choice of the reader: measure, attack, strength, class, CAM and images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import isfinite

from gazeshift.report.charts import filled
from gazeshift.report.document import Chart, Head, Menu, Plotly, Table, Variants
from gazeshift.report.measure_scale import COSINE
from gazeshift.report.words import cam_name, measure_name
from gazeshift.studies.deviation.report import tables
from gazeshift.studies.deviation.report.series import (
    POPULATIONS,
    SPLIT,
    STRUCTURE,
    AgainstNoise,
    RoundedSpread,
    Selection,
    Series,
    Structure,
    StructureLevels,
    Thousandths,
)
from gazeshift.studies.deviation.report.tables import two

Rows = Sequence[Sequence[str]]
OPTIONS = {"measure": "measures", "attack": "attacks", "strength": "strengths", "target": "targets", "cam": "cams"}
TARGETS = {"predicted": "each image’s own", "reference": "the clean image’s"}
STEPS = {"tickformat": ".1f", "dtick": 0.2}
SHARE = {"range": [-0.02, 1.04], **STEPS}
NO_IMAGE = "No image is left for this choice: the attack fooled none at strength 1. Choose all images above."
NO_NOISE = "There is no matched noise for this choice."
NO_NISSIM = "NISSIM was not computed for this choice."
NOT_COMPUTED = "This measure was not computed for this map, or is undefined for all images. Choose another one above."
KINDS = ("noise", "attacked")
CHANCE = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
CHANCE |= {"line": {"color": "--quiet", "width": 1.25, "dash": "dot"}}
STRIPE = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
STRIPE |= {"line": {"width": 0}, "fillcolor": "--band"}


def menus(series: Series) -> list[Menu]:
    """What the reader chooses from; charts, tables and maps follow."""
    words = {
        "measure": ("Measure", [measure_name(measure.name) for measure in series.measures]),
        "attack": ("Attack", series.attacks),
        "strength": ("Strength", [f"{strength:g}" for strength in series.strengths]),
        "target": ("Class explained", [TARGETS.get(target, target) for target in series.targets]),
        "cam": ("Map", [cam_name(cam) for cam in series.cams]),
        "images": ("Images", ["fooled at strength 1", "all"]),
    }
    return [
        Menu(
            name=name,
            label=label,
            options=dict(zip(POPULATIONS if name == "images" else map(str, range(len(texts))), texts, strict=True)),
            first=str(getattr(series.chosen, name)),
        )
        for name, (label, texts) in words.items()
    ]


def variants(
    series: Series, axes: Sequence[str], make: Callable[[Series, Selection], Chart | Table], title: str, about: str
) -> Variants:
    """What `make` makes for everything that can be chosen on these axes, under its name."""
    places = [range(len(getattr(series, OPTIONS[axis]))) if axis in OPTIONS else POPULATIONS for axis in axes]
    items = {}
    for place in product(*places):
        choice = replace(series.chosen, **dict(zip(axes, place, strict=True)))  # type: ignore[arg-type]
        items[choice.key(axes)] = make(series, choice)
    return Variants(title=title, about=about, menus=axes, items=items, name=make.__name__)


def layers(series: Series, choice: Selection) -> Chart:
    """How alike every layer's maps are, attacked and under noise."""
    compare = series.compared(choice)
    spread = [(kind, ["median", "quartiles", "mean", "n"]) for kind in ("Attacked", "Noise")]
    head: Head = ["Layer", *spread, "Difference of means", ("Compromise probability", ["median rule", "paired"])]
    traces = []
    for kind, hover in zip(KINDS, (", quartiles {6}, n {8}", ", quartiles {2}, n {4}"), strict=True):
        traces += _spread(compare.side(kind), compare.side(kind).median, kind, hover)
    rows = tables.layer_rows(series.layers, compare)
    head = [*head, "Least alike in, images"]
    about, empty = _selection(series, choice), _unmeasured(compare)
    return _chart(series, traces, _axis(series, choice), about, head, rows=rows, empty=empty)


def compromise(series: Series, choice: Selection) -> Chart:
    """How often every layer is compromised."""
    compare = series.compared(choice)
    low, high = compare.band
    counts = [f", n {count}" for count in compare.pairs]
    paired = _line(compare.paired, counts, "paired", "--third", dash="dash")
    counts = [f", n {count}" for count in compare.attacked.count]
    line = _line(compare.probability, counts, "beyond median of noise", "--attacked")
    shapes = [STRIPE | {"y0": low / 1000, "y1": high / 1000}, CHANCE | {"y0": 0.5, "y1": 0.5}]
    none = _none(compare.probability) and "There is no matched noise for this choice, so there is no threshold."
    empty = _unmeasured(compare) or none or ""
    about = f"{_selection(series, choice)}; chance band {two(low)} to {two(high)}"
    return _chart(series, [paired, line], SHARE | _titled("probability"), about, shapes=shapes, empty=empty)


def rank(series: Series, choice: Selection) -> Table:
    """The layers that move furthest."""
    head = ["Rank", "Layer", "Difference", "Attacked", "Noise", "Least alike in"]
    rows = tables.rank_rows(series.layers, series.compared(choice), series.measure(choice))
    return Table(title="", head=head, rows=rows)


def histogram(series: Series, choice: Selection) -> Chart:
    """Images by their number of compromised layers."""
    compare = series.compared(choice)
    counts, total = compare.histogram, sum(compare.histogram)
    bars = {
        "type": "bar",
        "x": list(range(len(counts))),
        "y": [round(count / total, 4) if total else None for count in counts],
        "hover": "{1}",
        "marker": {"color": "--attacked"},
        "hovertemplate": "%{y:.0%} of the images (%{customdata})<extra></extra>",
    }
    x = {"title": {"text": "compromised layers", "font": {"size": 12}}, "gridcolor": "rgba(0,0,0,0)"}
    steps = {"dtick": -(-len(counts) // 14) or 1, "range": [-0.6, len(counts) - 0.4]}
    y = {"tickformat": ".0%", "rangemode": "tozero", "title": {"text": "share of images"}}
    none = "" if total and not _none(compare.probability) else "There is nothing to count for this choice."
    return Chart(
        title="",
        traces=[bars],
        layout={"xaxis": {**x, **steps}, "yaxis": y},
        head=["Compromised layers", "Images", "Share"],
        rows=tables.histogram_rows(counts),
        about=_selection(series, choice),
        empty=none if compare.images else NO_IMAGE,
    )


def split(series: Series, choice: Selection) -> Chart:
    """Where the class switched and where it stayed."""
    found = series.split[choice.key(SPLIT)]
    switched, stayed, first = found.switched, found.stayed, series.targets[0]
    noise = (switched, "switched images, noise") if switched.images else (stayed, "noise")
    lines = [(noise[0].noise, noise[1], "--noise", "dash")]
    if switched.images:
        names = {"reference": ("switched, same class", "--third"), "predicted": ("switched, own class", "--attacked")}
        known = {target: words for target, words in names.items() if target in switched.attacked}
        lines += [(switched.attacked[target], *words, "solid") for target, words in known.items()]
    if stayed.images:
        lines.append((stayed.attacked[first], "stayed", "--fourth", "dot"))
    traces = [
        _line(group.mean, [f", n {count}" for count in group.count], name, colour, dash=dash)
        for group, name, colour, dash in lines
    ]
    own = ["own class" if target == "predicted" else "same class" for target in series.targets]
    head: Head = ["Layer", ("Class switched", [*own, "noise"]), ("Class stayed", ["attacked", "noise"])]
    about = f"{_base(series, choice)}, strength {_strength(series, choice)}; "
    about += f"class switched in {switched.images} and stayed in {_images(stayed.images)}"
    empty = NOT_COMPUTED if all(_none(group.mean) for group, *_ in lines) else ""
    rows = tables.split_rows(series, found)
    return _chart(series, traces, _axis(series, choice, "mean "), about, head, rows=rows, empty=empty)


def strengths_attacked(series: Series, choice: Selection) -> Chart:
    """Means at every strength."""
    return _strengths(series, choice, lambda level: level.attacked.mean, "attacked", _axis(series, choice, "mean "))


def strengths_noise(series: Series, choice: Selection) -> Chart:
    """The same under noise."""
    return _strengths(series, choice, lambda level: level.noise.mean, "noise", _axis(series, choice, "mean "))


def strengths(series: Series, choice: Selection) -> Chart:
    """Compromise probability at every strength, and the table of all three."""
    names = [f"{strength:g}" for strength in series.strengths]
    columns = ("Mean, attacked", "Mean, noise", "Compromise probability")
    rows = tables.strength_rows(series.layers, _levels(series, choice))
    head: Head = ["Layer", *((column, names) for column in columns)]
    chance, axis = [CHANCE | {"y0": 0.5, "y1": 0.5}], SHARE | _titled("probability")
    return _strengths(series, choice, lambda level: level.probability, "attacked", axis, head, rows, chance)


def mod(series: Series, choice: Selection) -> Chart:
    """MOD at the last layer over the strengths."""
    structure, names = _structure(series, choice), [f"{strength:g}" for strength in series.strengths]
    traces = []
    for kind, hover in zip(KINDS, (", quartiles {5}, n {6}", ", quartiles {2}, n {3}"), strict=True):
        found = structure.side(kind) if structure else StructureLevels(mod=(), spread=(), vid=None)
        traces += _spread(_last_layer(found.spread), [level[-1] for level in found.mod], kind, hover)
    columns = ["MOD", "quartiles of NISSIM", "n"]
    return _chart(
        series,
        traces,
        {"rangemode": "tozero", "dtick": 0.1, "title": {"text": "MOD"}},
        f"{_place(series, choice)} of {_target(series, choice)}, {_images(series.images)}",
        ["Strength", ("Attacked", columns), ("Matched noise", columns)],
        rows=tables.mod_rows(series, structure) if structure else [],
        shapes=[STRIPE | {"y0": 0.25, "y1": 0.3}, CHANCE | {"y0": 0.25, "y1": 0.25}],
        empty="" if structure else NO_NISSIM,
        x={"places": [f"strength {name}" for name in names], "tickvals": list(range(len(names))), "ticktext": names}
        | {"tickangle": 0, "title": {"text": "strength", "font": {"size": 12}}},
    )


def vid(series: Series, choice: Selection) -> Chart:
    """VID of every layer."""
    structure, several = _structure(series, choice), len(series.strengths) > 1
    spreads = [(structure.side(kind).vid, kind) for kind in KINDS] if structure else []
    traces = [trace for spread, kind in spreads if spread for trace in _spread(spread, spread.median, kind)]
    about = f"{_place(series, choice)}, strengths {', '.join(f'{strength:g}' for strength in series.strengths)}"
    empty = NO_NISSIM if not structure else "" if several else "The study has one strength, so nothing varies."
    return _chart(series, traces, {"rangemode": "tozero", "title": {"text": "VID"}}, about, empty=empty)


def structure(series: Series, choice: Selection) -> Chart:
    """MOD of every layer at one strength, and the table of MOD and VID."""
    found, level = _structure(series, choice), choice.strength
    sides = [(found.side(kind), kind) for kind in KINDS] if found else []
    spreads = [(side.spread[level], side.mod[level], kind) for side, kind in sides]
    traces = [trace for each in spreads for trace in _spread(*each)]
    columns = ["median", "quartiles", "n"]
    return _chart(
        series,
        traces,
        {"rangemode": "tozero", "dtick": 0.1, "title": {"text": "MOD"}},
        f"{_place(series, choice)}, strength {_strength(series, choice)}",
        ["Layer", ("MOD at this strength", ["attacked", "noise"]), ("VID, attacked", columns), ("VID, noise", columns)],
        rows=tables.structure_rows(series.layers, found, level) if found else [],
        empty="" if found else NO_NISSIM,
    )


def _chart(
    series: Series,
    traces: Sequence[Plotly],
    y: Plotly,
    about: str,
    head: Head = (),
    *,
    rows: Rows = (),
    shapes: Sequence[Plotly] = (),
    empty: str = "",
    x: Plotly | None = None,
) -> Chart:
    layout = {"xaxis": x or {"places": series.layers}, "yaxis": y, "shapes": list(shapes)}
    drawn = () if empty else traces
    return Chart(title="", traces=drawn, layout=layout, head=head, rows=rows, about=about, empty=empty)


def _axis(series: Series, choice: Selection, of: str = "") -> dict[str, object]:
    """The measure's range, as far as the study's values need it: from 0 on where none is below."""
    measure = series.measure(choice)
    low, high = max(measure.lowest, series.least[choice.measure]), measure.highest
    title = _titled(f"{of}{measure_name(measure.name, inside=True)}, {measure.same:g} = same")
    if not isfinite(low) or not isfinite(high):
        return title | {"rangemode": "tozero"}
    span = high - low
    return title | {"range": [low - 0.02 * span, high + 0.04 * span]} | (STEPS if span == 1 else {})


def _titled(text: str) -> dict[str, object]:
    return {"title": {"text": text}}


def _unmeasured(compare: AgainstNoise) -> str:
    """Why there is nothing to draw of a choice; empty if there is something."""
    if not compare.images:
        return NO_IMAGE
    return NOT_COMPUTED if not any((*compare.attacked.count, *compare.noise.count)) else ""


def _strengths(  # noqa: PLR0917
    series: Series,
    choice: Selection,
    pick: Callable[[AgainstNoise], Thousandths],
    kind: str,
    y: Plotly,
    head: Head = (),
    rows: Rows = (),
    shapes: Sequence[Plotly] = (),
) -> Chart:
    """One line per strength, the stronger the colour, the stronger the perturbation."""
    levels = _levels(series, choice)
    traces = [
        _line(
            pick(level),
            [f", n {count}" for count in level.attacked.count],
            f"strength {series.strengths[place]:g}",
            f"--{kind} {0.3 + 0.7 * (place + 1) / len(levels):.3g}",
        )
        for place, level in enumerate(levels)
    ]
    images = levels[0].images
    empty = NO_NOISE if all(_none(pick(level)) for level in levels) else ""
    empty = NOT_COMPUTED if empty and not any(any(level.attacked.count) for level in levels) else empty
    about = f"{_base(series, choice)} of {_target(series, choice)}, all strengths, {_images(images)}"
    return _chart(series, traces, y, about, head, rows=rows, shapes=shapes, empty=empty if images else NO_IMAGE)


def _line(
    values: Thousandths, hover: str | Sequence[str], name: str, colour: str, *, dash: str = "solid"
) -> dict[str, object]:
    """A line through thousandths; dashed ones have hollow marks."""
    inside = "--card" if dash != "solid" else colour
    return {
        "x": list(range(len(values))),
        "y": _units(values),
        "name": name,
        "mode": "lines+markers",
        "connectgaps": False,
        "line": {"color": colour, "width": 2.25, "dash": dash},
        "marker": {"color": inside, "size": 6, "line": {"color": colour, "width": 1.5}},
        "hover" if isinstance(hover, str) else "customdata": hover,
        "hovertemplate": "%{y:.2f}%{customdata}",
    }


def _spread(spread: RoundedSpread, values: Thousandths, kind: str, hover: str = "") -> list[Plotly]:
    """A band from the lower to the upper quartile, and a line; without `hover`, with what its table does not have."""
    texts = [
        f", quartiles {tables.quartiles(spread, place, tables.three)}, n {count}"
        for place, count in enumerate(spread.count)
    ]
    line = _line(values, hover or texts, kind, f"--{kind}", dash="dash" if kind == "noise" else "solid")
    return [filled(range(len(values)), _units(spread.low), _units(spread.high), f"--{kind}"), line]


def _last_layer(levels: Sequence[RoundedSpread]) -> RoundedSpread:
    """The last layer at every strength."""
    parts = {part: [getattr(level, part)[-1] for level in levels] for part in ("mean", "low", "median", "high")}
    return RoundedSpread(**parts, count=[level.count[-1] for level in levels])


def _units(values: Thousandths) -> list[float | None]:
    return [None if value is None else value / 1000 for value in values]


def _none(values: Thousandths) -> bool:
    return all(value is None for value in values)


def _levels(series: Series, choice: Selection) -> list[AgainstNoise]:
    return [series.compared(replace(choice, strength=place)) for place in range(len(series.strengths))]


def _structure(series: Series, choice: Selection) -> Structure | None:
    """NISSIM's numbers, if there are any."""
    return series.structure.get(choice.key(STRUCTURE))


def _place(series: Series, choice: Selection) -> str:
    return f"{series.attacks[choice.attack]}, {cam_name(series.cams[choice.cam])}"


def _base(series: Series, choice: Selection) -> str:
    return f"{measure_name(series.measure(choice).name)}, {_place(series, choice)}"


def _strength(series: Series, choice: Selection) -> str:
    return f"{series.strengths[choice.strength]:g}"


def _target(series: Series, choice: Selection) -> str:
    target = series.targets[choice.target]
    return f"{TARGETS[target]} class" if target in TARGETS else target


def _images(count: int, kind: str = "") -> str:
    return f"{count} {kind}image{'s' * (count != 1)}"


def _selection(series: Series, choice: Selection) -> str:
    """What a chart of one choice shows, and what it leaves out."""
    compare = series.compared(choice)
    missing, blank = compare.undefined, compare.blank
    text = f"{measure_name(series.measure(choice).name)}, {series.attacks[choice.attack]}, "
    text += f"strength {_strength(series, choice)}, {cam_name(series.cams[choice.cam])} of {_target(series, choice)}, "
    text += _images(compare.images, "fooled " if choice.images == "fooled" else "")
    text += f"; {missing} undefined value{'s' * (missing != 1)} left out" if missing else ""
    said = f"; {blank} comparison{'s' * (blank != 1)} with a blank map"
    said += ", 0 or 1 by convention" if series.measure(choice).name == COSINE else ""
    return text + said if blank else text
