"""Checks of a model and its images before anything is attacked or looked at."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.errors import ModelError
from gazeshift.models._classifier import Classifier
from gazeshift.models._trace import check_logits
from gazeshift.records import Finding

ALIKE = 1e-3  # largest difference of logits, relative to their spread, that still counts as the same answer


def preflight(
    classifier: Classifier, images: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"] | None = None
) -> tuple[Finding, ...]:
    """What a reader of the results must know of the model: a note or ``ok`` for each check.

    Args:
        classifier: the model.
        images: some images in [0, 1]; two or more let it compare alone with in a batch.
        labels: their classes, if known: then the accuracy is reported.

    Raises:
        BoundsError: the images are not in [0, 1].
        ModelError: a check failed in a way that would make every result wrong; says which and what to do.
    """
    classifier.check(images)
    with torch.no_grad():
        logits = classifier(images)
        check_logits(classifier, logits, len(images))
        again = classifier(images)
        alone = classifier(images[:1])
    findings = [
        Finding(check="range", level="ok", detail=f"images lie in [{images.min():.3f}, {images.max():.3f}]"),
        Finding(check="eval mode", level="ok", detail="the classifier is a frozen copy in eval mode"),
        _finite(classifier, logits),
        _scores(classifier, logits),
        _same(classifier, logits, again, "the same answer twice", "It draws random numbers in eval mode."),
        _same(classifier, logits[:1], alone, "the same answer alone and in a batch", "Its images influence each other."),
    ]
    return (*findings, *_accuracy(classifier, logits, labels))


def _finite(classifier: Classifier, logits: Tensor) -> Finding:
    if not logits.isfinite().all():
        bad = int((~logits.isfinite().all(1)).sum())
        raise ModelError(
            f"{classifier.name} gives NaN or infinite logits for {bad} of {len(logits)} images. Check its weights and "
            "that it expects images in [0, 1]."
        )
    return Finding(check="finite", level="ok", detail="all logits are finite")


def _scores(classifier: Classifier, logits: Tensor) -> Finding:
    values = logits.double()
    if logits.shape[1] > 1 and (values >= 0).all() and (values.sum(1) - 1).abs().max() < 1e-3:
        raise ModelError(
            f"{classifier.name} gives probabilities, and gradients of probabilities vanish when the model is sure. "
            "Return logits: leave out the last softmax."
        )
    if values.logsumexp(1).abs().max() < 1e-3:
        return Finding(check="logits", level="note", detail="the model gives log-probabilities; maps explain these")
    return Finding(check="logits", level="ok", detail=f"logits, {logits.shape[1]} classes")


def _same(classifier: Classifier, first: Tensor, second: Tensor, what: str, why: str) -> Finding:
    spread = (first.amax() - first.amin()).clamp_min(1e-12)
    difference = ((first - second).abs().amax() / spread).item()
    if difference > ALIKE:
        raise ModelError(
            f"{classifier.name} does not give {what}: its logits differ by {difference:.2g} of their spread. {why} "
            "Results could not be repeated."
        )
    return Finding(check=what, level="ok", detail=f"largest difference {difference:.1e} of the logits' spread")


def _accuracy(classifier: Classifier, logits: Tensor, labels: Tensor | None) -> list[Finding]:
    if labels is None:
        return []
    right, n = int((logits.argmax(1) == labels.to(logits.device)).sum()), len(labels)
    if n >= 10 and right / n < 0.1 and logits.shape[1] > 2:
        detail = f"only {right} of {n} labelled images are classified right: check the preprocessing and the labels"
        return [Finding(check="accuracy", level="note", detail=f"{classifier.name}: {detail}")]
    return [Finding(check="accuracy", level="ok", detail=f"{right} of {n} labelled images are classified right")]
