"""Pictures of the noisecam2023 study: the paper's figures 1, 5 and 9, for viewing only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.records import Evidence
from gazeshift.runs.tables import Rows
from gazeshift.studies.noisecam2023.examples import CLEAN, NoisecamPlan
from gazeshift.transforms.blur import Blur

KINDS = ("attacked", "noise", CLEAN)


@dataclass(frozen=True, kw_only=True)
class NoisecamPictures:
    """What pictures need of one condition: evidence, and the classes of the blurred images."""

    evidence: Evidence
    blurred: Int[Tensor, " n"]


def figures(rows: Rows, plan: NoisecamPlan, image: str, *, at: int, seen: Mapping[str, NoisecamPictures]) -> None:
    """The three figures of one example.

    Args:
        rows: where they go.
        plan: the study.
        image: its id.
        at: its place in the evidence.
        seen: by kind, the attack and the noise as they were made.
    """
    if any(kind not in seen for kind in KINDS):
        return
    maps = {kind: plan.main.raw(seen[kind].evidence)[at] for kind in KINDS}
    largest = max(float(np.nan_to_num(found).max()) for found in maps.values())
    for kind in KINDS:
        for figure, what, caption, picture in _row(plan, seen[kind], at, _scaled(maps[kind], largest)):
            _add(rows, figure, what, caption, picture, image=image, kind=kind)
    alone = _scaled(maps["attacked"], float(np.nan_to_num(maps["attacked"]).max()))
    for what, caption, picture in _ninth(plan, seen, at, alone):
        _add(rows, "9", what, caption, picture, image=image, kind="attacked")


def _row(
    plan: NoisecamPlan, shown: NoisecamPictures, at: int, noise_map: Any
) -> list[tuple[str, str, str, Image.Image]]:
    """Figures 1 and 5 of one kind: figure, what, caption, picture."""
    own, name = shown.evidence, plan.opened.classifier.class_name
    image = own.images[at]
    blurred = Blur(sigma=1.5)(image[None]).clamp(0, 1)[0]
    return [
        ("1", "blurred", name(int(shown.blurred[at])), pictures.photograph(blurred)),
        ("5", "image", name(int(own.predicted[at])), pictures.photograph(image)),
        ("5", "Grad-CAM++", "Grad-CAM++", pictures.overlay(image, _weighted(plan, own, at))),
        ("5", "NoiseCAM", "NoiseCAM", _coloured(noise_map, image)),
    ]


def _ninth(
    plan: NoisecamPlan, seen: Mapping[str, NoisecamPictures], at: int, noise_map: Any
) -> list[tuple[str, str, Image.Image]]:
    """Figure 9: the example, its perturbation as it is and amplified, and three maps of it."""
    own = seen["attacked"].evidence
    image, change = own.images[at], own.images[at] - seen[CLEAN].evidence.images[at]
    return [
        ("image", plan.opened.classifier.class_name(int(own.predicted[at])), pictures.photograph(image)),
        ("perturbation", "perturbation, 0 is grey", pictures.photograph(0.5 + change)),
        ("amplified", "perturbation, amplified", pictures.perturbation_picture(change)),
        ("NoiseCAM", "NoiseCAM", _coloured(noise_map, image)),
        ("Grad-CAM++", "Grad-CAM++", pictures.overlay(image, _weighted(plan, own, at))),
        ("LayerCAM", "LayerCAM", pictures.overlay(image, own.maps(plan.place, "layer_cam")[at])),
    ]


def _weighted(plan: NoisecamPlan, evidence: Evidence, at: int) -> Tensor:
    return evidence.maps(plan.place, f"grad_cam_pp:alpha_norm={plan.settings.alpha_norm}")[at]


def _scaled(values: Any, largest: float) -> Any:
    """A map from 0 to `largest`, so that pictures with the same one can be compared."""
    return np.nan_to_num(values) / largest if largest > 0 else np.zeros_like(values)


def _coloured(values: Any, image: Tensor) -> Image.Image:
    return Image.fromarray(pictures.colour(pictures.upsample(values, image.shape[1], image.shape[2])))


def _add(rows: Rows, figure: str, what: str, caption: str, picture: Image.Image, **example: str) -> None:
    rows.add(1, figure=figure, what=what, caption=caption, webp=pictures.encode_webp(picture), **example)
