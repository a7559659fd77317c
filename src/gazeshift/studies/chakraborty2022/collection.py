"""Labelled pictures to train on: any number of classes, each with a folder or a label of its own.

The classes are the collection's, not a model's: their indices follow the sorted names.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import five_crop

from gazeshift.data.decode import read_file
from gazeshift.data.files import display_name, list_folder
from gazeshift.data.image_source import ImageSource, assemble
from gazeshift.data.open_images import demo_images, open_source
from gazeshift.data.remote import AnyFile, Remote, place_of
from gazeshift.errors import DataError
from gazeshift.records import Skipped
from gazeshift.seeds import generator_for
from gazeshift.studies.chakraborty2022.vggface2 import aligner, identity_names, is_vggface2, read_faces
from gazeshift.summaries import printable

SPLITS = {"train", "training", "val", "valid", "validation", "test"}
VIEWS = 10  # of each demo image: four corners and the middle, and their mirror images
SHARE = 0.8  # of a demo image's sides that a view shows


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Pictures of named classes.

    Args:
        source: the pictures; their labels are places in `names`.
        names: of the classes.
        aligned: the same pictures aligned by their landmarks, without those that have none; None if there are no
            landmarks at all.
    """

    source: ImageSource
    names: tuple[str, ...]
    aligned: ImageSource | None = None


def open_collection(
    path: Path | str | None,
    *,
    labels: Path | str | None = None,
    class_names: Sequence[str] = (),
    wnids: Sequence[str] = (),
) -> Collection:
    """Labelled pictures in one of these forms; nothing is decoded yet.

    * A folder of class folders, or one with the folders ``train``, ``val`` and ``test`` that hold class folders of
      the same names; these are put together, because the split is made anew.
    * VGGFace2, whose faces are also given aligned.
    * Images with a table of labels, as of `open_source`.
    * None: the demo's twenty images, each a class of ten crops and mirror images.

    Args:
        path: of the folder.
        labels: table of labels.
        class_names: of a model, as of `open_source`, to read a table's labels.
        wnids: likewise.

    Raises:
        DataError: nothing there, or no classes.
    """
    if path is None:
        return _demo_views(class_names)
    root, table = place_of(path), partial(_labelled, path, labels, class_names, wnids)
    if labels is not None or isinstance(root, Remote) or not root.is_dir():
        return table()
    listing = list_folder(root)
    if not listing.images or listing.flat or any((root / own).is_file() for own in ("labels.csv", "val.txt")):
        return table()
    if is_vggface2(root):
        return _faces(root, listing.images)
    return _folders(root, listing.images, dict(zip(wnids, map(_first_name, class_names), strict=False)))


def _first_name(name: str) -> str:
    return name.split(",", maxsplit=1)[0]


def draw_classes(found: Collection, *, classes: int | None, images: int | None, seed: int) -> Collection:
    """At most so many classes, and at most so many pictures of each, both drawn with the seed.

    Raises:
        DataError: there is only one class.
    """
    held = sorted({label for label in found.source.labels if label is not None})
    if len(held) < 2:
        raise DataError(
            f"training needs at least two classes, and {printable(found.source.name)} holds {len(held)}. "
            "Give a folder with a folder of images for each class."
        )
    if classes is not None and classes < len(held):
        order = torch.randperm(len(held), generator=generator_for(seed, "classes"))
        held = sorted(held[at] for at in order[:classes].tolist())
    of_class = members(found.source)
    chosen = {own for label in held for own in shuffled(of_class[label], seed, "images", found.names[label])[:images]}
    place = {label: at for at, label in enumerate(held)}

    def kept(source: ImageSource) -> ImageSource:
        return _picked(source, lambda own, _: own in chosen, lambda label: place[label])

    names = tuple(found.names[label] for label in held)
    aligned = None if found.aligned is None else kept(found.aligned)
    if aligned is not None:
        dropped = tuple(skip for skip in aligned.skipped if skip.id in chosen)
        aligned = replace(aligned, skipped=dropped)
    return Collection(source=kept(found.source), names=names, aligned=aligned)


def members(source: ImageSource) -> dict[int, list[str]]:
    """Ids of each class, in order."""
    found: dict[int, list[str]] = {}
    for own, label in zip(source.ids, source.labels, strict=True):
        found.setdefault(int(label or 0), []).append(own)
    return found


