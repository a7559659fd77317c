"""The page of the transfer study: how often each model is wrong, and whether one attack does better than the first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gazeshift.report.cells import table, with_whiskers
from gazeshift.report.charts import COLOURS, bars, heat
from gazeshift.report.document import NONE, Chart, Document, Section, Table, number, share
from gazeshift.report.study import Study
from gazeshift.report.words import small
from gazeshift.studies.transfer.manifest import TransferManifest
from gazeshift.studies.transfer.report.numbers import AS_MADE, TransferLine, TransferTable, read_table

__all__ = ["page"]

ABOUT = (
    "Each model on its own preprocessing; the attack saw the model that it was made on alone, so its bar there is not "
    "transfer. Whiskers are 95 % intervals (Wilson)."
)
CLEAN = "clean"


def page(study: Study) -> Document:
    """Everything that the page says."""
    told = study.entries(TransferManifest)
    found = read_table(study, told)
    return Document(
        title="Do attacks made on one model fool others?",
        paper="Every attack is made on one model, and what it made is shown to the others.",
        facts=_facts(told, found),
        findings=list(_findings(found)),
        claims=(),
        sections=list(_sections(found)),
        manifest=study.manifest,
        warnings=list(_warnings(found)),
    )


def _facts(told: TransferManifest, found: TransferTable) -> list[tuple[str, str]]:
    images, way = told.images, "resized" if told.asked.fit == "resize" else "padded with black, or cropped"
    return [
        ("Attacked", ", ".join(found.names[model] for model in found.sources)),
        ("Shown to", ", ".join(found.names.values())),
        ("Images", f"{images.used} of {images.asked} from {images.source}, labels {images.labels}"),
        ("Attacks", ", ".join(found.attacks)),
        ("Sizes", ", ".join(dict.fromkeys(line.said for line in found.lines)) or NONE),
        ("For another input size", f"images are {way}"),
        ("Seed", str(told.seed)),
    ]


def _warnings(found: TransferTable) -> Iterator[str]:
    if not found.lines:
        yield "No image could be used, so there is nothing to compare: see the skipped images under Checks."
    elif found.sizes[-1] == AS_MADE and len({round(line.rms * 255, 1) for line in found.lines}) > 1:
        yield (
            "The attacks changed the images by different amounts, so that a larger error may only mean a larger "
            "change. Add --rms 5/255 or so for a comparison at one size."
        )
    own = {_key(line): line.error_high for line in found.lines if line.white_box}
    for line in found.lines:
        if line.size == AS_MADE and line.error_low > own[_key(line)]:
            yield (
                f"{line.attack} made on {found.names[line.source]} does worse there than on "
                f"{found.names[line.victim]}: gradients of {found.names[line.source]} may be masked, or the "
                "attack flawed. See to that before believing its robustness."
            )


def _key(line: TransferLine) -> tuple[str, str, str]:
    return line.source, line.attack, line.size


def _findings(found: TransferTable) -> Iterator[str]:
    for source in found.sources if found.lines else ():
        size = found.sizes[-1]
        for victim in dict.fromkeys(line.victim for line in found.pick(source=source, white_box=False)):
            yield _error(found, found.pick(source=source, size=size, victim=victim))
        yield from _compared(found, found.pick(source=source, size=size, white_box=False))
        own = found.pick(source=source, size=AS_MADE, white_box=True)
        rates = ", ".join(f"{line.attack} {share(line.fooled / max(1, line.clean_right))}" for line in own)
        yield f"On {found.names[source]} itself, of the images that it got right, as made: {rates} fooled."
    if found.lines and small(found.lines[0].n):
        yield small(found.lines[0].n)


def _error(found: TransferTable, lines: Sequence[TransferLine]) -> str:
    """What every attack does to one victim."""
    first, rates = lines[0], ", ".join(f"{line.attacked.percent()} by {line.attack}" for line in lines)
    return (
        f"{found.names[first.victim]} is wrong on {first.clean.percent()} of {first.n} clean images, "
        f"and attacked on {found.names[first.source]} ({first.said}) on {rates}."
    )


def _compared(found: TransferTable, lines: Sequence[TransferLine]) -> Iterator[str]:
    """Whether the first attack transfers better than each of the others, over all victims."""
    first = found.attacks[0]
    for attack in found.attacks[1:]:
        others = [line for line in lines if line.attack == attack]
        wins = sum(line.against_first_high < 0 for line in others)
        losses = sum(line.against_first_low > 0 for line in others)
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
    rates = {CLEAN: [line.clean for line in lines]}
    rates |= {attack: [line.attacked for line in own] for attack, own in by_attack.items()}
    models = [found.names[line.victim] + (" (attacked)" if line.white_box else "") for line in lines]
    chart = bars(
        f"Made on {found.names[source]}, {lines[0].said}",
        models,
        {name: [one.value for one in own] for name, own in rates.items()},
        x_title="model",
        y_title="share wrong",
        y_range=(0.0, 1.05),
        colours={CLEAN: "--quiet", **dict(zip(found.attacks, COLOURS, strict=False))},
        about=ABOUT,
        wide=True,
    )
    cells = ([one.percent() for one in own] for own in rates.values())
    return replace(with_whiskers(chart, rates.values()), rows=[list(row) for row in zip(models, *cells, strict=True)])


def _matrix(found: TransferTable, attack: str) -> Chart:
    """Error rates of every victim under every source."""
    lines = found.pick(attack=attack, size=found.sizes[-1])
    cells = {(line.source, line.victim): line.error for line in lines}
    return heat(
        f"{attack}, {lines[0].said}: share wrong",
        list(found.names.values()),
        [found.names[source] for source in found.sources],
        [[cells.get((source, victim)) for victim in found.names] for source in found.sources],
        x_title="shown to",
        y_title="made on",
    )


def _differences(found: TransferTable) -> Table:
    """Every attack against the first, where neither was made on the victim."""
    first = found.attacks[0]
    return table(
        "Difference of the error rates in percentage points",
        [line for line in found.lines if line.attack != first and not line.white_box],
        {
            "attack": lambda line: line.attack,
            "made on": lambda line: found.names[line.source],
            "shown to": lambda line: found.names[line.victim],
            "size": lambda line: line.said,
            f"minus {first}": lambda line: f"{100 * line.against_first:+.1f}",
            "95 % interval": lambda line: (
                f"{100 * line.against_first_low:+.1f} to {100 * line.against_first_high:+.1f}"
            ),
            "only here / only there": lambda line: f"{line.only_here} / {line.only_first}",
        },
        about=f"Below 0, {first} is the stronger one. Intervals are of the paired difference (Agresti and Min 2005); "
        "the last column counts the images that only the one or only the other got wrong.",
    )


def _changes(found: TransferTable) -> Table:
    return table(
        "How much the attacks changed",
        found.pick(victim=next(iter(found.names))),
        {
            "attack": lambda line: line.attack,
            "made on": lambda line: found.names[line.source],
            "size": lambda line: line.said,
            "RMS x 255 (mean)": lambda line: number(line.rms * 255),
            "L-inf x 255 (largest)": lambda line: number(line.linf * 255, 1),
            "L2 (mean)": lambda line: number(line.l2),
        },
        about="Images in [0, 1] at the attacked model's input size. Scaling to one root mean square may change L-inf.",
    )
