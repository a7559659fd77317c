"""The page of the noisecam2023 study: every figure of the paper, and which reading of it, if any, detects."""

from dataclasses import replace
from functools import partial

from gazeshift.report.cells import table
from gazeshift.report.document import Chart, Document, Section, Table, number, share
from gazeshift.report.similarity import ATTACKED as ATTACKED_SIDE
from gazeshift.report.similarity import NOISE as NOISE_SIDE
from gazeshift.report.similarity import percent
from gazeshift.report.similarity_charts import outcomes
from gazeshift.report.study import Study
from gazeshift.studies.noisecam2023.report import charts as draw
from gazeshift.studies.noisecam2023.report.claims import claims, findings, nothing
from gazeshift.studies.noisecam2023.report.galleries import galleries
from gazeshift.studies.noisecam2023.report.numbers import ATTACKED, CLEAN, NOISE, WAYS, NoisecamTables, read_found

__all__ = ["page"]

PAPER = (
    "Tan, Renkhoff, Velasquez, Wang, Li, Wang, Niu, Yang, Liu, Song: NoiseCAM: Explainable AI for the Boundary Between "
    "Noise and Adversarial Attacks (2023)"
)

COUNTED = (
    "An example is classified otherwise than its clean image. Both detectors are tested on all of them; "
    "similarities of the layers are of those classified right before."
)


def page(study: Study) -> Document:
    """Everything that the page says.

    Raises:
        DataError: a table is absent or damaged.
    """
    found = read_found(study)
    return Document(
        title="Whether clusters in NoiseCAM, or one layer's deviation, give an attack away",
        paper=PAPER,
        facts=_facts(found),
        findings=findings(found),
        claims=claims(found),
        sections=_sections(study, found),
        manifest=study.manifest,
        warnings=_warnings(study, found),
    )


def _sections(study: Study, found: NoisecamTables) -> list[Section]:
    seeds = replace(outcomes(found.gaze), about=COUNTED)
    examples = [seeds, _fooled(found)] if found.fooled else [seeds]
    sections = [Section(title="Examples", items=examples)]
    if found.gaze.found is None or not found.gaze.main.any():
        return sections
    kinds = (ATTACKED_SIDE, NOISE_SIDE)
    deviation: list[Chart] = [*(draw.similarity(found, kind) for kind in kinds), draw.compromise(found)]
    together: list[Chart | Table] = [
        draw.accuracy(found),
        draw.rates(found),
        draw.receiver(found),
        draw.areas(found),
        draw.strengths(found),
    ]
    readings: list[Chart | Table] = [draw.combinations(found, CLEAN), draw.combinations(found, NOISE), draw.best(found)]
    return [
        *sections,
        Section(title="Pictures", items=galleries(study, found.told.asked.gallery)),
        Section(title="Behaviour of the layers", items=deviation),
        Section(title="Both detectors", items=together),
        Section(title="Every reading of NoiseCAM", items=readings, about=(_learned(study),)),
    ]


def _facts(found: NoisecamTables) -> list[tuple[str, str]]:
    told, asked, parts = found.told, found.told.asked, found.told.parts
    return [
        ("Model", told.model.name.rsplit("/", 1)[-1]),
        (
            "Images",
            f"{told.images.used} of {told.images.source}: {parts.calibration} calibrate, {parts.test} test",
        ),
        ("Attack", f"examples of the set {asked.set}" if asked.set else asked.attack),
        ("NoiseCAM", f"{found.main.map}, {WAYS[found.main.binarise]}, DBSCAN within 2 pixels, 3 points"),
        ("Deviation", f"{found.probe}, {asked.noise_images} noisy versions; {found.deviated} of the examples"),
        ("Cost", f"{number(told.cost.ratio)} x its bare forward and backward passes"),
    ]


def _warnings(study: Study, found: NoisecamTables) -> list[str]:
    said = []
    if not draw.detectors(found):
        said.append(nothing(found))
    elif found.tested < 30 or (found.deviated and found.deviated < 30):
        said.append(
            f"Small numbers: NoiseCAM was tested on {found.tested} examples, the deviation on {found.deviated}. A rate "
            f"of {found.tested} has a standard error of up to {share(0.5 / max(1, found.tested) ** 0.5)}."
        )
    if 0 in _benign(study):
        said.append("No calibration image has an example, so nothing was calibrated: gates are 0.")
    return said


def _benign(study: Study) -> list[int]:
    """How many benign images each combination learned from."""
    counts: list[int] = study.table("fitted", ["benign"])["benign"].to_pylist() if study.has("fitted") else []
    return counts


def _learned(study: Study) -> str:
    return (
        f"Gates and levels were learned from {max(_benign(study), default=0)} benign calibration images, clean and "
        "noisy, so that at most 5 % of them are taken for attacks; everything shown is measured on other images."
    )


def _fooled(found: NoisecamTables) -> Table:
    """How many examples still change the class at each strength."""

    def counted(kind: str, strength: float) -> str:
        some, every = found.fooled.get((kind, round(strength, 4)), (0, 0))
        return f"{some} of {every}"

    return table(
        "Images whose class is another one than the clean image's",
        found.strengths,
        {"strength": percent, "adversarial": partial(counted, ATTACKED), "Gaussian noise": partial(counted, NOISE)},
        about="All of them count as attacked, or as benign, whether the class changes or not, as in the paper.",
        name="fooled",
    )