def shuffled(ids: Sequence[str], seed: int, *names: str) -> list[str]:
    """The ids in an order that follows from the seed and the names alone."""
    order = torch.randperm(len(ids), generator=generator_for(seed, *names))
    return [ids[at] for at in order.tolist()]


def _picked(source: ImageSource, wanted: Callable[[str, int], bool], label: Callable[[int], int]) -> ImageSource:
    at = [i for i, (own, known) in enumerate(zip(source.ids, source.labels, strict=True)) if wanted(own, known or 0)]
    return replace(
        source,
        ids=tuple(source.ids[i] for i in at),
        labels=tuple(label(source.labels[i] or 0) for i in at),
        places=tuple(source.places[i] for i in at),
    )


def _folders(root: Path, images: Mapping[str, AnyFile], known: dict[str, str]) -> Collection:
    """Class folders; those named by WordNet ids get the names that a model knows."""
    folder = _class_folder(list(images))
    folders = sorted({folder(own) for own in images})
    place = {name: at for at, name in enumerate(folders)}
    labels = {own: place[folder(own)] for own in images}
    name = display_name(root)
    source = assemble(name=name, kind="class_folders", places=images, labels=labels, fetch=read_file)
    return Collection(source=source, names=tuple(known.get(own, own) for own in folders))


def _class_folder(ids: list[str]) -> Callable[[str], str]:
    """Which part of an id names its class: the first folder, or the second if the first ones name splits."""
    parts = [own.split("/") for own in ids]
    at = int(all(len(part) > 2 and part[0].lower() in SPLITS for part in parts))
    return lambda own: own.split("/")[at]


def _faces(root: Path, images: Mapping[str, AnyFile]) -> Collection:
    found = _folders(root, images, {})
    called, faces = identity_names(root), read_faces(root)
    found = replace(found, names=tuple(called.get(own, own) for own in found.names))
    if not faces:
        return found
    source = found.source
    have = {own for own in source.ids if own.rsplit(".", 1)[0] in faces}
    lost = tuple(Skipped(id=own, reason="no landmarks or no box") for own in source.ids if own not in have)
    kept = _picked(source, lambda own, _: own in have, lambda label: label)
    return replace(found, aligned=replace(kept, kind="aligned faces", skipped=lost, fetch=aligner(faces)))


def _labelled(
    path: Path | str, labels: Path | str | None, class_names: Sequence[str], wnids: Sequence[str]
) -> Collection:
    """Images with a table of labels of a model's classes; the collection has those that occur."""
    source = open_source(path, labels=labels, class_names=class_names, wnids=wnids)
    held = sorted({label for label in source.labels if label is not None})
    known = tuple(_first_name(class_names[label]) if label < len(class_names) else f"class {label}" for label in held)
    place = {label: at for at, label in enumerate(held)}
    return Collection(source=_picked(source, lambda *_: True, lambda label: place.get(label, 0)), names=known)


def _demo_views(class_names: Sequence[str]) -> Collection:
    """Every demo image as a class of its own. Its views overlap, so that telling them apart is easy: say so."""
    demo = demo_images()
    places = {
        f"{own.rsplit('.', 1)[0]}/view-{view}": (path, view)
        for own, path in zip(demo.ids, demo.places, strict=True)
        for view in range(VIEWS)
    }
    labels = {own: demo.ids.index(f"{own.split('/')[0]}.jpg") for own in places}
    note = f"Each of the {len(demo)} demo images is a class of {VIEWS} overlapping views (crops and mirror images)."
    source = assemble(
        name="views of the demo images", kind="demo", places=places, labels=labels, fetch=_view, notes=(note,)
    )
    known = [
        _first_name(class_names[label]) if label is not None and label < len(class_names) else own
        for own, label in zip(demo.ids, demo.labels, strict=True)
    ]
    return Collection(source=source, names=tuple(known))


def _view(place: tuple[Path, int], name: str) -> bytes:
    """One view of a picture as the bytes of a lossless file."""
    path, view = place
    with Image.open(io.BytesIO(read_file(path, name))) as picture:
        whole = picture.convert("RGB")
    width, height = (round(SHARE * side) for side in whole.size)
    seen = five_crop(whole, [height, width])[view % 5]
    stream = io.BytesIO()
    (ImageOps.mirror(seen) if view >= 5 else seen).save(stream, format="BMP")
    return stream.getvalue()
