"""The page of the renkhoff2022 study: every figure of the paper, and what its claims come to here."""

from gazeshift.report import similarity_charts as draw
from gazeshift.report.document import Chart, Document, Gallery, Section, Table, number
from gazeshift.report.similarity import ATTACKED, NOISE, REFERENCE, SimilarityManifest, SimilarityNumbers, numbers
from gazeshift.report.study import Study
from gazeshift.studies.renkhoff2022.report.claims import claims, findings, nothing
from gazeshift.studies.renkhoff2022.report.galleries import gallery

__all__ = ["page"]

PAPER = (
    "Renkhoff, Tan, Velasquez, Wang, Liu, Wang, Niu, Begic Fazlic, Dartmann, Song: Exploring Adversarial Attacks on "
    "Neural Networks: An Explainable Approach (2022)"
)
ARITHMETIC = (
    "The strengths were scaled as the released code did (--arithmetic released), to show where its curves come from: "
    "the columns say what each strength really multiplies."
)
JET = (
    "Similarity was measured on jet-coloured pictures of the maps, as the released code did (--space jet): their "
    "common blue background counts as likeness, and disjoint spots still reach 0.5 to 0.9."
)


def page(study: Study) -> Document:
    """Everything that the page says."""
    found = numbers(study)
    settings = found.manifest.settings
    has_examples = found.found is not None and bool(found.main.any())
    sections = [_seeds(found, has_examples), _coverage(found)]
    if has_examples:
        sections += [_maps(gallery(study, found)), _similarity(found), _compromise(found), _target(found)]
    warnings = [ARITHMETIC] if settings["arithmetic"] == "released" else []
    warnings += [JET] if settings["space"] == "jet" else []
    return Document(
        title="Where DLFuzz examples move the gaze, layer by layer",
        paper=PAPER,
        facts=_facts(found.manifest),
        findings=findings(found),
        claims=claims(found),
        sections=sections,
        manifest=study.manifest,
        warnings=warnings if has_examples else [*warnings, nothing(found)],
    )


def _facts(manifest: SimilarityManifest) -> list[tuple[str, str]]:
    settings, images = manifest.settings, manifest.images
    scaled = settings["arithmetic"] + ("" if settings["eight_bit"] == "none" else f", 8 bits: {settings['eight_bit']}")
    return [
        ("Model", manifest.model.name.rsplit("/", 1)[-1]),
        ("Images", f"{images.used} of {images.source}"),
        ("Attack", f"examples of the set {settings['set']}" if settings["set"] else settings["attack"]),
        ("Layers", f"{len(manifest.layers)} ({', '.join(settings['layers'])})"),
        ("Strengths", scaled),
        ("Similarity", f"cosine of {'maps' if settings['space'] == 'raw' else 'jet pictures of maps'}"),
        ("Cost", f"{number(manifest.cost.ratio)} x its bare forward and backward passes"),
    ]


def _seeds(found: SimilarityNumbers, has_examples: bool) -> Section:
    tables = [draw.outcomes(found)]
    if has_examples:
        tables += [draw.fooled(found), draw.arithmetic(found)]
    return Section(title="Seeds", items=tables)


def _coverage(found: SimilarityNumbers) -> Section:
    return Section(title="Neuron coverage", items=[draw.coverage_arms(found), draw.coverage_strengths(found)])


def _maps(shown: Gallery) -> Section:
    return Section(title="Maps", items=[shown])


def _similarity(found: SimilarityNumbers) -> Section:
    kinds = (ATTACKED, NOISE)
    items = [*(draw.pooled_boxes(found, kind) for kind in kinds), *(draw.mean_lines(found, kind) for kind in kinds)]
    return Section(title="Similarity to the clean map", items=items)


def _compromise(found: SimilarityNumbers) -> Section:
    items: list[Chart | Table] = [
        draw.probability(found),
        draw.probability(found, paired=True),
        draw.compromised_layers(found),
        draw.ranking(found),
    ]
    return Section(title="Compromised layers", items=items)


def _target(found: SimilarityNumbers) -> Section:
    items: list[Chart | Table] = [
        draw.targets(found),
        *(draw.mean_lines(found, kind, REFERENCE) for kind in (ATTACKED, NOISE)),
        draw.probability(found, REFERENCE),
        draw.probability(found, REFERENCE, paired=True),
        draw.wrong_seeds(found),
    ]
    about = (
        "A map of another class differs even if the network looks where it did. Here the clean image's class is "
        "explained on both sides.",
    )
    return Section(title="Another class or another gaze", items=items, about=about)
