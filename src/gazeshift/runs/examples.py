"""Clean and attacked images for a study: an attack made on the spot, or an adversarial set made before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gazeshift.data import AdversarialSet, Pairs, open_set
from gazeshift.errors import DataError
from gazeshift.models import Classifier, ModelCard, as_classes
from gazeshift.pipeline import attack
from gazeshift.records import Attacked, Batch, Skipped
from gazeshift.runs.settings import PairSettings, StudySettings
from gazeshift.seeds import generator_for


@dataclass(frozen=True, kw_only=True)
class SetSource:
    """The examples of an adversarial set, as a study reads images. Nothing is read before it is asked for.

    Args:
        examples: the set.
        ids: of the examples used, in order.
        labels: their classes, or None throughout.
        size: both images of each example are brought to this height and width; None leaves them as they are.
    """

    examples: AdversarialSet
    ids: tuple[str, ...]
    labels: tuple[int | None, ...]
    size: tuple[int, int] | None = None
    kind: str = "set"
    skipped: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.ids)

    @property
    def name(self) -> str:
        """What reports call it."""
        return str(self.examples.path)

    @property
    def health(self) -> Sequence[Mapping[str, str]]:
        """What was found when the set was made (`gazeshift.runs.adversarial_set.health`); nothing of other folders."""
        found: Sequence[Mapping[str, str]] = self.examples.manifest.get("health", ())
        return found

    @property
    def has_labels(self) -> bool:
        """Whether the examples have labels."""
        return any(label is not None for label in self.labels)

    def shown_to(self, classifier: Classifier) -> Self:
        """The same examples for a model; one that they were not made for sees them at its own size, and a note says so.

        Whether they fool it is always judged anew, by their labels or by its own answers: see `attacked_pairs`.
        """
        found, card = replace(self, examples=self.examples.for_channels(classifier.channels)), self.model
        if card is None or card["weights_sha256"] == classifier.weights_sha256:
            return found
        size = classifier.size
        resized = "" if size is None else f", resized to {size[0]} x {size[1]} where they are not"
        note = f"{self.name} was made on {card['name']}; {classifier.name} is only shown its examples{resized}."
        is_given = self.examples.manifest.get("images", {}).get("labels") == "given"
        labels = self.labels if is_given else (None,) * len(self)  # the other model's answers are no labels here
        return replace(found, size=size, labels=labels, notes=(*self.notes, note))

    @property
    def model(self) -> ModelCard | None:
        """The model that the examples were made on; None of those from elsewhere."""
        return self.examples.manifest.get("model")

    def read(self, *, ids: Sequence[str], preprocessing: object = None) -> Batch:  # noqa: ARG002
        """The clean images of these ids, as a set has them or at the size that `shown_to` asks for.

        Raises:
            DataError: the set has no clean images, or a shard is damaged.
        """
        pairs = self.pairs(ids)
        return Batch(ids=pairs.ids, images=_clean(pairs), labels=pairs.labels, skipped=pairs.skipped)

    def batches(self, size: int, preprocessing: object = None) -> Iterator[Batch]:
        """Every clean image, `size` ids at a time."""
        for at in range(0, len(self), size):
            yield self.read(ids=self.ids[at : at + size], preprocessing=preprocessing)

    def pairs(self, ids: Sequence[str]) -> Pairs:
        """Clean and attacked images of these ids.

        Raises:
            DataError: the set has no clean images, or a shard is damaged.
        """
        found = self.examples.pick(ids)
        if found.images is None and len(found):
            raise DataError(
                f"{self.name} has no clean images, and this study compares each example with its own. Make a set with "
                "'gazeshift attack', name the folder of the clean ones with --clean, or put folders clean and attacked "
                "side by side."
            )
        if found.images is None or not len(found):
            return found
        clean, attacked = (fitted(part, self.size, "resize") for part in (found.images, found.attacked))
        return replace(found, images=clean, attacked=attacked, labels=found.labels if self.has_labels else None)


def open_pairs(path: Path, settings: StudySettings) -> SetSource:
    """The set at `path`, or as many of its examples as the settings' limit allows, drawn with their seed.

    Raises:
        DataError: no set, or a damaged one.
    """
    clean = settings.clean if isinstance(settings, PairSettings) else None
    found = open_set(path, clean=clean, class_names=settings.class_names())
    ids, labels = found.ids, tuple(found.column("label"))
    if settings.limit is not None and settings.limit < len(ids):
        generator = generator_for(settings.seed, "limit")
        chosen = sorted(torch.randperm(len(ids), generator=generator)[: settings.limit].tolist())
        ids, labels = tuple(ids[at] for at in chosen), tuple(labels[at] for at in chosen)
    told = {} if "shards" in found.manifest else found.manifest  # a set's own run has named what it left out
    skipped = tuple(Skipped(**one) for one in told.get("skipped", ()))
    return SetSource(examples=found, ids=ids, labels=labels, skipped=skipped, notes=tuple(told.get("notes", ())))


def attacked_pairs(classifier: Classifier, pairs: Pairs) -> Attacked:
    """A set's examples as an attack's result: both sides predicted anew, at no cost to the attack."""
    images, made = (part.to(classifier.device) for part in (_clean(pairs), pairs.attacked))
    with torch.no_grad():
        clean_logits, logits = classifier(images), classifier(made)
    labels = clean_logits.argmax(1) if pairs.labels is None else as_classes(pairs.labels, clean_logits, "labels")
    return Attacked(
        clean=images, images=made, labels=labels, clean_logits=clean_logits, logits=logits, forwards=0, backwards=0
    )


def attacked_batch(
    classifier: Classifier, batch: Batch, made: Any, *, spec: str, seed: int, source: object = None
) -> Attacked:
    """A batch's examples: those of its set if the source is one, else attacked now, each image with its own draws.

    Args:
        classifier: whom to fool.
        batch: the clean images.
        made: the attack with its settings.
        spec: its name; draws follow from it, the seed and the image's id.
        seed: of the study.
        source: where the batch came from.
    """
    if isinstance(source, SetSource):
        return attacked_pairs(classifier, source.pairs(batch.ids))
    draws = [generator_for(seed, spec, name) for name in batch.ids]
    return attack(classifier, batch.images, batch.labels, by=made, generator=draws)


def _clean(pairs: Pairs) -> Float[Tensor, "n channels h w"]:
    return pairs.attacked[:0] if pairs.images is None else pairs.images


def fitted(
    images: Float[Tensor, "n channels h w"], size: tuple[int, int] | None, fit: str
) -> Float[Tensor, "n channels hm wm"]:
    """Images as a model of another input size is shown them; None leaves them.

    ``resize``: bilinear, antialiased when it shrinks. ``pad``: in the middle of black, or the middle cut out.
    """
    height, width = images.shape[2:]
    if size is None or size == (height, width):
        return images
    high, wide = size
    if fit == "resize":
        return interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
    left, top = (wide - width) // 2, (high - height) // 2
    return pad(images, (left, wide - width - left, top, high - height - top))
