"""The page of the study of Chakraborty et al. 2022: all its figures and tables, beside the paper's."""

from gazeshift.report.document import Chart, Document, Section, Table
from gazeshift.report.study import Study
from gazeshift.report.words import called
from gazeshift.studies.chakraborty2022.manifest import ChakrabortyManifest
from gazeshift.studies.chakraborty2022.report import tables
from gazeshift.studies.chakraborty2022.report.claims import claims, findings
from gazeshift.studies.chakraborty2022.report.galleries import PictureIndex
from gazeshift.studies.chakraborty2022.report.numbers import ChakrabortyNumbers, read_numbers

__all__ = ["page"]

PAPER = "Chakraborty, Trehan, Mallat, Dugelay: Generalizing Adversarial Explanations with Grad-CAM. 2022, hal-03644916."


def page(study: Study) -> Document:
    """The page of a finished study.

    Raises:
        DataError: a table is absent or damaged.
    """
    told = study.entries(ChakrabortyManifest)
    found = read_numbers(study, told)
    return Document(
        title="Whose gaze moves, under an attack made for another",
        paper=PAPER,
        facts=_facts(told, found),
        findings=findings(found),
        claims=claims(found),
        sections=_sections(study, told, found),
        manifest=study.manifest,
        warnings=_warnings(told, found),
    )


def _sections(study: Study, told: ChakrabortyManifest, found: ChakrabortyNumbers) -> list[Section]:
    return [
        Section(title="How good are the heads?", items=[tables.heads(found, told.conditions)]),
        _fooled(found),
        Section(title="How large is the change?", items=[tables.decibels(found, told.unit)]),
        _moved(found),
        Section(title="How is it spread?", items=tables.distributions(found)),
        *_galleries(study, found),
    ]


def _facts(told: ChakrabortyManifest, found: ChakrabortyNumbers) -> list[tuple[str, str]]:
    parts = told.parts
    split = f"{parts.train} to train, {parts.val} to choose the epoch, {parts.test} to test"
    facts = [
        ("Models", ", ".join(map(called, found.models))),
        ("Attack made on", called(found.source)),
        ("Images", f"{told.images.source}: {len(told.class_names)} classes; {split}"),
        ("Attacked", ", ".join(f"{len(found.images(kind))} {tables.KINDS[kind]}" for kind in found.conditions)),
    ]
    if told.without_landmarks:
        facts.append(("Without landmarks", f"{len(told.without_landmarks)} images, left out of the aligned ones"))
    if told.cost.ratio:
        facts.append(("Cost", f"{told.cost.ratio:.2f} times its forward and backward passes alone"))
    return facts


def _warnings(told: ChakrabortyManifest, found: ChakrabortyNumbers) -> list[str]:
    made = []
    if told.images.kind == "demo":
        made.append(
            "A small stand-in: each class is ten overlapping views of one photograph, in training and in test alike. "
            "Accuracies say that the program works, and nothing about the models."
        )
    fooled = sum(found.success(model, found.levels[-1])[0] for model in found.models)
    if not fooled:
        made.append(
            f"No attack succeeded: no image that a model gets right is wrong under its own attack of ε "
            f"{found.levels[-1]:g}. Maps and distances below are those of failed attacks. Try larger --epsilons."
        )
    blank, total = found.blanks
    if blank:
        made.append(
            f"{blank} of {total} comparisons have a map without a positive value on one side or both. Two blank maps "
            "count as alike, one is compared as zero throughout."
        )
    return made


def _fooled(found: ChakrabortyNumbers) -> Section:
    items: list[Table | Chart] = [tables.accuracy_chart(found), tables.accuracy(found, "raw")]
    if "aligned" in found.conditions:
        items += [tables.accuracy(found, "aligned"), tables.common(found)]
    else:
        items.append(tables.not_aligned())
    items += [tables.others(found, "white_box"), tables.others(found, "random")]
    return Section(title="Who is fooled?", items=items)


def _moved(found: ChakrabortyNumbers) -> Section:
    items: list[Table | Chart] = [tables.mod_chart(found), tables.mod(found)]
    items += [tables.mod(found, target="reference"), tables.mod(found, "white_box"), tables.mod(found, "random")]
    return Section(
        title="How far does the gaze move?",
        items=[*items, tables.switched(found), tables.blanks(found)],
        about=[
            "NISSIM is (1 - SSIM) / 2 of two heatmaps: 0 for the same map. Its scale is not what it seems: unrelated "
            "maps have about 0.3, and 1 is out of reach."
        ],
    )


def _galleries(study: Study, found: ChakrabortyNumbers) -> list[Section]:
    pictures = PictureIndex(study, found.source, found.levels)
    seen = [pictures.shifts(), pictures.example(), pictures.black_box()]
    layered = [pictures.layered(model) for model in found.models]
    about = ["Every map is divided by its own largest value: brightness says where, not how much."]
    return [
        Section(title="Examples", items=seen, about=about),
        Section(title="Layer by layer", items=layered, about=about),
    ]
