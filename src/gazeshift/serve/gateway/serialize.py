"""What the gateway answers, as plain JSON: numbers that are not finite are null."""

import base64
from collections.abc import Sequence

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.calibrated import CalibratedDetector
from gazeshift.models import Classifier, PublicModelCard
from gazeshift.precision import exact
from gazeshift.records import ClassProbability, Evidence, Layer
from gazeshift.serve.gateway._schemas import DrawnMap, LookAnswer, ModelAnswer
from gazeshift.serve.gateway.intake import Upload
from gazeshift.serve.gateway.settings import FORMATS, ServeSettings
from gazeshift.summaries import finite, without_folders

TOP = 5


def look_json(classifier: Classifier, evidence: Evidence, upload: Upload) -> LookAnswer:
    """The class of the first image, the five most probable, and all maps."""
    classes = likeliest(evidence, 0)
    return {
        **classes[0],
        "top": classes,
        "layers": list(evidence.layers),
        "cams": list(evidence.cams),
        "maps": maps_json(evidence),
        "model": public(classifier),
        "resized_from": upload.resized_from,
        "sha256": upload.sha256,
    }


def likeliest(evidence: Evidence, at: int) -> list[ClassProbability]:
    """The likeliest classes of an image with their softmax probabilities, at most five."""
    best = exact(evidence.logits[at]).softmax(0).topk(min(TOP, evidence.logits.shape[1]))
    return [
        {"class": place, "name": evidence.class_name(place), "confidence": finite(share)}
        for share, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def map_json(values: Float[Tensor, "h w"], size: tuple[int, int]) -> DrawnMap:
    """A raw map at its own resolution, and as a coloured upload of the image's size to lay over it.

    The upload shows the positive part; it is null where nothing is positive.
    """
    return {
        "height": values.shape[0],
        "width": values.shape[1],
        "values": [[finite(value) for value in row] for row in values.tolist()],
        "png": _png(values, size),
    }


def maps_json(evidence: Evidence) -> dict[str, dict[str, DrawnMap]]:
    """Layer to CAM to map, of the first image."""
    size = (evidence.images.shape[2], evidence.images.shape[3])
    return {
        layer: {cam: map_json(evidence.maps(layer, cam)[0], size) for cam in evidence.cams} for layer in evidence.layers
    }


def model_json(
    classifier: Classifier,
    deployed: CalibratedDetector,
    settings: ServeSettings,
    layers: Sequence[Layer],
    cams: Sequence[str],
) -> ModelAnswer:
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
            "threshold": finite(deployed.threshold),
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


def card(classifier: Classifier) -> PublicModelCard:
    """What a classifier is, without the path of any file that it comes from."""
    known = classifier.card()
    return {
        "name": public(classifier),
        "weights_sha256": known["weights_sha256"],
        "preprocessing": known["preprocessing"],
        "classes": known["classes"],
        "dtype": known["dtype"],
    }


def public(classifier: Classifier) -> str:
    """A classifier's name without the folder of the file that it comes from."""
    return without_folders(classifier.name)


def _png(values: Float[Tensor, "h w"], size: tuple[int, int]) -> str | None:
    defined = pictures.rectified(values)
    if defined is None:
        return None
    smooth = Image.fromarray(pictures.colour(pictures.upsample(defined, *size)))
    return base64.b64encode(pictures.encode_png(smooth)).decode()
