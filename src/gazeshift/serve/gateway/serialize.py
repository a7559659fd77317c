"""What the gateway answers, as plain JSON: numbers that are not finite are null."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.calibrated import CalibratedDetector
from gazeshift.models import Classifier
from gazeshift.precision import exact
from gazeshift.records import Evidence, Layer, Verdict
from gazeshift.serve.gateway.intake import Upload
from gazeshift.serve.gateway.settings import FORMATS, ServeSettings

TOP = 5
DIGITS = 6  # of a map's values


def verdicts(classifier: Classifier, deployed: CalibratedDetector, found: Verdict) -> list[dict[str, Any]]:
    """One answer for each image of a batch."""
    views, layers = summed(found)
    return [
        {
            "class": int(found.predicted[at]),
            "name": classifier.class_name(int(found.predicted[at])),
            "confidence": number(found.confidence[at]),
            "suspicion": number(found.suspicion[at]),
            "threshold": number(found.threshold),
            "p_value": number(found.p_value[at]),
            "is_attack": bool(found.is_attack[at]),
            "false_alarms": found.false_alarms,
            "verdict": "attack" if found.is_attack[at] else "clean",
            "reasons": {
                "views": {name: number(part[at]) for name, part in views.items()},
                "layers": {name: number(part[at]) for name, part in layers.items()},
            },
            "model": public(classifier),
            "detector": deployed.name,
        }
        for at in range(len(found.suspicion))
    ]


def looked(classifier: Classifier, evidence: Evidence, upload: Upload) -> dict[str, Any]:
    """The class of the first image, the five most probable, and all maps."""
    classes = likeliest(evidence, 0)
    return {
        **classes[0],
        "top": classes,
        "layers": evidence.layers,
        "cams": evidence.cams,
        "maps": maps(evidence),
        "model": public(classifier),
        **upload_json(upload),
    }


def likeliest(evidence: Evidence, at: int) -> list[dict[str, Any]]:
    """The likeliest classes of an image with their softmax probabilities, at most five."""
    best = exact(evidence.logits[at]).softmax(0).topk(min(TOP, evidence.logits.shape[1]))
    return [
        {"class": place, "name": evidence.class_name(place), "confidence": number(share)}
        for share, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def one_map(values: Float[Tensor, "h w"], size: tuple[int, int]) -> dict[str, Any]:
    """A raw map at its own resolution, and as a coloured upload of the image's size to lay over it.

    The upload shows the positive part; it is null where nothing is positive.
    """
    return {
        "height": values.shape[0],
        "width": values.shape[1],
        "values": [[number(value) for value in row] for row in values.tolist()],
        "png": _png(values, size),
    }


def maps(evidence: Evidence) -> dict[str, dict[str, dict[str, Any]]]:
    """Layer to CAM to map, of the first image."""
    size = (evidence.images.shape[2], evidence.images.shape[3])
    return {
        layer: {cam: one_map(evidence.maps(layer, cam)[0], size) for cam in evidence.cams} for layer in evidence.layers
    }


def upload_json(upload: Upload) -> dict[str, Any]:
    """How the image came."""
    return {"resized_from": upload.resized_from, "sha256": upload.sha256}


def model(
    classifier: Classifier,
    deployed: CalibratedDetector,
    settings: ServeSettings,
    layers: Sequence[Layer],
    cams: Sequence[str],
) -> dict[str, Any]:
    """What stands behind the gateway. No path of this machine is in it."""
    return {
        "model": {**card(classifier), "input_size": classifier.input_size},
        "layers": [
            {"name": layer.name, "shape": layer.shape, "kinds": sorted(layer.kinds), "aliases": layer.aliases}
            for layer in layers
        ],
        "cams": list(cams),
        "detector": {
            "name": deployed.name,
            "threshold": number(deployed.threshold),
            "false_alarms": deployed.false_alarms,
            "fitted_on": len(deployed.fitted_on),
            "calibrated_on": len(deployed.calibrated_on),
            "layers": deployed.layers,
        },
        "policy": settings.policy,
        "limits": {
            "body_bytes": settings.body_bytes,
            "pixels": settings.pixels,
            "formats": FORMATS,
            "queue": settings.queue,
            "timeout_seconds": settings.timeout,
        },
    }


def card(classifier: Classifier) -> dict[str, Any]:
    """What a classifier is, without the path of any file that it comes from."""
    return {key: value for key, value in classifier.card().items() if key != "source"} | {"name": public(classifier)}


def public(classifier: Classifier) -> str:
    """A classifier's name without the folder of the file that it comes from."""
    return re.sub(r"[^:]*[/\\]", "", classifier.name)


def number(value: Any) -> float | None:
    """Six digits of a number; None if it is not finite."""
    value = float(value)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def summed(found: Verdict) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What each view, and each layer or the answer, adds to the suspicion, per image."""
    views: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    for (view, layer), part in found.reasons.items():
        views[view] = views.get(view, 0) + part
        layers[layer] = layers.get(layer, 0) + part
    return views, layers


def _png(values: Float[Tensor, "h w"], size: tuple[int, int]) -> str | None:
    defined = pictures.rectified(values)
    if defined is None:
        return None
    smooth = Image.fromarray(pictures.colour(pictures.upsample(defined, *size)))
    return base64.b64encode(pictures.encode_png(smooth)).decode()
