"""One cell of the noisecam2023 study: where the gaze went, what NoiseCAM's maps hold, and pictures of them."""

from typing import Any

from gazeshift.detectors.noisecam_dbscan import NoisecamDbscan
from gazeshift.measures.psnr import Psnr
from gazeshift.pipeline import detector_inputs, look
from gazeshift.records import Batch, DetectorInput, Evidence
from gazeshift.runs.deviation_rows import DeviationCell
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import IMAGES, Rows, add_images
from gazeshift.studies.noisecam2023.examples import ALPHA_NORMS, CLEAN, NoisecamPlan
from gazeshift.studies.noisecam2023.pictures import NoisecamPictures, figures
from gazeshift.studies.noisecam2023.schemas import BEHAVIOUR, MEASURED, PICTURES
from gazeshift.transforms.blur import Blur
from gazeshift.transforms.pca import Pca

GALLERY_SEEDS = 16  # seeds among which each example of the gallery may be found
CAMS = ("layer_cam", *(f"{cam}:alpha_norm={norm}" for cam in ("grad_cam_pp", "noise_cam") for norm in ALPHA_NORMS))


def seeds_cell(plan: NoisecamPlan, first: int, batch: Batch) -> CellResult:
    """Tables and notes of one batch of seeds, `first` the number of the batch's first."""
    seeds, measured, shown = Rows(IMAGES), Rows(MEASURED), Rows(PICTURES)
    cell = DeviationCell(plan.opened, batch, ())
    right = 0
    if batch.ids:
        found, some, made = plan.find(batch)
        right = int(found.clean_correct.sum())
        keys = {"attack": plan.spec, "epsilon": getattr(plan.made, "epsilon", None), "kind": "example", "strength": 1.0}
        psnr = Psnr()(found.clean, found.images)
        add_images(seeds, batch.ids, found, plan.opened.classifier.class_name, psnr, **keys)
        cell = DeviationCell(plan.opened, some, ())
        if some.ids:
            cell.fill(made)
            seen = _measure(plan, some, plan.conditions(some.ids, made), measured)
            wanted = plan.settings.gallery if first < GALLERY_SEEDS * plan.settings.gallery else 0
            for at in range(min(wanted, len(some.ids))):
                figures(shown, plan, some.ids[at], at=at, seen=seen)
    tables = {**cell.tables(), "seeds": seeds.table(), "measured": measured.table(), "pictures": shown.table()}
    del tables["gallery"]
    examples = len(cell.batch.ids) if seeds.pieces else 0
    return CellResult(tables, cell.notes(right=right, examples=examples))


def _measure(plan: NoisecamPlan, some: Batch, conditions: Any, rows: Rows) -> dict[str, NoisecamPictures]:
    """Rows of what the detectors ask of every condition; and what the pictures need of the attack as it was made."""
    kept: dict[str, NoisecamPictures] = {}
    for kind, strength, images in conditions:
        whole = kind == CLEAN or strength == plan.opened.shown_strength
        layers, cams = (plan.places, CAMS) if whole else ((plan.place,), plan.main.cams)
        evidence = look(plan.opened.classifier, images, layers=layers, cams=cams)
        if kind == CLEAN:
            classes = evidence.predicted
        condition = {"image": list(some.ids), "kind": kind, "strength": strength}
        condition["fooled"] = evidence.predicted != classes
        for detector in plan.all if whole else plan.everywhere:
            rows.add(len(some.ids), **condition, **combination(detector), measured=_values(detector, evidence))
        if whole:
            blurred = plan.opened.classifier(Blur(sigma=1.5)(images).clamp(0, 1)).argmax(1)
            kept[kind] = NoisecamPictures(evidence=evidence, blurred=blurred)
    return kept


def _values(detector: NoisecamDbscan, evidence: Evidence) -> list[Any]:
    return list(detector.measure(DetectorInput(own=evidence)).numpy())


def combination(detector: NoisecamDbscan) -> dict[str, str]:
    """What tells a combination from others."""
    names = ("layer", "alpha_norm", "factor", "binarise")
    return {name: getattr(detector, name) for name in names}


def behaviour_cell(plan: NoisecamPlan, batch: Batch) -> CellResult:
    """What the deviation of one layer says of a batch's examples, at every strength."""
    rows, detector, nothing = Rows(BEHAVIOUR), plan.detector, CellResult({"behaviour": BEHAVIOUR.empty_table()})
    if not batch.ids:
        return nothing
    _, some, made = plan.find(batch)
    if not some.ids:
        return nothing
    pca = Pca(mode=detector.cleaning, variance=detector.variance)
    for kind, strength, images in plan.conditions(some.ids, made):
        draws = plan.generators(some.ids, "views", kind, f"{strength:g}")
        seen = detector_inputs(plan.opened.classifier, images, detector, generator=draws)
        reading = detector.read(seen)
        cleaned, components = pca.cleaned(images)
        residual = (images - cleaned).flatten(1)
        rows.add(
            len(some.ids),
            image=list(some.ids),
            kind=kind,
            strength=strength,
            fooled=seen.own.predicted != made.clean_logits.argmax(1),
            similarity=reading.similarity,
            null_mean=reading.mean,
            null_std=reading.std,
            threshold=reading.threshold,
            p_value=reading.p_value,
            z=reading.z,
            is_attack=reading.margin > 0,
            components=components.tolist(),
            residual_mean=residual.mean(1),
            residual_std=residual.std(1, correction=0),
        )
    return CellResult({"behaviour": rows.table()})
