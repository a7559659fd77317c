"""The page's charts and tables for every choice of the reader: attack, strength, class explained, CAM and images."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from gazeshift.report.charts import filled
from gazeshift.report.document import Chart, Head, Menu, Table, Variants
from gazeshift.report.words import cam_name
from gazeshift.studies.deviation.report import tables
from gazeshift.studies.deviation.report.series import POPULATIONS, Series, compared, key
from gazeshift.studies.deviation.report.tables import two

Choice = Mapping[str, Any]
Rows = Sequence[Sequence[str]]
OPTIONS = {"attack": "attacks", "strength": "strengths", "target": "targets", "cam": "cams"}
TARGETS = {"predicted": "each image’s own", "reference": "the clean image’s"}
SHARE = {"range": [-0.02, 1.04], "tickformat": ".1f", "dtick": 0.2}
NO_IMAGE = "No image is left for this choice: the attack fooled none at strength 1. Choose all images above."
NO_NOISE = "There is no matched noise for this choice."
NO_NISSIM = "NISSIM was not computed for this choice."
KINDS = ("noise", "attacked")
CHANCE = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
CHANCE |= {"line": {"color": "--quiet", "width": 1.25, "dash": "dot"}}
STRIPE = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
STRIPE |= {"line": {"width": 0}, "fillcolor": "--band"}


def menus(series: Series) -> list[Menu]:
    """What the reader chooses from; charts, tables and maps follow."""
    words = {
        "attack": ("Attack", series["attacks"]),
        "strength": ("Strength", [f"{strength:g}" for strength in series["strengths"]]),
        "target": ("Class explained", [TARGETS.get(target, target) for target in series["targets"]]),
        "cam": ("Map", [cam_name(cam) for cam in series["cams"]]),
        "images": ("Images", ["fooled at strength 1", "all"]),
    }
    return [
        Menu(
            name=name,
            label=label,
            options=dict(zip(POPULATIONS if name == "images" else map(str, range(len(texts))), texts, strict=True)),
            first=str(series["chosen"][name]),
        )
        for name, (label, texts) in words.items()
    ]


def variants(
    series: Series, axes: Sequence[str], make: Callable[[Series, Choice], Chart | Table], title: str, about: str
) -> Variants:
    """What `make` makes for everything that can be chosen on these axes, under its name."""
    places = [range(len(series[OPTIONS[axis]])) if axis in OPTIONS else POPULATIONS for axis in axes]
    items = {key(*place): make(series, dict(zip(axes, place, strict=True))) for place in product(*places)}
    return Variants(title=title, about=about, menus=axes, items=items, name=make.__name__)


def layers(series: Series, choice: Choice) -> Chart:
    """Similarity of every layer, attacked and under noise."""
    compare = compared(series, choice)
    spread = [("Similarity, attacked", ["median", "quartiles", "mean", "n"])]
    spread += [("Similarity, noise", ["median", "quartiles", "mean", "n"])]
    head: Head = ["Layer", *spread, "Difference of means", ("Compromise probability", ["median rule", "paired"])]
    traces = []
    for kind, hover in zip(KINDS, (", quartiles {6}, n {8}", ", quartiles {2}, n {4}"), strict=True):
        traces += _spread(compare[kind], compare[kind]["median"], kind, hover)
    y = SHARE | {"title": {"text": "cosine similarity"}}
    rows = tables.layer_rows(series["layers"], compare)
    empty = "" if compare["images"] else NO_IMAGE
    return _chart(series, traces, y, _selection(series, choice), [*head, "Lowest in, images"], rows=rows, empty=empty)


def compromise(series: Series, choice: Choice) -> Chart:
    """How often every layer is compromised."""
    compare = compared(series, choice)
    low, high = compare["band"]
    counts = [f", n {count}" for count in compare["pairs"]]
    paired = _line(compare["paired"], counts, "paired", "--third", dash="dash")
    counts = [f", n {count}" for count in compare["attacked"]["count"]]
    line = _line(compare["probability"], counts, "below median of noise", "--attacked")
    shapes = [STRIPE | {"y0": low / 1000, "y1": high / 1000}, CHANCE | {"y0": 0.5, "y1": 0.5}]
    none = _none(compare["probability"]) and "There is no matched noise for this choice, so there is no threshold."
    about = f"{_selection(series, choice)}; chance band {two(low)} to {two(high)}"
    y = SHARE | {"title": {"text": "probability"}}
    return _chart(series, [paired, line], y, about, shapes=shapes, empty=none or "" if compare["images"] else NO_IMAGE)


def rank(series: Series, choice: Choice) -> Table:
    """The layers that move furthest."""
    head = ["Rank", "Layer", "Difference", "Attacked", "Noise", "Lowest in"]
    return Table(title="", head=head, rows=tables.rank_rows(series["layers"], compared(series, choice)))


def histogram(series: Series, choice: Choice) -> Chart:
    """Images by their number of compromised layers."""
    compare = compared(series, choice)
    counts, total = compare["histogram"], sum(compare["histogram"])
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
    none = "" if total and not _none(compare["probability"]) else "There is nothing to count for this choice."
    return Chart(
        title="",
        traces=[bars],
        layout={"xaxis": {**x, **steps}, "yaxis": y},
        head=["Compromised layers", "Images", "Share"],
        rows=tables.histogram_rows(counts),
        about=_selection(series, choice),
        empty=none if compare["images"] else NO_IMAGE,
    )


def split(series: Series, choice: Choice) -> Chart:
    """Where the class switched and where it stayed."""
    found = series["split"][key(*(choice[axis] for axis in ("attack", "strength", "cam")))]
    switched, stayed, first = found["switched"], found["stayed"], series["targets"][0]
    noise = (switched, "switched images, noise") if switched["images"] else (stayed, "noise")
    lines = [(noise[0]["noise"], noise[1], "--noise", "dash")]
    if switched["images"]:
        names = {"reference": ("switched, same class", "--third"), "predicted": ("switched, own class", "--attacked")}
        lines += [(switched[target], *words, "solid") for target, words in names.items() if target in switched]
    if stayed["images"]:
        lines.append((stayed[first], "stayed", "--fourth", "dot"))
    traces = [
        _line(group["mean"], [f", n {count}" for count in group["count"]], name, colour, dash=dash)
        for group, name, colour, dash in lines
    ]
    own = ["own class" if target == "predicted" else "same class" for target in series["targets"]]
    head: Head = ["Layer", ("Class switched", [*own, "noise"]), ("Class stayed", ["attacked", "noise"])]
    about = f"{_base(series, choice)}, strength {_strength(series, choice)}; "
    about += f"class switched in {switched['images']} and stayed in {_images(stayed['images'])}"
    y = SHARE | {"title": {"text": "mean cosine similarity"}}
    return _chart(series, traces, y, about, head, rows=tables.split_rows(series, found))


def strengths_attacked(series: Series, choice: Choice) -> Chart:
    """Mean similarity at every strength."""
    return _strengths(series, choice, lambda level: level["attacked"]["mean"], "attacked", "mean cosine similarity")


def strengths_noise(series: Series, choice: Choice) -> Chart:
    """The same under noise."""
    return _strengths(series, choice, lambda level: level["noise"]["mean"], "noise", "mean cosine similarity")


def strengths(series: Series, choice: Choice) -> Chart:
    """Compromise probability at every strength, and the table of all three."""
    names = [f"{strength:g}" for strength in series["strengths"]]
    columns = ("Mean similarity, attacked", "Mean similarity, noise", "Compromise probability")
    rows = tables.strength_rows(series["layers"], _levels(series, choice))
    head: Head = ["Layer", *((column, names) for column in columns)]
    return _strengths(series, choice, lambda level: level["probability"], "attacked", "probability", head, rows)


def mod(series: Series, choice: Choice) -> Chart:
    """MOD at the last layer over the strengths."""
    structure, names = _structure(series, choice), [f"{strength:g}" for strength in series["strengths"]]
    traces = []
    for kind, hover in zip(KINDS, (", quartiles {5}, n {6}", ", quartiles {2}, n {3}"), strict=True):
        found = structure[kind] if structure else {"spread": (), "mod": ()}
        last = {part: [level[part][-1] for level in found["spread"]] for part in ("low", "high", "count")}
        traces += _spread(last, [level[-1] for level in found["mod"]], kind, hover)
    columns = ["MOD", "quartiles of NISSIM", "n"]
    return _chart(
        series,
        traces,
        {"rangemode": "tozero", "dtick": 0.1, "title": {"text": "MOD"}},
        f"{_base(series, choice)} of {_target(series, choice)}, {_images(series['images'])}",
        ["Strength", ("Attacked", columns), ("Matched noise", columns)],
        rows=tables.mod_rows(series, structure) if structure else [],
        shapes=[STRIPE | {"y0": 0.25, "y1": 0.3}, CHANCE | {"y0": 0.25, "y1": 0.25}],
        empty="" if structure else NO_NISSIM,
        x={"places": [f"strength {name}" for name in names], "tickvals": list(range(len(names))), "ticktext": names}
        | {"tickangle": 0, "title": {"text": "strength", "font": {"size": 12}}},
    )


def vid(series: Series, choice: Choice) -> Chart:
    """VID of every layer."""
    structure, several = _structure(series, choice), len(series["strengths"]) > 1
    spreads = [(structure[kind]["vid"], kind) for kind in KINDS] if structure and several else []
    traces = [trace for spread, kind in spreads for trace in _spread(spread, spread["median"], kind)]
    about = f"{_base(series, choice)}, strengths {', '.join(f'{strength:g}' for strength in series['strengths'])}"
    empty = NO_NISSIM if not structure else "" if several else "The study has one strength, so nothing varies."
    return _chart(series, traces, {"rangemode": "tozero", "title": {"text": "VID"}}, about, empty=empty)


def structure(series: Series, choice: Choice) -> Chart:
    """MOD of every layer at one strength, and the table of MOD and VID."""
    found, level = _structure(series, choice), choice["strength"]
    spreads = [(found[kind]["spread"][level], found[kind]["mod"][level], kind) for kind in KINDS] if found else []
    traces = [trace for each in spreads for trace in _spread(*each)]
    columns = ["median", "quartiles", "n"]
    return _chart(
        series,
        traces,
        {"rangemode": "tozero", "dtick": 0.1, "title": {"text": "MOD"}},
        f"{_base(series, choice)}, strength {_strength(series, choice)}",
        ["Layer", ("MOD at this strength", ["attacked", "noise"]), ("VID, attacked", columns), ("VID, noise", columns)],
        rows=tables.structure_rows(series["layers"], found, level) if found else [],
        empty="" if found else NO_NISSIM,
    )


def _chart(
    series: Series,
    traces: Sequence[Mapping[str, Any]],
    y: Mapping[str, Any],
    about: str,
    head: Head = (),
    *,
    rows: Rows = (),
    shapes: Sequence[Mapping[str, Any]] = (),
    empty: str = "",
    x: Mapping[str, Any] | None = None,
) -> Chart:
    layout = {"xaxis": x or {"places": series["layers"]}, "yaxis": y, "shapes": list(shapes)}
    drawn = () if empty else traces
    return Chart(title="", traces=drawn, layout=layout, head=head, rows=rows, about=about, empty=empty)


def _strengths(  # noqa: PLR0917
    series: Series,
    choice: Choice,
    pick: Callable[[Any], Sequence[int | None]],
    kind: str,
    y_title: str,
    head: Head = (),
    rows: Rows = (),
) -> Chart:
    """One line per strength, the stronger the colour, the stronger the perturbation."""
    levels = _levels(series, choice)
    traces = [
        _line(
            pick(level),
            [f", n {count}" for count in level["attacked"]["count"]],
            f"strength {series['strengths'][place]:g}",
            f"--{kind} {0.3 + 0.7 * (place + 1) / len(levels):.3g}",
        )
        for place, level in enumerate(levels)
    ]
    images = levels[0]["images"]
    empty = NO_NOISE if all(_none(pick(level)) for level in levels) else ""
    about = f"{_base(series, choice)} of {_target(series, choice)}, all strengths, {_images(images)}"
    shapes = [CHANCE | {"y0": 0.5, "y1": 0.5}] if y_title == "probability" else []
    y = SHARE | {"title": {"text": y_title}}
    return _chart(series, traces, y, about, head, rows=rows, shapes=shapes, empty=empty if images else NO_IMAGE)


def _line(
    values: Sequence[int | None], hover: str | Sequence[str], name: str, colour: str, *, dash: str = "solid"
) -> dict[str, Any]:
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


def _spread(
    spread: Mapping[str, Any], values: Sequence[int | None], kind: str, hover: str = ""
) -> list[dict[str, Any]]:
    """A band from the lower to the upper quartile, and a line; without `hover`, with what its table does not have."""
    texts = [
        f", quartiles {tables.quartiles(spread, place, tables.three)}, n {count}"
        for place, count in enumerate(spread["count"])
    ]
    line = _line(values, hover or texts, kind, f"--{kind}", dash="dash" if kind == "noise" else "solid")
    return [filled(range(len(values)), _units(spread["low"]), _units(spread["high"]), f"--{kind}"), line]


def _units(values: Sequence[int | None]) -> list[float | None]:
    return [None if value is None else value / 1000 for value in values]


def _none(values: Sequence[int | None]) -> bool:
    return all(value is None for value in values)


def _levels(series: Series, choice: Choice) -> list[Any]:
    return [compared(series, {**choice, "strength": place}) for place in range(len(series["strengths"]))]


def _structure(series: Series, choice: Choice) -> Any:
    """NISSIM's numbers, or None."""
    return series["structure"].get(key(*(choice[axis] for axis in ("attack", "target", "cam"))))


def _base(series: Series, choice: Choice) -> str:
    return f"{series['attacks'][choice['attack']]}, {cam_name(series['cams'][choice['cam']])}"


def _strength(series: Series, choice: Choice) -> str:
    return f"{series['strengths'][choice['strength']]:g}"


def _target(series: Series, choice: Choice) -> str:
    target = series["targets"][choice["target"]]
    return f"{TARGETS[target]} class" if target in TARGETS else str(target)


def _images(count: int, kind: str = "") -> str:
    return f"{count} {kind}image{'s' * (count != 1)}"


def _selection(series: Series, choice: Choice) -> str:
    """What a chart of one choice shows, and what it leaves out."""
    compare = compared(series, choice)
    missing, blank = compare["undefined"], compare["blank"]
    text = f"{series['attacks'][choice['attack']]}, strength {_strength(series, choice)}, "
    text += f"{cam_name(series['cams'][choice['cam']])} of {_target(series, choice)}, "
    text += _images(compare["images"], "fooled " if choice["images"] == "fooled" else "")
    text += f"; {missing} undefined value{'s' * (missing != 1)} left out" if missing else ""
    said = f"; {blank} comparison{'s' * (blank != 1)} with a blank map, 0 or 1 by convention"
    return text + said if blank else text
