"""The whole toolkit on one screen: images -> attack -> look -> compare -> rows, and a suspect -> judge."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks import returned
from gazeshift.calibrated import CalibratedDetector
from gazeshift.cams import draw
from gazeshift.detectors import Detector, SaysWhy
from gazeshift.enlarged import enlarge
from gazeshift.errors import BoundsError, SettingsError
from gazeshift.measures import SparesResizing
from gazeshift.models import (
    SCORES,
    Classifier,
    as_classes,
    check_finite,
    modules_reached,
    prepared,
    select,
    trace,
    trace_live,
    warn_of,
)
from gazeshift.precision import wide
from gazeshift.records import ANSWER, Attacked, Comparison, DetectorInput, Evidence, Verdict
from gazeshift.registry import build
from gazeshift.seeds import Generators
from gazeshift.transforms.bit_depth import BitDepth

Part = str | Callable[..., Tensor]
Measure = Callable[[Tensor, Tensor], Tensor]


def attack(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"] | None = None,
    *,
    by: Part = "pgd",
    generator: Generators | None = None,
) -> Attacked:
    """Attack a batch and judge the result: clip, predict again, count the passes it took.

    Args:
        classifier: whom to fool.
        images: in [0, 1]; or whatever else `Classifier.prepare` takes. Half precision is attacked in float32 and given
            back in its own type, inside the ball.
        labels: classes to leave, one whole number per image; None takes the model's own answers.
        by: name of an attack, or an attack with its settings (``Pgd(epsilon=2 / 255)``).
        generator: where chance comes from, one for the batch or one per image; None seeds with 0.

    Raises:
        BoundsError: what came is not a batch of images in [0, 1], or not one class of the model for each.
        ModelError: the network breaks off, gives no logits or no finite ones, or no gradient to follow.
        UnknownNameError: no such attack.
        SettingsError: the attack has no such setting.
    """
    images, chosen = prepared(classifier, images), _part(by)
    with torch.no_grad():
        clean_logits = classifier(images)
    check_finite(clean_logits, classifier.name)
    labels = clean_logits.argmax(1) if labels is None else as_classes(labels, clean_logits, "labels")
    with classifier.counting() as passes:
        made = chosen(classifier, wide(images), labels, generator=generator or torch.Generator().manual_seed(0))
    bounds = {name: getattr(chosen, name, None) for name in ("epsilon", "norm")}
    made = returned(made.detach().clamp(0, 1), images, **bounds)
    with torch.no_grad():
        logits = classifier(made)
    n = max(1, len(images))
    return Attacked(
        clean=images,
        images=made,
        labels=labels,
        clean_logits=clean_logits,
        logits=logits,
        forwards=passes.forwards / n,
        backwards=passes.backwards / n,
        class_names=classifier.class_names,
    )


def look(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    *,
    layers: str | Sequence[str] = "trunk",
    cams: str | Sequence[str] | Mapping[str, Callable[..., Tensor]] = ("grad_cam",),
    target: Int[Tensor, " n"] | None = None,
    score: str = "logit",
    differentiable: bool = False,
) -> Evidence:
    """See where a classifier looks: every CAM at every layer, in one forward and one backward pass.

    Args:
        classifier: the model.
        images: in [0, 1].
        layers: ``convs``, ``blocks``, ``trunk`` (blocks and the convolutions outside them), names, aliases or globs.
        cams: names, or a name for each CAM with its settings (``{"noise": NoiseCam(alpha_norm="all")}``).
        target: the class to explain, per image (``reference``); None explains each image's own top class.
        score: ``logit``, or ``prob`` for the softmax probability.
        differentiable: keep the graph from the evidence back to the images; takes several times the memory.

    Raises:
        BoundsError: what came is not a batch of images in [0, 1], or `target` not one class of the model for each.
        ModelError: the network breaks off, or gives no logits or no gradient; `NoMapsError`: nothing in it is a map.
        LayerError: a layer was not reached by these images, or does not lead to the score.
        UnknownNameError: no such layer or CAM.

    Warns:
        UserWarning: the images take a path through the network on which the layers that are known do not lie.
    """
    if score not in SCORES:
        raise SettingsError(f"score must be one of {', '.join(SCORES)}, got '{score}'.")
    images = prepared(classifier, images)
    drawn = dict(cams) if isinstance(cams, Mapping) else {name: build("cams", name) for name in _names("cams", cams)}
    known = classifier.layers((images.shape[2], images.shape[3]))
    chosen = select(known, _names("layers", layers), classifier.name)
    with modules_reached(classifier.module, known.uncalled) as reached:
        logits, explained, traces = (trace_live if differentiable else trace)(
            classifier, images, chosen, lambda *seen: draw(drawn, *seen), classes=target, score=score
        )
    warn_of(reached, classifier.name)
    return Evidence(
        images=images,
        logits=logits,
        explained=explained,
        target="predicted" if target is None else "reference",
        score=score,
        traces=traces,
        model=classifier.name,
        class_names=classifier.class_names,
    )


def detector_inputs(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    detector: Detector,
    *,
    generator: Generators,
    at_once: int | None = None,
    differentiable: bool = False,
) -> DetectorInput:
    """Look at images as a detector does: at them and at its views of them, for the class of the image itself.

    Args:
        classifier: the model.
        images: in [0, 1], of unknown origin.
        detector: says which layers, CAMs and views.
        generator: where the views' chance comes from, one for the batch or one per image.
        at_once: views looked at side by side, in images; None takes 8 on a CPU, where 32 take twice as long, else 64.
        differentiable: keep the graph back to the images, through the views, for an attack on the detector.
    """
    images = prepared(classifier, images)
    layers = detector.layers(classifier.layers((images.shape[2], images.shape[3])))
    cams = {name: build("cams", name) for name in detector.cams}  # may be none: channels' means are always there
    seeing = partial(look, classifier, layers=layers, cams=cams, differentiable=differentiable)
    own = seeing(images)
    views = detector.views(own.images, generator=generator)
    most = at_once or (8 if own.images.device.type == "cpu" else 64)
    step, seen = max(1, most // max(1, len(images))), list[Evidence]()
    for at in range(0, len(views), step):
        some = views[at : at + step]
        target = own.predicted.repeat(len(some))
        together = seeing(torch.cat(list(some)), target=target)
        seen += [rows_of(together, slice(n * len(images), (n + 1) * len(images))) for n in range(len(some))]
    return DetectorInput(own=own, views=tuple(seen))


def judge(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    deployed: CalibratedDetector,
    *,
    generator: Generators | None = None,
) -> Verdict:
    """Whether images are adversarial, with a promised rate of false alarms.

    Args:
        classifier: the one that the detector was fitted for.
        images: in [0, 1], of unknown origin; judged as 8-bit files of this size would hold them.
        deployed: a fitted and calibrated detector, such as ``CalibratedDetector.load(folder)``.
        generator: where random views come from; None draws them anew each time, which an attacker cannot foresee.

    Raises:
        BoundsError: what came is not a batch of images in [0, 1].
        SettingsError: the detector was fitted for another model, or for images that show other layers.
    """
    images = prepared(classifier, images)  # before they are rounded: of 8-bit numbers that would make images
    if not isinstance(deployed, CalibratedDetector):
        raise SettingsError(
            f"deployed must be a fitted detector, CalibratedDetector.load(folder), got {type(deployed).__name__}."
        )
    deployed.check(classifier, images)
    detector, chance = deployed.detector, generator or torch.Generator().manual_seed(secrets.randbits(63))
    seen = detector_inputs(classifier, BitDepth(bits=8)(images), detector, generator=chance)
    measured = detector.measure(seen)
    suspicion = detector.score(measured)
    return Verdict(
        seen=seen,
        suspicion=suspicion,
        p_value=deployed.p_value(suspicion),
        is_attack=~(suspicion <= deployed.threshold),
        threshold=deployed.threshold,
        false_alarms=deployed.false_alarms,
        reasons=_reasons(detector, measured, seen) if isinstance(detector, SaysWhy) else {},
        detector=deployed.name,
    )


def moved_most(verdict: Verdict, at: int) -> list[tuple[float, str, str]]:
    """What raised the suspicion of one image most: part, view and layer, the largest part first; layers alone."""
    parts = ((float(part[at]), view, layer) for (view, layer), part in verdict.reasons.items() if layer != ANSWER)
    return sorted(parts, reverse=True)


def compare(
    clean: Evidence,
    changed: Evidence,
    *,
    measures: str | Sequence[str] | Mapping[str, Measure] = ("cosine", "nissim"),
    cams: str | Sequence[str] | None = None,
) -> Comparison:
    """How far the gaze moved: each measure between the two maps of every layer and CAM, image by image.

    Maps are rectified and brought to the images' size first, as the papers do. A map that is blank (no positive value)
    or undefined (NaN) is flagged; see `Comparison`.

    Args:
        clean: evidence of the images.
        changed: evidence of the same images, attacked or otherwise changed, at the same layers and CAMs.
        measures: names of measures that compare maps, or a name for each measure with its settings.
        cams: compare only these; None compares all that were drawn.

    Raises:
        SettingsError: not the same images, layers and CAMs twice.
        UnknownNameError: a CAM that was not drawn, or no such measure.
    """
    for given in (clean, changed):
        if not isinstance(given, Evidence):
            raise SettingsError(
                f"compare() needs the evidence of two looks, look(model, images), got {type(given).__name__}."
            )
    if clean.images.shape != changed.images.shape or clean.layers != changed.layers or clean.cams != changed.cams:
        raise SettingsError(
            "compare() needs the same images, layers and CAMs twice, got "
            f"{tuple(clean.images.shape)} at {len(clean.layers)} layers and {tuple(changed.images.shape)} at "
            f"{len(changed.layers)}. Give look() the same layers= and cams= both times."
        )
    wanted = (
        measures
        if isinstance(measures, Mapping)
        else {one: build("measures", one) for one in _names("measures", measures)}
    )
    size = (clean.images.shape[2], clean.images.shape[3])
    values: dict[tuple[str, str], Mapping[str, Tensor]] = {}
    blanks: dict[tuple[str, str], Tensor] = {}
    for layer in clean.layers:
        for cam in clean.cams if cams is None else _names("cams", cams):
            maps = clean.maps(layer, cam), changed.maps(layer, cam)
            values[layer, cam] = {name: _measured(measure, *maps, size) for name, measure in wanted.items()}
            blanks[layer, cam] = _blank(maps[0], size) + 2 * _blank(maps[1], size)
    return Comparison(values=values, blank=blanks, switched=clean.predicted != changed.predicted)


def gaze(maps: Float[Tensor, "n hl wl"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Raw maps as papers compare them: negative values cut off, resized bilinearly to the image (align_corners=False).

    A map that is NaN or infinite anywhere is NaN throughout.
    """
    return enlarge(_positive(maps), size)


