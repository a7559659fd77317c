"""Checks a set from the disk up: bytes against hashes, numbers against pixels, predictions against the model."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.data._eight_bit import attacked_levels
from gazeshift.data._sets import AdversarialSet, AttackCard, Pairs
from gazeshift.errors import DataError
from gazeshift.models import Classifier
from gazeshift.summaries import Summary, listed, plural

TOLERANCE = 0.01  # of a confidence: another device, or another batch, moves it by less
NORM_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True, repr=False)
class Verified(Summary):
    """What a verification found.

    Args:
        images: examples that were read.
        predicted: whether a model's answers were compared with the set's.
        largest: largest difference of a confidence from the set's; NaN if nothing was predicted.
        counts: what `counted` makes of the rows; empty for folders.
        wrong: of folders with labels and a model, its errors on the ``clean`` and the ``attacked`` images; else empty.
        problems: one sentence for each thing that is wrong; empty if all is well.
    """

    images: int
    predicted: bool
    largest: float
    counts: Mapping[str, int]
    wrong: Mapping[str, int]
    problems: tuple[str, ...]

    def _says(self) -> Iterator[str]:
        predictions = "predictions compared" if self.predicted else "no predictions compared"
        yield f"{plural(self.images, 'image')} read, {predictions}; {plural(len(self.problems), 'problem')}"
        yield from listed(len(self.problems), lambda at: self.problems[at])


def verify_set(
    found: AdversarialSet,
    classifier: Classifier | None = None,
    *,
    size: int = 32,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Verified:
    """Read the whole set again and compare: hashes, norms, counts; and with a classifier every prediction.

    A prediction holds if the class that the set names still has the confidence that it names, and no other class has
    clearly more, both within `TOLERANCE`. Folders name no predictions: the model's errors on them are counted.

    Raises:
        ModelError: the set was made for another model.
    """
    if classifier is not None:
        found.check_model(classifier)
        found = found.for_channels(classifier.channels)
    problems: list[str] = []
    total: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    images, largest = 0, 0.0
    for piece in found.pieces:
        try:
            for pairs in piece.batches(size):
                problems += _check_rows(pairs)
                worst, wrong = _check_predictions(pairs, classifier, found.manifest.get("attack", {}))
                largest, images = max(largest, worst), images + len(pairs)
                problems += [*wrong, *(f"{skip.id}: {skip.reason}" for skip in pairs.skipped)]
                total.update(counted(pairs.facts, pairs.labels))
                errors.update(_errors(pairs, classifier))
                progress(images, len(found), "images")
        except DataError as cause:
            problems.append(str(cause))
    if not problems:
        problems += _check_counts(found, total)
    done = classifier is not None and bool(total)
    return Verified(
        images=images,
        predicted=done,
        largest=largest if done else float("nan"),
        counts=total,
        wrong=errors,
        problems=tuple(problems),
    )


def counted(facts: Mapping[str, np.ndarray], labels: Tensor | np.ndarray | None) -> dict[str, int]:
    """Numbers of examples: used, right before the attack, fooled among these, wrong after it among all."""
    if not facts:
        return {}
    sums = {name: int(np.sum(facts[name])) for name in ("clean_correct", "claimed", "success", "success_8bit")}
    wrong = int(np.sum(np.asarray(facts["attacked_class"]) != np.asarray(labels)))
    return {"used": len(facts["success"]), **sums, "wrong_after": wrong}


def _errors(pairs: Pairs, classifier: Classifier | None) -> dict[str, int]:
    """How many images of folders the model gets wrong."""
    if classifier is None or pairs.facts or pairs.labels is None:
        return {}
    shown = (
        {"attacked": pairs.attacked} if pairs.images is None else {"clean": pairs.images, "attacked": pairs.attacked}
    )
    return {kind: int((_scores(classifier, images).argmax(1) != pairs.labels).sum()) for kind, images in shown.items()}


def _check_rows(pairs: Pairs) -> Iterator[str]:
    """The stored norms and flags against the pixels."""
    if not pairs.facts or pairs.images is None or pairs.labels is None:
        return
    change = (pairs.attacked - pairs.images).flatten(1)
    lengths = change.double().square().sum(1).sqrt()  # float32 norms of photographs are off by more than the tolerance
    for name, measured in (("linf", change.abs().amax(1)), ("l2", lengths)):
        stored = torch.from_numpy(pairs.facts[name].copy())
        away = (measured - stored).abs() > NORM_TOLERANCE * (1 + stored)
        yield from (
            f"{pairs.ids[at]}: its {name} is {measured[at]:.6g}, the set says {stored[at]:.6g}" for at in _true(away)
        )
    right = torch.from_numpy(pairs.facts["clean_class"].copy()) == pairs.labels
    odd = right != torch.from_numpy(pairs.facts["clean_correct"].copy())
    odd |= torch.from_numpy(pairs.facts["success"].copy()) & ~right
    yield from (f"{pairs.ids[at]}: its classes contradict clean_correct or success" for at in _true(odd))


def _check_predictions(pairs: Pairs, classifier: Classifier | None, attack: AttackCard) -> tuple[float, list[str]]:
    """Largest difference of a confidence, and a sentence for each prediction that does not hold."""
    if classifier is None or not pairs.facts or pairs.images is None:
        return 0.0, []
    worst = 0.0
    wrong: list[str] = []
    for kind, images in (("clean", pairs.images), ("attacked", pairs.attacked)):
        away, sentences = _compared(pairs, kind, _scores(classifier, images))
        worst, wrong = max(worst, away), wrong + sentences
    levels = attacked_levels(pairs.images, pairs.attacked, norm=attack.get("norm"), epsilon=attack.get("epsilon"))
    return worst, wrong + _compared_8bit(pairs, _scores(classifier, levels.float() / 255))


def _compared(pairs: Pairs, kind: str, scores: Float[Tensor, "n c"]) -> tuple[float, list[str]]:
    classes = torch.from_numpy(pairs.facts[f"{kind}_class"].astype(np.int64))
    stored = torch.from_numpy(pairs.facts[f"{kind}_confidence"].copy())
    there, (top, winner) = scores.gather(1, classes[:, None])[:, 0], scores.max(1)
    away = torch.maximum((there - stored).abs(), top - there)
    away = away.masked_fill(stored.isnan() & there.isnan(), 0)
    return float(away.max()), [
        f"{pairs.ids[at]}: the {kind} image is class {int(winner[at])} with {float(top[at]):.3f}, the set says class "
        f"{int(classes[at])} with {float(stored[at]):.3f}"
        for at in _true(~(away <= TOLERANCE))
    ]


def _compared_8bit(pairs: Pairs, scores: Float[Tensor, "n c"]) -> list[str]:
    """An example between two classes may go either way, and is left alone."""
    labels = torch.zeros(len(pairs), dtype=torch.int64) if pairs.labels is None else pairs.labels
    label = scores.gather(1, labels[:, None])[:, 0]
    other = scores.scatter(1, labels[:, None], -1).amax(1)
    fools = (other > label) & torch.from_numpy(pairs.facts["clean_correct"].copy())
    differs = fools != torch.from_numpy(pairs.facts["success_8bit"].copy())
    clear = (other - label).abs() > TOLERANCE
    return [f"{pairs.ids[at]}: its success in 8 bit is not as the set says" for at in _true(differs & clear)]


def _check_counts(found: AdversarialSet, total: Mapping[str, int]) -> list[str]:
    said = found.manifest.get("counts", {}) if total else {}
    differ = [
        f"{name}: {said.get(name)} in the manifest, {value} counted"
        for name, value in total.items()
        if said.get(name) != value
    ]
    twice = len(found.ids) - len(set(found.ids))
    return [*differ, *([f"{twice} ids occur twice"] if twice else [])]


@torch.no_grad()
def _scores(classifier: Classifier, images: Tensor) -> Tensor:
    return classifier(images.to(classifier.device)).float().softmax(1).cpu()  # type: ignore[no-any-return]


def _true(flags: Tensor) -> list[int]:
    return flags.nonzero()[:, 0].tolist()
