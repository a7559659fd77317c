"""Opens what the settings of a long run name, and tells a manifest under which circumstances it ran."""

import sys
from importlib.metadata import version
from typing import Any

import torch

from gazeshift.data import ImageSource, demo_images, open_source
from gazeshift.errors import DataError
from gazeshift.models import Classifier, load, preflight, sped_up
from gazeshift.records import Batch, Finding
from gazeshift.registry import build, find, parse, setting_names
from gazeshift.runs.examples import SetSource
from gazeshift.runs.settings import StudySettings


def open_attack(spec: str, epsilon: float | None) -> Any:
    """The attack that a spec names, with `epsilon` if it has one and the spec does not say another."""
    takes = epsilon is not None and "epsilon" in setting_names(find("attacks", parse(spec)[0]))
    return build("attacks", spec, **({"epsilon": epsilon} if takes else {}))


def open_classifier(settings: StudySettings) -> Classifier:
    """The model that the settings name."""
    made = load(
        settings.model,
        weights=settings.weights,
        device=settings.device,
        input_size=settings.input_size,
        class_names=settings.class_names(),
    )
    return sped_up(made, **settings.speed)


def open_images(settings: StudySettings, classifier: Classifier) -> ImageSource:
    """The images that the settings name, with labels in the classifier's classes; the demo's if none are named."""
    if settings.images is None:
        source = demo_images()
    else:
        known = classifier
        source = open_source(settings.images, labels=settings.labels, class_names=known.class_names, wnids=known.wnids)
    return source if settings.limit is None else source.take(settings.limit, settings.seed)


def first_images(classifier: Classifier, source: ImageSource | SetSource, size: int) -> Batch:
    """The first images that can be read, as the classifier takes them.

    Args:
        classifier: the model.
        source: of the images.
        size: how many.

    Raises:
        DataError: none can be read.
    """
    for batch in source.batches(size, classifier.preprocessing):
        if len(batch.ids):
            return batch
    raise DataError(f"none of the {len(source)} images of {source.name} can be used.")


def check_first(classifier: Classifier, source: ImageSource | SetSource, size: int) -> tuple[Finding, ...]:
    """Checks of the model on the first images that can be read."""
    first = first_images(classifier, source, size)
    return preflight(classifier, first.images, first.labels)


def circumstances(classifier: Classifier) -> dict[str, object]:
    """Versions, device and model, for the manifest."""
    device = classifier.device
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return {
        "gazeshift": version("gazeshift"),
        "versions": {name: version(name) for name in ("torch", "timm", "torchvision", "numpy", "pillow")}
        | {"python": sys.version.split()[0]},
        "device": name,
        "threads": torch.get_num_threads(),
        "model": classifier.card(),
    }
