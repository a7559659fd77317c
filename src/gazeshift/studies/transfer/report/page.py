"""The page of the transfer study: how often each model is wrong, and whether one attack does better than the first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gazeshift.report.charts import COLOURS, bars, heat
from gazeshift.report.document import NONE, Chart, Document, Section, Table, number, share
from gazeshift.report.study import Study
from gazeshift.report.words import small

__all__ = ["page"]

Line = Mapping[str, Any]
ABOUT = (
    "Each model on its own preprocessing; the attack saw the model that it was made on alone, so its bar there is not "
    "transfer. Whiskers are 95 % intervals (Wilson)."
)
CLEAN = "clean"
AS_MADE = "as made"


@dataclass(frozen=True, kw_only=True)
class TransferTable:
    """The study's table, and how its things are called in the page.

    Args:
        lines: one per source, size, attack and victim, in the order of the settings.
        names: of the models, without the paths that they came by.
        attacks: specs, in order.
        sources: models that were attacked, in order.
    """

    lines: Sequence[Line]
    names: Mapping[str, str]
    attacks: Sequence[str]
    sources: Sequence[str]

    @property
    def sizes(self) -> list[str]:
        """As made, and scaled if it was asked for; the last one compares the attacks best."""
        return list(dict.fromkeys(line["size"] for line in self.lines))

    def pick(self, **wanted: str | bool) -> list[Line]:
        """The lines that have these values."""
        return [line for line in self.lines if all(line[key] == value for key, value in wanted.items())]


def page(study: Study) -> Document:
    """Everything that the page says."""
    manifest = study.manifest
    found = TransferTable(
        lines=study.table("table").to_pylist(),
        names=_names(list(manifest["models"])),
        attacks=[attack["name"] for attack in manifest["attacks"]],
        sources=manifest["sources"],
    )
    return Document(
        title="Do attacks made on one model fool others?",
        paper="Every attack is made on one model, and what it made is shown to the others.",
        facts=_facts(study, found),
        findings=list(_findings(found)),
        claims=(),
        sections=list(_sections(found)),
        manifest=manifest,
        warnings=list(_warnings(found)),
    )


def _names(models: Sequence[str]) -> dict[str, str]:
    """A model of a file is called by its function, unless two are called the same."""
    short = {model: model.rsplit(":", 1)[-1] if model.startswith("module:") else model for model in models}
    return short if len(set(short.values())) == len(models) else {model: model for model in models}


def _facts(study: Study, found: TransferTable) -> list[tuple[str, str]]:
    settings, images = study.manifest["settings"], study.manifest["images"]
    way = "resized" if settings["fit"] == "resize" else "padded with black, or cropped"
    return [
        ("Attacked", ", ".join(found.names[model] for model in found.sources)),
        ("Shown to", ", ".join(found.names.values())),
        ("Images", f"{images['used']} of {images['asked']} from {images['source']}, labels {images['labels']}"),
        ("Attacks", ", ".join(found.attacks)),
        ("Sizes", ", ".join(map(_said, found.sizes)) or NONE),
        ("For another input size", f"images are {way}"),
        ("Seed", str(study.manifest["seed"])),
    ]


def _warnings(found: TransferTable) -> Iterator[str]:
    if not found.lines:
        yield "No image could be used, so there is nothing to compare: see the skipped images under Checks."
    elif found.sizes[-1] == AS_MADE and len({round(line["rms"] * 255, 1) for line in found.lines}) > 1:
        yield (
            "The attacks changed the images by different amounts, so that a larger error may only mean a larger "
            "change. Add --rms 5/255 or so for a comparison at one size."
        )
    own = {_key(line): line["error_high"] for line in found.lines if line["white_box"]}
    for line in found.lines:
        if line["size"] == AS_MADE and line["error_low"] > own[_key(line)]:
            yield (
                f"{line['attack']} made on {found.names[line['source']]} does worse there than on "
                f"{found.names[line['victim']]}: gradients of {found.names[line['source']]} may be masked, or the "
                "attack flawed. See to that before believing its robustness."
            )


def _key(line: Line) -> tuple[str, str, str]:
    return line["source"], line["attack"], line["size"]


def _findings(found: TransferTable) -> Iterator[str]:
    for source in found.sources if found.lines else ():
        size = found.sizes[-1]
        for victim in dict.fromkeys(line["victim"] for line in found.pick(source=source, white_box=False)):
            yield _error(found, found.pick(source=source, size=size, victim=victim))
        yield from _compared(found, found.pick(source=source, size=size, white_box=False))
        own = found.pick(source=source, size=AS_MADE, white_box=True)
        rates = ", ".join(f"{line['attack']} {share(line['fooled'] / max(1, line['clean_right']))}" for line in own)
        yield f"On {found.names[source]} itself, of the images that it got right, as made: {rates} fooled."
    if found.lines and small(found.lines[0]["n"]):
        yield small(found.lines[0]["n"])


def _error(found: TransferTable, lines: Sequence[Line]) -> str:
    """What every attack does to one victim."""
    first, rates = lines[0], ", ".join(f"{_interval(line, 'error')} by {line['attack']}" for line in lines)
    return (
        f"{found.names[first['victim']]} is wrong on {_interval(first, 'clean_error')} of {first['n']} clean images, "
        f"and attacked on {found.names[first['source']]} ({_said(first['size'])}) on {rates}."
    )


def _compared(found: TransferTable, lines: Sequence[Line]) -> Iterator[str]:
    """Whether the first attack transfers better than each of the others, over all victims."""
    first = found.attacks[0]
    for attack in found.attacks[1:]:
        others = [line for line in lines if line["attack"] == attack]
        wins = sum(line["against_first_high"] < 0 for line in others)
        losses = sum(line["against_first_low"] > 0 for line in others)
        counts = {"better": wins, "worse": losses, "not told apart": len(others) - wins - losses}
        said = ", ".join(f"{word} on {count}" for word, count in counts.items() if count)
        if others:
            yield (
                f"{first} against {attack}, on the {len(others)} other model{'s'[: len(others) > 1]}: {said} "
                "(95 % intervals of the difference on the same images)."
            )


def _sections(found: TransferTable) -> Iterator[Section]:
    if not found.lines:
        return
    places = [(source, size) for source in found.sources for size in found.sizes]
    yield Section(title="Errors of each model", items=[_errors(found, *place) for place in places])
    if len(found.sources) > 1:
        maps = [_matrix(found, attack) for attack in found.attacks]
        yield Section(title="Every model on every other", items=maps)
    if len(found.attacks) > 1:
        yield Section(title=f"Against {found.attacks[0]}, on the same images", items=[_differences(found)])
    yield Section(title="Size of the changes", items=[_changes(found)])


def _errors(found: TransferTable, source: str, size: str) -> Chart:
    """Error rates as bars with whiskers: one group per model, clean first."""
    by_attack = {attack: found.pick(source=source, size=size, attack=attack) for attack in found.attacks}
    lines = by_attack[found.attacks[0]]
    series = {CLEAN: [line["clean_error"] for line in lines]}
    series |= {attack: [line["error"] for line in own] for attack, own in by_attack.items()}
    models = [found.names[line["victim"]] + (" (attacked)" if line["white_box"] else "") for line in lines]
    colours = {CLEAN: "--quiet", **dict(zip(found.attacks, COLOURS, strict=False))}
    several = {"y_title": "share wrong", "y_range": (0.0, 1.05), "colours": colours}
    title = f"Made on {found.names[source]}, {_said(size)}"
    chart = bars(title, models, series, x_title="model", about=ABOUT, wide=True, **several)  # type: ignore[arg-type]
    whiskers = [_whiskers(lines, "clean_error"), *(_whiskers(own, "error") for own in by_attack.values())]
    cells = [[_interval(line, "clean_error") for line in lines]]
    cells += [[_interval(line, "error") for line in own] for own in by_attack.values()]
    return replace(
        chart,
        traces=[{**trace, "error_y": whisker} for trace, whisker in zip(chart.traces, whiskers, strict=True)],
        rows=[[model, *row] for model, *row in zip(models, *cells, strict=True)],
    )


def _whiskers(lines: Sequence[Line], name: str) -> dict[str, Any]:
    up = [line[f"{name}_high"] - line[name] for line in lines]
    down = [line[name] - line[f"{name}_low"] for line in lines]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": "--ink", "thickness": 1}


def _matrix(found: TransferTable, attack: str) -> Chart:
    """Error rates of every victim under every source."""
    size, victims = found.sizes[-1], list(found.names)
    cells = {(line["source"], line["victim"]): line["error"] for line in found.pick(attack=attack, size=size)}
    return heat(
        f"{attack}, {_said(size)}: share wrong",
        list(found.names.values()),
        [found.names[source] for source in found.sources],
        [[cells.get((source, victim)) for victim in victims] for source in found.sources],
        x_title="shown to",
        y_title="made on",
    )


def _differences(found: TransferTable) -> Table:
    """Every attack against the first, where neither was made on the victim."""
    first = found.attacks[0]
    rows = [
        [
            line["attack"],
            found.names[line["source"]],
            found.names[line["victim"]],
            _said(line["size"]),
            f"{100 * line['against_first']:+.1f}",
            f"{100 * line['against_first_low']:+.1f} to {100 * line['against_first_high']:+.1f}",
            f"{line['only_here']} / {line['only_first']}",
        ]
        for line in found.lines
        if line["attack"] != first and not line["white_box"]
    ]
    return Table(
        title="Difference of the error rates in percentage points",
        head=["attack", "made on", "shown to", "size", f"minus {first}", "95 % interval", "only here / only there"],
        rows=rows,
        about=f"Below 0, {first} is the stronger one. Intervals are of the paired difference (Agresti and Min 2005); "
        "the last column counts the images that only the one or only the other got wrong.",
    )


def _changes(found: TransferTable) -> Table:
    victim = {source: next(line["victim"] for line in found.pick(source=source)) for source in found.sources}
    rows = [
        [
            line["attack"],
            found.names[line["source"]],
            _said(line["size"]),
            number(line["rms"] * 255),
            number(line["linf"] * 255, 1),
            number(line["l2"]),
        ]
        for line in found.lines
        if line["victim"] == victim[line["source"]]
    ]
    return Table(
        title="How much the attacks changed",
        head=["attack", "made on", "size", "RMS x 255 (mean)", "L-inf x 255 (largest)", "L2 (mean)"],
        rows=rows,
        about="Images in [0, 1] at the attacked model's input size. Scaling to one root mean square may change L-inf.",
    )


def _said(size: str) -> str:
    return size.replace("rms ", "scaled to RMS ") if size != AS_MADE else size


def _interval(line: Line, name: str) -> str:
    return f"{share(line[name])} [{100 * line[f'{name}_low']:.0f}, {100 * line[f'{name}_high']:.0f}]"
