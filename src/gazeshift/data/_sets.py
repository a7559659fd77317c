"""Adversarial sets: clean and attacked images side by side, opened without being read."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, Self, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.errors import DataError, ModelError, SettingsError
from gazeshift.models import Classifier, ModelCard, Pixels
from gazeshift.records import Skipped
from gazeshift.summaries import Summary, fitted, images_of, listed, plural


class AttackCard(TypedDict, total=False):
    """What a set says of the attack that made it; `epsilon` in [0, 1] units."""

    name: str
    norm: str | None
    epsilon: float | None


class SetImages(TypedDict, total=False):
    """Where a set's images are from; `clean` tells of folders whether there are clean ones."""

    source: str
    labels: str
    notes: list[str]
    clean: bool


class ModelSettings(TypedDict, total=False):
    """What leads to a set's model again."""

    model: str
    weights: str | None
    input_size: Pixels | None


class ShardEntry(TypedDict):
    """A file of a set: its path below the set's folder, and what must be in it."""

    file: str
    images: int
    bytes: int
    sha256: str


class SetManifest(TypedDict, total=False):
    """What is known of a set. Folders from elsewhere have a `kind`, and no model, attack or shards.

    `counts` has what `counted` gives and ``asked`` and ``skipped``; findings and skipped images have the keys of
    `Finding` and `Skipped`.
    """

    holds: str
    kind: str
    model: ModelCard
    attack: AttackCard
    images: SetImages
    settings: ModelSettings
    seed: int
    counts: dict[str, int]
    skipped: list[dict[str, str]]
    notes: list[str]
    health: list[dict[str, str]]
    shards: list[ShardEntry]


@dataclass(frozen=True, kw_only=True, repr=False)
class Pairs(Summary):
    """Some examples of a set, of one size.

    Args:
        ids: one per example.
        images: the clean images (n, channels, h, w) in [0, 1]; None if the set has no clean counterparts.
        attacked: the same images after the attack.
        labels: their classes (n), or None if unknown.
        facts: what the set says of each example, by column name (``success``, ``margin``...); empty for folders.
        skipped: examples that should be here and could not be read.
    """

    ids: tuple[str, ...]
    images: Float[Tensor, "n channels h w"] | None
    attacked: Float[Tensor, "n channels h w"]
    labels: Int[Tensor, " n"] | None
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.ids)

    def _says(self) -> Iterator[str]:
        clean, labels = ("without" if part is None else "with" for part in (self.images, self.labels))
        left_out = f"; {len(self.skipped):,} skipped" if self.skipped else ""
        yield f"{images_of(self.attacked)}, {clean} clean ones, {labels} labels{left_out}"
        yield from listed(len(self), lambda at: f"{at}: {self.ids[at]}")


class Piece(Protocol):
    """A part of a set that is read on its own: a shard, or folders."""

    @property
    def identity(self) -> str:
        """Another one if the piece holds other examples; no pixels are read."""

    def __len__(self) -> int:
        """Number of examples."""

    def column(self, name: str) -> Sequence[Any]:
        """One column, without reading pixels; KeyError if the piece has no such column."""

    def batches(self, size: int) -> Iterator[Pairs]:
        """The examples, at most `size` of one size at a time."""

    def pick(self, places: Sequence[int]) -> Iterator[Pairs]:
        """The examples at these places, in that order, of one size at a time."""

    def for_channels(self, count: int) -> Self:
        """The same examples for a model that takes so many channels."""


