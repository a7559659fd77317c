"""The page of a scorecard: what each detector finds, what it costs in false alarms, and what it has never seen."""

from collections.abc import Iterator

from gazeshift.report.document import Document, Item, Section, number, share
from gazeshift.report.study import Study
from gazeshift.studies.scorecard.manifest import ScorecardManifest
from gazeshift.studies.scorecard.report import adaptive, charts, tables
from gazeshift.studies.scorecard.report.findings import findings, warnings
from gazeshift.studies.scorecard.report.numbers import CLEAN, ScorecardNumbers, read_found

__all__ = ["page"]

ABOUT = "Every detector on the same images, which none of them learned from or was calibrated on."
UNTRIED = "No adaptive attack was tried: no attack here knew the detectors. "
NEGATIVES = (
    "AUROC and detection rates set successful examples against everything that is no attack: all clean images, "
    "classified right or not, and all their benign changes, {} in all. Intervals come from {} bootstrap samples of the "
    "images, each drawn with all that was made of it."
)


def page(study: Study) -> Document:
    """Everything that the page says.

    Raises:
        DataError: a table is absent or damaged.
    """
    found = read_found(study)
    return Document(
        title="What detectors of adversarial images are worth",
        paper=ABOUT if found.adaptive else UNTRIED + ABOUT,
        facts=_facts(study.entries(ScorecardManifest), found),
        findings=list(findings(found)),
        claims=(),
        sections=list(_sections(found)),
        manifest=study.manifest,
        warnings=list(warnings(found)),
    )


def _facts(told: ScorecardManifest, found: ScorecardNumbers) -> list[tuple[str, str]]:
    main, images = found.fitted(found.main), told.images
    wrong = int((main.benign(CLEAN) & ~main.correct).sum())
    promised = {share(card.false_alarms, 1) for card in found.detectors.values()}
    return [
        ("Model", told.model.name.rsplit("/", 1)[-1]),
        ("Images", f"{found.clean} from {images.source}, {wrong} misclassified; labels {images.labels}"),
        ("Detectors", ", ".join(found.detectors)),
        ("Attacks", f"{len(found.sets)} sets, {main.examples().sum()} successful examples"),
        ("Promised false alarms", ", ".join(sorted(promised))),
        ("Cost", f"{number(told.cost.ratio)} x its bare forward and backward passes"),
    ]


def _sections(found: ScorecardNumbers) -> Iterator[Section]:
    if found.adaptive:
        known = [draw(found.adaptive) for draw in (adaptive.evasion, adaptive.budget, adaptive.table)]
        yield Section(title="Attacks that know the detector", items=known)
    if found.tested:
        main = found.fitted(found.main)
        about = NEGATIVES.format(len(main.negatives.score), len(main.counts) - 1)
        across: list[Item] = [tables.contestants(found), charts.glance(found), *tables.per_attack(found)]
        items = [*across, *charts.strengths(found)]
        yield Section(title="Detectors and attacks", items=items, about=(about,))
        yield Section(title="Curves", items=[charts.receivers(found), charts.suspicions(found)])
    yield Section(title="False alarms", items=[charts.false_alarms(found), tables.misclassified(found)])
    if found.tested and found.supervised:
        learned: list[Item] = []
        for name in found.supervised:
            learned += [charts.transfer(found, name), *([tables.unseen(found, name)] if found.left_out(name) else [])]
        yield Section(title="Unseen attacks", items=learned)
    if found.sets:
        yield Section(title="Successful, failed and all", items=tables.outcomes(found))
    tested = [tables.detectors(found), tables.sets(found)] if found.sets else [tables.detectors(found)]
    yield Section(title="What was tested", items=tested)
