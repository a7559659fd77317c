"""Two folders of pictures, clean and attacked, as a set."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.data._classes import Classes, named
from gazeshift.data._labels import LabelTable, read_labels, spellings
from gazeshift.data._sets import AdversarialSet, Pairs, SetManifest
from gazeshift.data.decode import read_image
from gazeshift.data.files import ignored, list_folder
from gazeshift.errors import DataError, ImageError
from gazeshift.models import Preprocessing
from gazeshift.records import Skipped
from gazeshift.summaries import printable
from gazeshift.summaries import size as sized

LARGEST = 27  # grey levels; DAmageNet's bound is 25.5, and a wrong resampling filter differs by 100 and more
TABLES = ("labels.csv", "val.txt")

Reader = Callable[[Path, str, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class FolderPairs:
    """Pictures of a set that came as files.

    Args:
        ids: one per example.
        attacked: its file.
        clean: the file it was made from, or None throughout.
        labels: its class, or None.
        read_attacked: gives (channels, h, w) in [0, 1] for a file, its id and the number of channels.
        read_clean: likewise.
        channels: to read: 1 makes grey of any picture, 3 colour; 2 and 4 are grey and colour with transparency.
        size: pad with black, or crop about the centre, to this height and width; None leaves the images alone.
        where: the set, in messages.
    """

    ids: tuple[str, ...] = field(repr=False)
    attacked: tuple[Path, ...] = field(repr=False)
    clean: tuple[Path | None, ...] = field(repr=False)
    labels: tuple[int | None, ...] = field(repr=False)
    read_attacked: Reader
    read_clean: Reader
    channels: int = 3
    size: int | None
    where: str

    @property
    def identity(self) -> str:
        """SHA-256 over the ids and the sizes of their files: other pictures are other numbers of bytes."""
        sizes = [
            (own, *(file.stat().st_size if file and file.is_file() else None for file in files))
            for own, *files in zip(self.ids, self.attacked, self.clean, strict=True)
        ]
        return hashlib.sha256(repr((self.size, sizes)).encode()).hexdigest()

    def __len__(self) -> int:
        """Number of examples, among them those that will turn out unreadable."""
        return len(self.ids)

    def column(self, name: str) -> Sequence[Any]:
        """``id`` or ``label``; KeyError for anything else."""
        return {"id": self.ids, "label": self.labels}[name]

    def batches(self, size: int) -> Iterator[Pairs]:
        """At most `size` examples of one size at a time; warns once if a difference is impossible for an attack."""
        waiting: list[tuple[int, Tensor, Tensor | None]] = []
        skipped: list[Skipped] = []
        warned = False
        for at in range(len(self)):
            try:
                attacked, clean = self._read(at)
            except ImageError as cause:
                skipped.append(Skipped(id=self.ids[at], reason=str(cause)))
                continue
            warned = warned or self._warn(self.ids[at], attacked, clean)
            if waiting and (len(waiting) == size or waiting[0][1].shape != attacked.shape):
                yield self._stacked(waiting, skipped)
                waiting, skipped = [], []
            waiting.append((at, attacked, clean))
        if waiting or skipped:
            yield self._stacked(waiting, skipped)

    def pick(self, places: Sequence[int]) -> Iterator[Pairs]:
        """The examples at these places, in that order, of one size at a time."""
        chosen = replace(
            self,
            ids=tuple(self.ids[at] for at in places),
            attacked=tuple(self.attacked[at] for at in places),
            clean=tuple(self.clean[at] for at in places),
            labels=tuple(self.labels[at] for at in places),
        )
        yield from chosen.batches(max(1, len(places)))

    def for_channels(self, count: int) -> Self:
        """The same pictures, decoded with so many channels."""
        return replace(self, channels=count)

    def _read(self, at: int) -> tuple[Tensor, Tensor | None]:
        own, place = self.ids[at], self.clean[at]
        attacked = self.read_attacked(self.attacked[at], own, self.channels)
        clean = None if place is None else self.read_clean(place, own, self.channels)
        if clean is not None and clean.shape != attacked.shape:
            raise ImageError(
                f"{printable(own)} is {sized(attacked.shape[:0:-1])} pixels attacked and {sized(clean.shape[:0:-1])} "
                "clean. Give the clean images as the attack saw them, or the preprocessing that makes them so."
            )
        return _fitted(attacked, self.size), None if clean is None else _fitted(clean, self.size)

    def _warn(self, own: str, attacked: Tensor, clean: Tensor | None) -> bool:
        most = 0 if clean is None else round(255 * float((attacked - clean).abs().max()))
        if most <= LARGEST:
            return False
        warnings.warn(
            f"{self.where}: {printable(own)} differs from its clean image by {most} grey levels, more than the "
            f"{LARGEST} that an attack of this kind may change. Are these the clean images, resized and "
            "cropped as they were for the attack?",
            UserWarning,
            stacklevel=4,
        )
        return True

    def _stacked(self, waiting: list[tuple[int, Tensor, Tensor | None]], skipped: list[Skipped]) -> Pairs:
        places = [at for at, _, _ in waiting]
        clean = [one for _, _, one in waiting if one is not None]
        labels = [label for at in places if (label := self.labels[at]) is not None]
        return Pairs(
            ids=tuple(self.ids[at] for at in places),
            images=torch.stack(clean) if clean else None,
            attacked=torch.stack([one for _, one, _ in waiting]) if waiting else torch.empty(0, self.channels, 0, 0),
            labels=torch.tensor(labels, dtype=torch.int64) if len(labels) == len(places) else None,
            skipped=tuple(skipped),
        )


def pair_folders(
    attacked: Path,
    clean: Path | None,
    *,
    labels: Path | None,
    classes: Classes,
    preprocessing: Preprocessing | None,
    size: int | None,
) -> AdversarialSet:
    """Attacked pictures and their clean counterparts: the same path below each folder, whatever the suffix.

    Raises:
        DataError: a folder without images, or no counterpart at all.
    """
    here, there = list_folder(attacked), None if clean is None else list_folder(clean)
    found = without_suffix(here.images, attacked)
    table = labels or _own_table(attacked, clean)
    said = None if table is None else read_labels(table, classes)
    names, odd = given_names(found, said)
    as_is = Preprocessing(resize=None, crop=None)
    shape = preprocessing or as_is
    return assembled(
        attacked.parent if attacked.name == "attacked" else attacked,
        found,
        None if there is None or clean is None else without_suffix(there.images, clean),
        labels_of(found, said),
        kind="folders",
        names=names,
        read_attacked=lambda path, own, channels: read_image(path, as_is.for_channels(channels), name=own),
        read_clean=lambda path, own, channels: read_image(path, shape.for_channels(channels), name=own),
        channels=shape.channels or 3,
        size=size,
        notes=[*odd, *(note for one in (here, there) if one for note in ignored(one, but=TABLES))],
    )


def assembled(
    path: Path,
    attacked: Mapping[str, Path],
    clean: Mapping[str, Path] | None,
    labels: Mapping[str, int] | None,
    *,
    kind: str,
    names: Mapping[str, str] | None = None,
    read_attacked: Reader,
    read_clean: Reader,
    channels: int = 3,
    size: int | None,
    notes: Sequence[str] = (),
) -> AdversarialSet:
    """The set of all pictures that have what the others have: a clean counterpart, a label.

    Args:
        path: the set, in messages.
        attacked: attacked pictures, by path without suffix, as all that follows.
        clean: their counterparts.
        labels: their classes.
        kind: for the manifest.
        names: what the examples are called, where not as their files.
        read_attacked: see `FolderPairs`.
        read_clean: likewise.
        channels: likewise.
        size: likewise.
        notes: sentences about what was left out.

    Raises:
        DataError: none is usable.
    """
    called = {own: (names or {}).get(own, own) for own in attacked}
    left_out = {own: "no label" for own in attacked if labels is not None and own not in labels}
    left_out |= {own: "no clean image of that name" for own in attacked if clean is not None and own not in clean}
    skipped = [{"id": called[own], "reason": left_out[own]} for own in attacked if own in left_out]
    ids = sorted(attacked.keys() - left_out, key=called.__getitem__)
    if not ids:
        first = f"; the first, {named(list(attacked)[:1])}, has {skipped[0]['reason']}" if skipped else ""
        raise DataError(f"{printable(str(path))} holds {len(attacked)} attacked images, and none is usable{first}.")
    alone = 0 if clean is None else len(clean.keys() - attacked.keys())
    piece = FolderPairs(
        ids=tuple(called[own] for own in ids),
        attacked=tuple(attacked[own] for own in ids),
        clean=tuple(None if clean is None else clean[own] for own in ids),
        labels=tuple(None if labels is None else labels[own] for own in ids),
        read_attacked=read_attacked,
        read_clean=read_clean,
        channels=channels,
        size=size,
        where=printable(path.name),
    )
    manifest: SetManifest = {
        "holds": "set",
        "kind": kind,
        "counts": {"asked": len(attacked), "used": len(ids), "skipped": len(skipped)},
        "skipped": skipped,
        "images": {"clean": clean is not None, "labels": "none" if labels is None else "given"},
        "notes": [*notes, *([f"Clean images without an attacked one: {alone}."] if alone else [])],
    }
    return AdversarialSet(path=path, manifest=manifest, pieces=(piece,))


def without_suffix(images: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Files by their path below the folder, without suffix: clean and attacked ones often differ in it.

    Raises:
        DataError: no image, or two that differ in their suffix alone.
    """
    found: dict[str, Path] = {}
    for own, path in images.items():
        stem = str(PurePosixPath(own).with_suffix(""))
        if stem in found:
            raise DataError(f"{printable(str(folder))} holds {named([own])} and another image of that stem. Keep one.")
        found[stem] = path
    if not found:
        raise DataError(f"no images in the folder {printable(str(folder))}. Give the folder that holds them.")
    return found


