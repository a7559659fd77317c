"""How far attacks move the gaze, layer by layer: everything that the page says, from the tables alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from gazeshift.manifest import StudyManifest, UndefinedMaps
from gazeshift.report.cube import cube
from gazeshift.report.document import Document, MapViewer, Section, Table, Terms
from gazeshift.report.html import numbers_room
from gazeshift.report.study import Study
from gazeshift.report.tables_read import read
from gazeshift.report.templates import duration
from gazeshift.report.words import cam_name, levels, measure_name, small
from gazeshift.studies.deviation.report import charts
from gazeshift.studies.deviation.report.findings import sentences
from gazeshift.studies.deviation.report.gallery import SHADES, PackedGallery, gallery
from gazeshift.studies.deviation.report.outcomes import Outcome, health, outcomes
from gazeshift.studies.deviation.report.published import beside
from gazeshift.studies.deviation.report.series import COMPARED, SPLIT, STRUCTURE, Series, series
from gazeshift.studies.deviation.report.tables import RANKED, percent, ranking
from gazeshift.studies.deviation.report.tiles import tiles

_PAGE, _LEAST = 2_550_000, 500_000
NO_LABELS = (
    "No labels were given. The model's own prediction on the clean image stands in for the label everywhere: “correct” "
    "means “as before the attack”, and the model's true accuracy is unknown."
)


def page(study: Study) -> Document:
    """Everything that the page says.

    Raises:
        DataError: a table is absent, damaged, or without rows.
    """
    data = read(study.folder)
    found, manifest = cube(data.rows, data.manifest), data.manifest
    values, worked = series(found), outcomes(data, found.attacks)
    images, labels, few = manifest.images, manifest.images.labels, small(len(found.images))
    warnings = [NO_LABELS] if labels != "given" else []
    warnings += [f"Few images. {few} Read differences smaller than twice that as noise."] if few else []
    document = Document(
        title=f"How attacks move the gaze of {manifest.model.name}",
        paper="",
        facts=[
            ("Images", f"{images.used or values.images} of {images.source or 'unknown source'}"),
            ("Attacks", ", ".join(values.attacks)),
            ("Maps", f"{_layers(values)}, {', '.join(map(cam_name, values.cams))}"),
            ("Measures", ", ".join(measure_name(measure.name) for measure in values.measures)),
        ],
        findings=sentences(values, worked, labels),
        claims=(),
        sections=[_attacks(worked, labels), _moved(values), *_rest(values, manifest)],
        manifest=study.manifest,
        warnings=warnings,
        tiles=tiles(values, worked),
        menus=charts.menus(values),
        checks=[asdict(check) for check in health(worked)],
        repeat=list(_repeat(manifest)),
    )
    shown = gallery(data, found, room=max(_LEAST, _PAGE - numbers_room(document)))
    first, second, *others = document.sections
    return replace(document, sections=[first, second, *_gallery(values, shown), *others])


def _layers(values: Series) -> str:
    return f"{len(values.layers)} layer{'s' * (len(values.layers) != 1)}"


def _attacks(worked: Sequence[Outcome], labels: str) -> Section:
    counted = "classified as labelled before and otherwise after" if labels == "given" else "whose class changed"
    head = ["Attack", "Strength", "Fooled", "Success", "95 % interval", "Noise fooled", "PSNR, dB", "L∞", "RMS", "L2"]
    table = Table(
        title="Success and size of every attack",
        head=head,
        rows=[_outcome_cells(outcome) for outcome in worked],
        strong=[place for place, outcome in enumerate(worked) if outcome.strength == 1],
        name="outcomes",
    )
    about = (
        "Strength multiplies the finished perturbation; strength 1 is what the attack made. Success counts images "
        f"{counted}. Noise is Gaussian with the mean and deviation of the same perturbation. PSNR, L∞, RMS and L2 are "
        "medians over all attacked images (PSNR with quartiles); sizes are in steps of 1/255 of the full range, L2 is "
        "in units of the full range."
    )
    return Section(title="Did the attacks work?", items=[table], about=[about], name="attacks")


def _moved(values: Series) -> Section:
    several = f"; the first {RANKED}" if len(values.layers) > RANKED else ""
    figure = partial(charts.variants, values, COMPARED)
    layers = figure(
        charts.layers,
        "How alike the maps are to the clean ones",
        "Lines are medians, bands reach from the 25 % to the 75 % point of the images.",
    )
    compromise = figure(
        charts.compromise,
        "Compromise probability",
        "Share of attacked images whose map is less alike than the median under matched noise; paired: less alike than "
        "the same image’s own under noise. 0.5 is chance. In the grey band, 19 of 20 layers would lie if attack and "
        "noise did not differ.",
    )
    rank = figure(
        charts.rank,
        "Most vulnerable layers",
        f"Ranked by how much less alike maps are under attack than under noise, in the mean{several}. “Least alike "
        "in”: images in which the layer’s map is the least alike of all.",
    )
    histogram = figure(
        charts.histogram,
        "Compromised layers per image",
        "How many of an image’s layers are less alike than the median under noise. Undefined maps are not counted as "
        "compromised.",
    )
    about = (
        "The map of the changed image is compared with the map of the clean image, both rectified and brought to the "
        "size of the image, by a measure that can be chosen above. The papers look at the images that the attack "
        "fooled at strength 1; all images can be chosen above."
    )
    meanings = {measure_name(measure.name): f"{measure.about} {measure.meaning}." for measure in values.measures}
    title = "How far did the gaze move, layer by layer?"
    items = (Terms(entries=meanings), layers, compromise, (rank, histogram))
    return Section(title=title, items=items, about=[about], name="layer-by-layer")


def _gallery(values: Series, shown: PackedGallery) -> Iterator[Section]:
    if not shown.images:
        return
    about = (
        "Each map is rectified and coloured by its own maximum, so brightness says where the gaze is, not how strong "
        "it is. Pictures are for viewing only. "
    )
    if shown.reduced:
        about += f"Maps are averaged down to at most {shown.side} × {shown.side} for this page. "
    if shown.left_out:
        about += f"{shown.left_out} further images were left out to keep the page small. "
    order = ranking(values.compared(values.chosen), values.measure(values.chosen))
    viewer = MapViewer(
        title="All layers of this image",
        layers=values.layers,
        first=next(iter(order), len(values.layers) - 1),
        images=shown.images,
        maps=shown.packed,
        shades=SHADES,
    )
    yield Section(
        title="Gallery", items=[viewer], about=[f"{about}Framed layers moved most beyond noise."], name="gallery"
    )


def _rest(values: Series, manifest: StudyManifest) -> Iterator[Section]:
    yield _split(values)
    if len(values.strengths) > 1:
        yield _strengths(values)
    if values.structure:
        yield _structure(values)
    yield _papers(values)
    yield _undefined(manifest.undefined)
    yield Section(title="How to read this", items=[Terms(entries=_GLOSSARY)], name="reading")


def _split(values: Series) -> Section:
    about = (
        "A map explains one class. When an attack switches the class, part of the change only says that another class "
        "is explained. So the images are split by whether the class switched, and each is looked at twice."
    )
    meaning = {
        "Switched, own class": "Each image’s own predicted class is explained: a switched class and a moved gaze "
        "together.",
        "Switched, same class": "The clean image’s class is explained in both: what is lost here is a moved gaze.",
        "Stayed": "The class did not switch, so both questions are the same one.",
        "Noise": "The switched images under matched noise, clean image’s class: what any change of this size does.",
    }
    groups = charts.variants(
        values,
        SPLIT,
        charts.split,
        "Means by group",
        "All images take part here, fooled or not.",
    )
    title = "A switched class, or a moved gaze?"
    return Section(title=title, items=[Terms(entries=meaning), groups], about=[about], name="class-or-gaze")


def _strengths(values: Series) -> Section:
    axes = [axis for axis in COMPARED if axis != "strength"]
    drawn = [
        charts.variants(values, axes, make, title, about)
        for make, title, about in (
            (charts.strengths_attacked, "Mean, attacked", "One line per strength."),
            (charts.strengths_noise, "Mean, matched noise", "The same scale, noise scaled alike."),
            (charts.strengths, "Compromise probability", "Per layer and strength; 0.5 is chance."),
        )
    ]
    about = "The same images at every strength: the stronger the colour, the stronger the perturbation."
    title = "How does it grow with strength?"
    return Section(title=title, items=[(drawn[0], drawn[1]), drawn[2]], about=[about], name="by-strength")


def _structure(values: Series) -> Section:
    figure = partial(charts.variants, values, STRUCTURE)
    about = (
        "NISSIM is (1 − SSIM) / 2 between two maps: 0 is the same map, and 0.25 to 0.30 already means unrelated maps "
        "at a coarse last layer. The finer the maps, the higher that point lies: for EfficientNet-Lite0, maps of two "
        "different photographs have 0.24 to 0.29 at its last two layers, 0.40 at layers of 14 × 14 and 0.46 to 0.48 at "
        "the finest ones; only opposite maps go past 0.5. MOD is the mean over images, VID the standard deviation over "
        "the strengths, per image. All images take part, fooled or not."
    )
    mod = figure(
        charts.mod,
        f"MOD at the last layer, {values.layers[-1]}",
        "Over the strengths, with quartiles of NISSIM. Unrelated maps have about 0.25 and more.",
    )
    several = len(values.strengths) > 1
    varied = "Median over images of the deviation over strengths, with quartiles."
    vid = figure(charts.vid, "VID per layer", varied if several else "One strength has no variation.")
    structure = charts.variants(
        values,
        ("attack", "strength", "target", "cam"),
        charts.structure,
        "MOD per layer",
        "At the chosen strength, with quartiles of NISSIM.",
    )
    title = "Dissimilarity of structure: MOD and VID"
    return Section(title=title, items=[(mod, vid), structure], about=[about], name="mod-and-vid")


def _papers(values: Series) -> Section:
    about = (
        "A published number is not a target: the protocol is the paper’s, the model, images and attacks are this "
        "study’s."
    )
    table = Table(
        title="Published numbers beside ours",
        head=["Quantity", "Paper", "Here", "Why they may differ"],
        rows=beside(values),
        words=True,
    )
    return Section(title="Beside the papers", items=[table], about=[about], name="papers")


def _undefined(rows: Sequence[UndefinedMaps]) -> Section:
    title, name = "Undefined and blank maps", "undefined"
    if not rows:
        return Section(title=title, items=[], about=["Every map is defined, and none is blank."], name=name)
    about = (
        "A map with values that are not finite leaves every statistic. A blank map, one without a positive value, has "
        "no gaze either: by convention, cosine takes two blank maps for the same gaze (1), and one blank map for "
        "nothing in common (0). Both are counted here, over all attacks and strengths."
    )
    table = Table(
        title="Where, and how many",
        head=["Map", "Layer", "Images", "Undefined", "Of", "Reason"],
        rows=[[cam_name(row.cam), row.layer, row.kind, str(row.count), str(row.of), row.reason] for row in rows],
        closed=len(rows) > 12,
        name="undefined-maps",
    )
    return Section(title=title, items=[table], about=[about], name=name)


_GLOSSARY = {
    "Map": "A class-activation map: which places of a layer speak for the explained class. Drawn after the layer’s "
    "norm and activation, at its own resolution, brought to the image’s size to be compared.",
    "Matched noise": "Gaussian noise with the mean and the standard deviation of the same image’s perturbation, scaled "
    "by the same strength. What it does to a map, any change of that size does.",
    "Compromised": "A layer of an attacked image whose map is less alike than the median of the same images under "
    "noise, strictly. Noise itself is compromised half of the time, hence the line at 0.5.",
    "Quartiles": "A quarter of the images lies below the lower one, a quarter above the upper one. They show how "
    "images differ, not how certain a mean is.",
    "n": "Images behind a number, after undefined maps have left.",
    "Sources": "Renkhoff, Tan et al. 2022, Exploring Adversarial Attacks on Neural Networks; Tan et al. 2023, "
    "NoiseCAM; Chakraborty et al. 2022, Generalizing Adversarial Explanations with Grad-CAM.",
}


def _repeat(manifest: StudyManifest) -> Iterator[tuple[str, str]]:
    model, passes = manifest.model, manifest.passes
    yield "Model", ", ".join([model.name, model.source or "unknown source", model.dtype])
    yield "Weights, SHA-256", model.weights_sha256 or "unknown"
    yield "Preprocessing", _settings(model.preprocessing)
    for attack in manifest.attacks:
        yield f"Attack {attack.name}", _settings(attack.settings)
    yield "Seed", "unknown" if manifest.seed is None else str(manifest.seed)
    versions = {"gazeshift": manifest.gazeshift, **manifest.versions}
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    cost = [duration(manifest.seconds), f"{passes.forwards} forwards", f"{passes.backwards} backwards"]
    yield "Cost", ", ".join(cost)


def _settings(settings: Mapping[str, object]) -> str:
    """Names and values; budgets and steps in L-inf in units of 1/255, as people write them."""
    in_levels = {"epsilon", "step"} if settings.get("norm") != "l2" else set()
    texts = {
        name: levels(value) if name in in_levels and isinstance(value, float) else "none" if value is None else value
        for name, value in settings.items()
    }
    return "; ".join(f"{name} {text}" for name, text in texts.items())


def _outcome_cells(outcome: Outcome) -> list[str]:
    low, high = outcome.interval
    sizes = outcome.sizes
    interval = f"{100 * low:.0f} to {100 * high:.0f} %" if outcome.correct else "–"
    return [
        outcome.attack.label,
        f"{outcome.strength:g}",
        f"{outcome.fooled} of {outcome.correct}",
        percent(outcome.fooled, outcome.correct),
        interval,
        f"{outcome.noise_fooled} of {outcome.noise_correct}" if outcome.noise_correct else "–",
        _decibels(sizes["psnr"]),
        _size(sizes["linf"][1]),
        _size(sizes["rms"][1]),
        f"{sizes['l2'][1]:.2f}" if math.isfinite(sizes["l2"][1]) else "–",
    ]


def _decibels(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = quartiles
    if math.isnan(middle):
        return "–"
    return f"{middle:.1f} ({low:.1f} to {high:.1f})" if math.isfinite(high) else f"{middle:.1f}".replace("inf", "∞")


def _size(value: float) -> str:
    return levels(value) if math.isfinite(value) else "–"
