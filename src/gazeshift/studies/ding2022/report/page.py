"""The page of the study of Ding et al. 2022: all its figures and tables, beside the paper's."""

from collections.abc import Mapping, Sequence
from typing import Any

from gazeshift.report.document import Chart, Document, Gallery, Section, Table
from gazeshift.report.study import Study
from gazeshift.report.words import called
from gazeshift.studies.ding2022.report import tables
from gazeshift.studies.ding2022.report import training_tables as trainings
from gazeshift.studies.ding2022.report.claims import claims, findings
from gazeshift.studies.ding2022.report.numbers import MENDED, SetNumbers, read_sets

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
    sets = read_sets(study)
    return Document(
        title="What adversarial sets do to a classifier, and what helps",
        paper=PAPER,
        facts=_facts(study.manifest, sets),
        findings=findings(sets),
        claims=claims(sets),
        sections=_sections(study.manifest, sets),
        manifest=study.manifest,
        warnings=_warnings(study.manifest, sets),
    )


def _facts(manifest: Mapping[str, Any], sets: Sequence[SetNumbers]) -> list[tuple[str, str]]:
    settings, cost = manifest["settings"], manifest.get("cost", {})
    facts = [("Model", called(manifest["model"]["name"]))]
    for one in sets:
        told = one.told
        right = f"{told['clean_correct']} classified right when clean, {told['fooled']} of these fooled"
        facts.append((f"Set {one.name}", f"{told['pairs']} pairs; {right}; {len(told['examples'])} painted and masked"))
    facts.append(("Pixels", f"{settings['pixels']}, {settings['draws']} draws, region from {settings['level']:g}"))
    trained = f"adversarial, epochs: {settings['epochs']}; detector {called(settings['detector'])}"
    side, epochs = settings["detector_side"], settings["detector_epochs"]
    facts.append(("Training", f"{trained}, {side} px, epochs: {epochs}; Adam, {settings['learning_rate']:g}"))
    if cost.get("ratio"):
        facts.append(("Cost", f"{cost['ratio']:.2f} times its forward and backward passes alone, training aside"))
    return facts


def _warnings(manifest: Mapping[str, Any], sets: Sequence[SetNumbers]) -> list[str]:
    made = [str(note) for note in manifest.get("notes", ())]
    for one in sets:
        if not one.told["fooled"]:
            made.append(
                f"No adversarial example in {one.name}: no image that the model gets right is wrong after the attack. "
                "Nothing is painted, masked or shown; trainings and rankings are those of failed attacks."
            )
        if one.training and one.training[0]["validation"] < 100:
            made.append(
                f"{one.name}: {one.training[0]['validation']} validation images and {one.told['sizes'][-1]} to train "
                "on at most. These accuracies say that the program works, and little about the method."
            )
    return made


def _sections(manifest: Mapping[str, Any], sets: Sequence[SetNumbers]) -> list[Section]:
    classes = manifest["model"].get("classes")
    named = f"{classes} classes" if classes else "the classifier"
    return [
        _section(
            "Do the pixels give it away?",
            [item for one in sets for item in (trainings.histogram_gallery(one), *tables.histograms(one))],
        ),
        _section("Where is the class seen?", [trainings.cam_gallery(one) for one in sets]),
        _section(
            "What if the region is painted over?",
            [item for one in sets for item in (tables.painted_chart(one), tables.control(one), tables.painted(one))],
        ),
        _section("Which feature maps change?", [item for one in sets for item in _maps(one)]),
        _section(
            "Does it help to change them?",
            [tables.mended(one, experiment) for one in sets for experiment in MENDED],
        ),
        _section(
            "Does training on them help?",
            [item for one in sets for item in _training(one)],
        ),
        _section("Can a network learn to tell?", [item for one in sets for item in _detector(one, named)]),
        _section("Whose maps were ranked?", [tables.structure(manifest["layers"])]),
    ]


def _section(title: str, items: Sequence[Table | Chart | Gallery]) -> Section:
    return Section(title=title, items=items)


def _maps(one: SetNumbers) -> list[Table | Chart | Gallery]:
    most, least = (tables.ranked(one, least=least) for least in (False, True))
    return [tables.layers_chart(one), most, least, trainings.feature_gallery(one)]


def _training(one: SetNumbers) -> list[Table | Chart | Gallery]:
    return [trainings.adversarial(one), *(trainings.epochs(one, side) for side in ("clean", "attacked"))]


def _detector(one: SetNumbers, classes: str) -> list[Table | Chart | Gallery]:
    scored = trainings.detector(one), trainings.suspected(one)
    return [*scored, trainings.roc_chart(one), trainings.two_class_gallery(one, classes)]