@dataclass(frozen=True, kw_only=True, repr=False)
class AdversarialSet(Summary):
    """What an attack made of a collection of images. Nothing is read before it is asked for, then a shard at a time.

    Args:
        path: the set's folder.
        manifest: model, attack, counts, health of the run; of folders from elsewhere, what is known of them.
        pieces: shards, in order.
    """

    path: Path
    manifest: SetManifest
    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        """Number of examples."""
        return sum(len(piece) for piece in self.pieces)

    def _says(self) -> Iterator[str]:
        attack, model = self.manifest.get("attack"), self.manifest.get("model")
        made = f" of {attack['name']} on {model['name']}" if attack and model else ""
        fooled = self.manifest.get("counts", {}).get("success")
        yield f"{fitted(str(self.path), 60)}: {plural(len(self), 'example')}{made}" + (
            "" if fooled is None else f", {fooled:,} that fool it"
        )

    @cached_property
    def identity(self) -> str:
        """SHA-256 over what the pieces hold, wherever the set lies; no pixels are read."""
        return hashlib.sha256("\n".join(piece.identity for piece in self.pieces).encode()).hexdigest()

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Name of every example: its image's path below the folder that was attacked."""
        return tuple(self.column("id"))

    @property
    def labels(self) -> Int[Tensor, " n"] | None:
        """Class of every example, or None if unknown."""
        found = self.column("label")
        return None if any(label is None for label in found) else torch.tensor(list(found), dtype=torch.int64)

    @property
    def images(self) -> Float[Tensor, "n channels h w"] | None:
        """All clean images at once: for small sets; `batches` needs the memory of one shard."""
        return self.read().images

    @property
    def attacked(self) -> Float[Tensor, "n channels h w"]:
        """All attacked images at once: for small sets."""
        return self.read().attacked

    def batches(self, size: int = 32) -> Iterator[Pairs]:
        """All examples in order, at most `size` at a time; a batch never spans two shards.

        Raises:
            DataError: a shard is missing, cut short or changed.
        """
        if size < 1:
            raise SettingsError(f"a batch needs at least 1 image, got a size of {size}.")
        for piece in self.pieces:
            yield from piece.batches(size)

    def read(self) -> Pairs:
        """All examples at once, for small sets.

        Raises:
            DataError: a shard is damaged, or the images differ in size.
        """
        return _joined(tuple(self.batches()), str(self.path))

    def pick(self, ids: Sequence[str]) -> Pairs:
        """The examples of these ids, in that order, as one batch; only the pieces that hold them are read.

        Raises:
            DataError: an unknown id, a damaged shard, or images that differ in size.
        """
        found: list[Pairs] = []
        for ids_there, group in groupby(ids, key=self._piece_of):
            piece = self.pieces[ids_there]
            found.extend(piece.pick([self._places[own][1] for own in group]))
        return _joined(tuple(found), str(self.path))

    def _piece_of(self, own: str) -> int:
        if own not in self._places:
            raise DataError(f"{self.path} holds no example with the id '{own}'.")
        return self._places[own][0]

    @cached_property
    def _places(self) -> Mapping[str, tuple[int, int]]:
        """Piece, and place in it, of every id."""
        return {
            own: (number, place)
            for number, piece in enumerate(self.pieces)
            for place, own in enumerate(piece.column("id"))
        }

    def column(self, name: str) -> Sequence[Any]:
        """One value for each example, such as ``id``, ``label``, ``success``, ``margin``; no pixels are read.

        Raises:
            SettingsError: the set has no such column.
        """
        try:
            return [value for piece in self.pieces for value in piece.column(name)]
        except KeyError as cause:
            raise SettingsError(f"{self.path} has no column '{name}'. docs/sets.md lists them.") from cause

    def for_channels(self, count: int) -> Self:
        """The same examples for a model that takes so many channels: pictures of folders are decoded with as many."""
        return replace(self, pieces=tuple(piece.for_channels(count) for piece in self.pieces))

    def check_model(self, classifier: Classifier) -> None:
        """Refuse a classifier that the set was not made for.

        Raises:
            ModelError: names both. To try the examples on another model, pass it the batches' attacked images.
        """
        card = self.manifest.get("model")
        if not card or card["weights_sha256"] == classifier.weights_sha256:
            return
        raise ModelError(
            f"{self.path} was made for {card['name']} with weights {card['weights_sha256'][:12]}, got "
            f"{classifier.name} with weights {classifier.weights_sha256[:12]}. Give the same model and weights; to see "
            "whether the examples transfer, pass its attacked images to the other model."
        )


def _joined(found: tuple[Pairs, ...], where: str) -> Pairs:
    shapes = {tuple(pairs.attacked.shape[1:]) for pairs in found if len(pairs)}
    if len(shapes) > 1:
        raise DataError(f"the images of {where} have {len(shapes)} sizes and are no single batch. Use batches().")
    if not found:
        return Pairs(ids=(), images=None, attacked=torch.empty(0, 3, 0, 0), labels=None)
    return Pairs(
        ids=tuple(own for pairs in found for own in pairs.ids),
        images=_all(pairs.images for pairs in found if len(pairs)),
        attacked=torch.cat([pairs.attacked for pairs in found if len(pairs)]),
        labels=_all(pairs.labels for pairs in found if len(pairs)),
        facts={name: np.concatenate([pairs.facts[name] for pairs in found]) for name in found[0].facts},
        skipped=tuple(skip for pairs in found for skip in pairs.skipped),
    )


def _all(tensors: Iterator[Tensor | None]) -> Tensor | None:
    every = list(tensors)
    known = [tensor for tensor in every if tensor is not None]
    return torch.cat(known) if known and len(known) == len(every) else None
