"""Checks of a model and its images before anything is attacked or looked at."""

from contextlib import suppress
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.errors import BoundsError, ModelError, NoMapsError
from gazeshift.models._classifier import Classifier, prepared
from gazeshift.models._edge import as_classes, check_finite
from gazeshift.models._paths import path_change, path_of
from gazeshift.records import Finding

ALIKE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 1e-1}
PATHS = 8  # images whose path is compared
ALIKE_ON_GPU = 1e-2  # convolutions there round to TF32, and do so differently for another batch size


def preflight(
    classifier: Classifier, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"] | None = None
) -> tuple[Finding, ...]:
    """What a reader of the results must know of the model: a note or ``ok`` for each check.

    Args:
        classifier: the model.
        images: some images in [0, 1], at least one; a single one is also sent together with its negative.
        labels: their classes, if known: then the accuracy is reported.

    Raises:
        BoundsError: there are no images, they are not in [0, 1], or the labels are not classes of the model.
        ModelError: a check failed in a way that would make every result wrong; says which and what to do.
    """
    images = prepared(classifier, images)
    if not len(images):
        raise BoundsError("preflight needs at least one image, got none.")
    logits = _answer(classifier, images)
    together = logits if len(images) > 1 else _answer(classifier, torch.cat([images, 1 - images]))
    low, high = images.min().item(), images.max().item()
    findings = [
        Finding(check="range", level="ok", detail=f"images lie in [{low:.3f}, {high:.3f}]"),
        _eval_mode(classifier),
        _finite(classifier, logits),
        _scores(classifier, logits),
        _same(classifier, logits, _answer(classifier, images), "twice", "It draws random numbers in eval mode."),
        _same(
            classifier,
            together[:1],
            _answer(classifier, images[:1]),
            "alone and in a batch",
            "Its images influence each other (batch norm in train mode?).",
        ),
        _maps(classifier, (images.shape[2], images.shape[3])),
    ]
    return (
        *findings,
        *_paths(classifier, images),
        *_class_names(classifier, logits),
        *_accuracy(classifier, logits, labels),
    )


@torch.no_grad()
def _answer(classifier: Classifier, images: Tensor) -> Tensor:
    logits: Tensor = classifier(images)
    return logits


def _eval_mode(classifier: Classifier) -> Finding:
    """After the first pass: a network may switch itself back."""
    training = [name for name, module in classifier.named_modules() if module.training]
    if training:
        raise ModelError(
            f"{classifier.name} is not in eval mode ({training[0] or 'all of it'} trains). Does its forward pass call "
            "train()? Take that out."
        )
    return Finding(check="eval mode", level="ok", detail="the classifier is a frozen copy in eval mode")


def _finite(classifier: Classifier, logits: Tensor) -> Finding:
    check_finite(logits, classifier.name)
    return Finding(check="finite", level="ok", detail="all logits are finite")


def _scores(classifier: Classifier, logits: Tensor) -> Finding:
    values = logits.cpu().double()
    rounding = 4 * torch.finfo(logits.dtype).eps + 1e-3
    if (values >= 0).all() and (values.sum(1) - 1).abs().max() < rounding:
        raise ModelError(
            f"{classifier.name} gives probabilities, and gradients of probabilities vanish when the model is sure. "
            "Return logits: leave out the last softmax."
        )
    if values.logsumexp(1).abs().max() < rounding:
        return Finding(check="logits", level="note", detail="the model gives log-probabilities; maps explain these")
    if (values >= 0).all() and (values <= 1).all() and values.any():
        detail = "all logits lie in [0, 1]: if the model ends in a sigmoid, return what comes before it"
        return Finding(check="logits", level="note", detail=detail)
    return Finding(check="logits", level="ok", detail=f"logits, {logits.shape[1]} classes")


def _same(classifier: Classifier, first: Tensor, second: Tensor, when: str, why: str) -> Finding:
    spread, moved = (first.amax() - first.amin()).item(), (first - second).abs().amax().item()
    difference = moved / spread if spread else float(moved > 0)
    alike = max(ALIKE[first.dtype], ALIKE_ON_GPU if first.is_cuda and first.dtype != torch.float64 else 0.0)
    if not difference <= alike:
        raise ModelError(
            f"{classifier.name} does not give the same answer {when}: its logits differ by {difference:.2g} of their "
            f"spread. {why} Results could not be repeated."
        )
    detail = f"largest difference {difference:.1e} of the logits' spread"
    return Finding(check=f"the same answer {when}", level="ok", detail=detail)


def _maps(classifier: Classifier, size: tuple[int, int]) -> Finding:
    try:
        layers = classifier.layers(size)
    except NoMapsError as cause:  # it can be attacked all the same
        return Finding(check="maps", level="note", detail=str(cause))
    counts = {kind: sum(kind in layer.kinds for layer in layers) for kind in ("conv", "block", "trunk")}
    detail = f"{counts['conv']} convolutions, {counts['block']} blocks, {counts['trunk']} layers of the trunk"
    if layers.unseen:
        detail += f"; {layers.unseen:.0%} of its layers of weights work on tokens behind them, which no map shows"
    return Finding(check="maps", level="note" if layers.unseen else "ok", detail=detail)


def _paths(classifier: Classifier, images: Tensor) -> list[Finding]:
    """Whether the first few images, one by one, take the path of the grey one that the layers are found with."""
    with suppress(NoMapsError):
        grey = classifier.layers((images.shape[2], images.shape[3])).path
        for at, image in enumerate(images[:PATHS]):
            with classifier.uncounted():
                change = path_change(grey, path_of(classifier.module, partial(classifier, image[None])))
            if change:
                detail = f"the path depends on the image: unlike a grey one, image {at} takes another, {change}"
                return [Finding(check="paths", level="note", detail=detail)]
    return []


def _class_names(classifier: Classifier, logits: Tensor) -> list[Finding]:
    names, classes = len(classifier.class_names), logits.shape[1]
    if names in (0, classes):
        return []
    return [Finding(check="class names", level="note", detail=f"the model has {classes} classes and {names} names")]


def _accuracy(classifier: Classifier, logits: Tensor, labels: Tensor | None) -> list[Finding]:
    if labels is None:
        return []
    n, classes = logits.shape
    known = as_classes(labels, logits, "labels")
    right = int((logits.argmax(1) == known).sum())
    if n >= 10 and right / n < 0.1 and classes > 2:
        detail = f"only {right} of {n} labelled images are classified right: check the preprocessing and the labels"
        return [Finding(check="accuracy", level="note", detail=f"{classifier.name}: {detail}")]
    return [Finding(check="accuracy", level="ok", detail=f"{right} of {n} labelled images are classified right")]