def labels_of(attacked: Mapping[str, Path], said: LabelTable | None) -> dict[str, int] | None:
    """Labels by path without suffix: tables name the original files, whose suffix may be another.

    Raises:
        DataError: the table names none of the images, or gives one of them two labels.
    """
    if said is None:
        return None
    named_there = {file: own for file in said.labels if (own := _meant(file, attacked)) is not None}
    if not named_there:
        raise DataError(
            f"{printable(said.name)} names none of the {len(attacked)} images: it names {named(said.labels, 2)}, and "
            f"the images are {named(list(attacked), 2)}. Make the file column match."
        )
    labels: dict[str, int] = {}
    for file, own in named_there.items():
        label = said.labels[file]
        if label is not None and labels.setdefault(own, label) != label:
            raise DataError(
                f"{printable(said.name)} gives {named([own])}, whatever its suffix, two labels: {labels[own]} and "
                f"{label} (line {said.lines[file]}). Keep one row."
            )
    return labels or None


def given_names(attacked: Mapping[str, Path], said: LabelTable | None) -> tuple[dict[str, str], list[str]]:
    """What a table's column ``id`` calls the images, as an export's does; and a note if it does not tell them apart."""
    ids = {} if said is None else said.ids
    names = {own: name for file, name in ids.items() if (own := _meant(file, attacked)) is not None}
    if len({names.get(own, own) for own in attacked}) < len(attacked):
        return {}, ["The column id of the labels was ignored: it gives several images one name."]
    return names, []


def _meant(file: str, attacked: Mapping[str, Path]) -> str | None:
    """The image that a table's row means."""
    stems = (str(PurePosixPath(name).with_suffix("")) for name in spellings(file) if PurePosixPath(name).name)
    return next((stem for stem in stems if stem in attacked), None)


def _own_table(attacked: Path, clean: Path | None) -> Path | None:
    """A table inside one of the folders, or beside them if they are halves of one set."""
    places = [attacked, *([clean] if clean else [])]
    if clean and clean.parent == attacked.parent:
        places.append(attacked.parent)
    return next((place / name for place in places for name in TABLES if (place / name).is_file()), None)


def _fitted(image: Float[Tensor, "channels h w"], size: int | None) -> Float[Tensor, "channels s s"]:
    """Padded with black or cropped about the centre, never resized: resizing weakens an attack."""
    if size is None:
        return image
    image = _cropped(image, size)
    high, wide = image.shape[1:]
    top, left = (size - high) // 2, (size - wide) // 2
    return torch.nn.functional.pad(image, (left, size - wide - left, top, size - high - top))


def _cropped(image: Float[Tensor, "channels h w"], size: int) -> Float[Tensor, "channels hc wc"]:
    top, left = (max(0, side - size) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]