def rows_of(evidence: Evidence, at: Int[Tensor, " m"] | slice) -> Evidence:
    """The same evidence for some of its images."""
    traces = {
        name: replace(
            trace,
            maps={cam: maps[at] for cam, maps in trace.maps.items()},
            poles=trace.poles[at],
            activation=trace.activation[at],
            gradient=trace.gradient[at],
        )
        for name, trace in evidence.traces.items()
    }
    return replace(
        evidence,
        images=evidence.images[at],
        logits=evidence.logits[at],
        explained=evidence.explained[at],
        traces=traces,
    )


def _reasons(detector: SaysWhy, measured: Tensor, seen: DetectorInput) -> dict[tuple[str, str], Tensor]:
    parts = detector.reasons(measured)
    return {
        (view, layer): parts[:, at, place]
        for at, view in enumerate(detector.names)
        for place, layer in enumerate((*seen.own.layers, ANSWER)[: parts.shape[2]])
    }


def _measured(measure: Measure | SparesResizing, first: Tensor, second: Tensor, size: tuple[int, int]) -> Tensor:
    """A measure of two raw maps as papers compare them; one that can spare the resizing does."""
    if isinstance(measure, SparesResizing):
        return measure.enlarged(_positive(first), _positive(second), size)
    return measure(gaze(first, size), gaze(second, size))


def _positive(maps: Tensor) -> Tensor:
    """Negative values cut off, but for the infinite one, which makes a map undefined."""
    return maps.clamp_min(0).masked_fill(maps.isneginf(), torch.nan)


def _blank(maps: Tensor, size: tuple[int, int]) -> Tensor:
    smaller = size[0] < maps.shape[1] or size[1] < maps.shape[2]
    return ((gaze(maps, size) if smaller else _positive(maps)).amax((1, 2)) == 0).int()


def _part(given: Part) -> Callable[..., Tensor]:
    """An attack, by its name or as it is."""
    if isinstance(given, str):
        return build("attacks", given)
    if isinstance(given, type) or not callable(given):
        raise SettingsError(f"by must be the name of an attack or an attack with its settings, got {given!r}.")
    return given


def _names(what: str, given: str | Sequence[str]) -> list[str]:
    """Names in a text with commas, or in a list of such texts."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise SettingsError(f"{what} must be a name, names with commas, or a list of them, got {given!r}.")
    asked = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if not asked:
        raise BoundsError(f"{what} must have at least one name, got none.")
    return asked
