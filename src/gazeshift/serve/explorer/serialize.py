"""An analysis as JSON: maps as 8 bits for the page to colour, pictures as PNG, numbers rounded for reading."""

import base64
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch

from gazeshift import pictures
from gazeshift.measures.psnr import Psnr
from gazeshift.records import ClassProbability, Comparison, Evidence, Finite, Verdict, VerdictDict
from gazeshift.serve.explorer.analysis import CAMS, Analysis
from gazeshift.serve.gateway.serialize import likeliest
from gazeshift.summaries import finite


class EightBitMap(TypedDict):
    """A map as 8 bits in base64, of which 255 is `max`; or why there is none."""

    height: int
    width: int
    values: str | None
    why: NotRequired[str]
    max: NotRequired[Finite]


class VerdictParts(VerdictDict):
    """A verdict, and its parts by view and layer."""

    parts: dict[str, dict[str, Finite]]


class PictureSide(TypedDict):
    """One image: how it looks, what the model and the detector say, and its maps by target, CAM and layer."""

    picture: str
    answers: list[ClassProbability]
    verdict: VerdictParts | None
    maps: dict[str, dict[str, list[EightBitMap]]]


class AttackOutcome(TypedDict):
    """What an attack was, and what it did to the image; sizes in steps of 1/255, but `l2` in [0, 1] units."""

    name: str
    epsilon: int
    steps: int
    success: bool
    linf: Finite
    l2: Finite
    psnr: Finite
    changed: Finite
    perturbation: str


Moved = dict[str, list[Finite]]  # CAM to a similarity for each layer


class AnalysisJson(TypedDict):
    """All that the page draws."""

    seed: int
    layers: list[str]
    cams: list[str]
    targets: list[str]
    before: PictureSide
    after: NotRequired[PictureSide]
    attack: AttackOutcome | None
    moved: dict[str, Moved]


def analysis_json(analysis: Analysis) -> AnalysisJson:
    """All that the page draws, ready for JSON; numbers that JSON lacks are None."""
    made: AnalysisJson = {
        "seed": analysis.seed,
        "layers": list(analysis.evidence.layers),
        "cams": list(CAMS),
        "targets": list(analysis.targets),
        "before": side_json(analysis.targets, analysis.verdict, 0),
        "attack": attack_json(analysis),
        "moved": {target: moved_json(found) for target, found in analysis.moved.items()},
    }
    if analysis.attack_request:
        made["after"] = side_json(analysis.targets, analysis.verdict, 1)
    return made


def side_json(targets: Mapping[str, Evidence], verdict: Verdict | None, at: int) -> PictureSide:
    """One image: how it looks, what the model says, what the detector says, and its maps by target, CAM and layer."""
    own = next(iter(targets.values()))
    return {
        "picture": png_url(own.images[at]),
        "answers": likeliest(own, at),
        "verdict": None if verdict is None else verdict_json(verdict, at),
        "maps": {
            target: {
                cam: [map_json(evidence.maps(layer, cam)[at]) for layer in evidence.layers] for cam in evidence.cams
            }
            for target, evidence in targets.items()
        },
    }


def verdict_json(verdict: Verdict, at: int) -> VerdictParts:
    """One image's verdict, and its parts by view and layer."""
    parts: dict[str, dict[str, Finite]] = {}
    for (view, layer), part in verdict.reasons.items():
        parts.setdefault(view, {})[layer] = finite(part[at])
    return {**verdict.as_dict(at), "parts": parts}


def map_json(raw: Any) -> EightBitMap:
    """A raw map (h, w) rectified, divided by its largest value `max` and rounded to 8 bits; or why there is none."""
    values = pictures.as_array(raw).astype(np.float64)
    made: EightBitMap = {"height": values.shape[0], "width": values.shape[1], "values": None}
    drawn = pictures.rectified(values)
    if drawn is None:
        defined = "it has no positive value" if np.isfinite(values).all() else "it is not finite"
        made["why"] = "it is not finite, or not defined at this layer" if np.isnan(values).all() else defined
        return made
    eight = np.round(drawn * 255).astype(np.uint8)
    made["values"], made["max"] = base64.b64encode(eight.tobytes()).decode(), finite(float(values.max()))
    return made


def attack_json(analysis: Analysis) -> AttackOutcome | None:
    """What the attack was and what it did to the image; None without an attack."""
    request, attacked = analysis.attack_request, analysis.attacked
    if request is None or attacked is None:
        return None
    change = attacked.perturbation[0]
    return {
        "name": request.name,
        "epsilon": request.levels,
        "steps": request.steps if request.name == "pgd" else 1,
        "success": bool(attacked.success[0]),
        "linf": finite(float(attacked.linf[0]) * 255),
        "l2": finite(float(attacked.l2[0])),
        "psnr": finite(Psnr()(attacked.clean, attacked.images)[0]),
        "changed": finite(float((change != 0).any(0).float().mean())),
        "perturbation": data_url(pictures.encode_png(pictures.perturbation_picture(change))),
    }


def moved_json(found: Comparison) -> Moved:
    """CAM to the cosine similarity of attacked and clean map, layer by layer; None where one is undefined or blank."""
    return {
        cam: [
            None if int(found.blank[layer, cam][0]) else finite(float(measured["cosine"][0]))
            for (layer, drawn), measured in found.values.items()
            if drawn == cam
        ]
        for cam in dict.fromkeys(cam for _, cam in found.values)
    }


def png_url(image: torch.Tensor) -> str:
    """An image (3, h, w) in [0, 1] as a PNG in a data URL."""
    return data_url(pictures.encode_png(pictures.photograph(image)))


def data_url(png: bytes) -> str:
    """A PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
