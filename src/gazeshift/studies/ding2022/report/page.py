"""The page of the study of Ding et al. 2022: all its figures and tables, beside the paper's."""

from collections.abc import Callable, Sequence

from gazeshift.report.document import Document, Item, Section
from gazeshift.report.study import Study
from gazeshift.report.words import called
from gazeshift.studies.ding2022.manifest import DingManifest
from gazeshift.studies.ding2022.report import tables
from gazeshift.studies.ding2022.report import training_tables as trainings
from gazeshift.studies.ding2022.report.claims import claims, findings
from gazeshift.studies.ding2022.report.numbers import MENDED, SIDES, SetNumbers, read_sets

__all__ = ["page"]

PAPER = (
    "Ding, Tan, Geng, Qin, Cao, Choo, Qin: Interpreting Universal Adversarial Example Attacks on Image Classification "
    "Models. IEEE TDSC 2023, doi:10.1109/TDSC.2022.3202544."
)


def page(study: Study) -> Document:
    """The page of a finished study.

    Raises:
        DataError: a table is absent or damaged.
    """
    told = study.entries(DingManifest)
    sets = read_sets(study, told)
    return Document(
        title="What adversarial sets do to a classifier, and what helps",
        paper=PAPER,
        facts=_facts(told),
        findings=findings(sets),
        claims=claims(sets),
        sections=_sections(told, sets),
        manifest=study.manifest,
        warnings=_warnings(told, sets),
    )


def _facts(told: DingManifest) -> list[tuple[str, str]]:
    asked = told.asked
    facts = [("Model", called(told.model.name))]
    for one in told.sets:
        right = f"{one.clean_correct} classified right when clean, {one.fooled} of these fooled"
        facts.append((f"Set {one.name}", f"{one.pairs} pairs; {right}; {len(one.examples)} painted and masked"))
    facts.append(("Pixels", f"{asked.pixels}, {asked.draws} draws, region from {asked.level:g}"))
    trained = f"adversarial, epochs: {asked.epochs}; detector {called(asked.detector)}"
    side, epochs = asked.detector_side, asked.detector_epochs
    facts.append(("Training", f"{trained}, {side} px, epochs: {epochs}; Adam, {asked.learning_rate:g}"))
    if told.cost.ratio:
        facts.append(("Cost", f"{told.cost.ratio:.2f} times its forward and backward passes alone, training aside"))
    return facts


def _warnings(told: DingManifest, sets: Sequence[SetNumbers]) -> list[str]:
    made = list(told.notes)
    for one in sets:
        if not one.told.fooled:
            made.append(
                f"No adversarial example in {one.name}: no image that the model gets right is wrong after the attack. "
                "Nothing is painted, masked or shown; trainings and rankings are those of failed attacks."
            )
        if one.training and one.training[0].validation < 100:
            made.append(
                f"{one.name}: {one.training[0].validation} validation images and {one.told.sizes[-1]} to train "
                "on at most. These accuracies say that the program works, and little about the method."
            )
    return made


def _sections(told: DingManifest, sets: Sequence[SetNumbers]) -> list[Section]:
    named = f"{told.model.classes} classes" if told.model.classes else "the classifier"
    items: dict[str, Callable[[SetNumbers], Sequence[Item]]] = {
        "Do the pixels give it away?": lambda one: [trainings.histogram_gallery(one), *tables.histograms(one)],
        "Where is the class seen?": lambda one: [trainings.cam_gallery(one)],
        "What if the region is painted over?": lambda one: [
            tables.painted_chart(one),
            tables.control(one),
            tables.painted(one),
        ],
        "Which feature maps change?": lambda one: [
            tables.layers_chart(one),
            tables.ranked(one, least=False),
            tables.ranked(one, least=True),
            trainings.feature_gallery(one),
        ],
        "Does it help to change them?": lambda one: [tables.mended(one, experiment) for experiment in MENDED],
        "Does training on them help?": lambda one: [
            trainings.adversarial(one),
            *(trainings.epochs(one, side) for side in SIDES),
        ],
        "Can a network learn to tell?": lambda one: [
            trainings.detector(one),
            trainings.suspected(one),
            trainings.roc_chart(one),
            trainings.two_class_gallery(one, named),
        ],
    }
    sections = [Section(title=title, items=[item for one in sets for item in of(one)]) for title, of in items.items()]
    return [*sections, Section(title="Whose maps were ranked?", items=[tables.structure(told.layers)])]
