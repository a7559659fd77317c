"""Opening images: what lies at a path is found out, and its labels are turned into classes of the model."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gazeshift.data._classes import Classes, folder_classes, model_classes, named
from gazeshift.data._labels import match, read_labels
from gazeshift.data.decode import SUFFIXES, read_file
from gazeshift.data.files import Listing, display_name, file_ids, ignored, list_folder
from gazeshift.data.image_source import ImageSource, assemble
from gazeshift.data.remote import WEB, AnyFile, Remote, place_of, read_place
from gazeshift.errors import DataError, MissingPackageError
from gazeshift.summaries import printable

OWN_LABELS = ("labels.csv", "val.txt")

AnyPath = str | os.PathLike[str]


def open_source(
    path: AnyPath | Sequence[AnyPath],
    *,
    labels: AnyPath | None = None,
    class_names: Sequence[str] = (),
    wnids: Sequence[str] = (),
    labelled: bool = True,
    limit: int | None = None,
    seed: int | None = None,
) -> ImageSource:
    """Images at a path, in one of these forms; nothing is decoded yet.

    * One file, or a list of files.
    * A folder of images, or one with a sub-folder ``images``. Its ``labels.csv`` or ``val.txt`` is used if there is
      one; `labels` overrides it. Other files are ignored, counted, and some of them named in `notes`.
    * A folder of class folders named by WordNet id or by class name (case does not matter; spaces, ``_`` and ``-``
      are the same; one synonym of "tench, Tinca tinca" is enough). Names that are numbers count as class indices
      only if all of them are numbers in range. The order of folders never counts.
    * Any of these at an address: ``s3://``, ``gs://``, ``https://``, ``hf://`` (extra ``remote``). Files are fetched
      when they are asked for. A web server that lists no folder needs a table of labels that names the images.
    * A Parquet file, or a folder of them, in the Hugging Face image layout. Labels go by the table's own class names
      where it and the model have some and they differ.

    A number that is the name of one class and the index of another is refused, in folders, tables and Parquet alike.

    Args:
        path: file, files or folder, here or at an address.
        labels: CSV with the columns file and label (and perhaps wnid, which must then agree), or a ``.txt`` of
            "name label" lines. A label is a class index, a WordNet id or a class name. Files are named as below
            the folder; the backslashes of Windows will do.
        class_names: the model's, to turn names into classes and to check indices.
        wnids: the model's.
        labelled: False takes every image that is there, and asks for no label of any.
        limit: keep that many images: the first ones, or with a seed a random choice.
        seed: of the random choice.

    Raises:
        DataError: nothing there, no image, or labels that do not fit the model or the images.
        SettingsError: class names or WordNet ids that are no list of texts.
    """
    classes = model_classes(class_names, wnids) if labelled else None
    table = None if labels is None else _place(labels, "labels")
    source = _open(path, table, classes)
    if not source.ids:
        raise DataError(f"{printable(source.name)} holds no image that can be used. {' '.join(source.notes)}".strip())
    return source if limit is None else source.take(limit, seed)


def demo_images() -> ImageSource:
    """The twenty ImageNet photographs that the package foolbox ships, labelled with ImageNet's classes.

    Found without importing foolbox.

    Raises:
        MissingPackageError: foolbox is not installed, or came without its images.
    """
    spec = find_spec("foolbox")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    files = sorted(folder.glob("imagenet_*_*.jpg")) if folder else []
    if not files:
        raise MissingPackageError("the demo's images come with the package foolbox: pip install foolbox")
    labels = {path.name: int(path.stem.rsplit("_", 1)[1]) for path in files}
    places = {path.name: path for path in files}
    return assemble(name="foolbox demo", kind="demo", places=places, labels=labels, fetch=read_file)


def _open(path: AnyPath | Sequence[AnyPath], table: AnyFile | None, classes: Classes | None) -> ImageSource:
    if not isinstance(path, str | os.PathLike):
        given: Any = path
        paths = given if isinstance(given, Iterable) and not isinstance(given, bytes) else [given]
        return _open_files([_place(one, "images, or each one of a list,") for one in paths], table, classes)
    root = place_of(path)
    if isinstance(root, Remote):
        is_file = root.suffix.lower() in SUFFIXES | {".parquet"}
        return _open_files([root], table, classes) if is_file else _open_remote(root, table, classes)
    _check_there(root)
    return _open_folder(root, table, classes) if root.is_dir() else _open_files([root], table, classes)


def _place(given: Any, what: str) -> AnyFile:
    if not isinstance(given, str | os.PathLike | Remote):
        raise DataError(f"{what} must be a path or an address, got {printable(repr(given)[:60])}.")
    return place_of(given)


def _open_remote(root: Remote, table: AnyFile | None, classes: Classes | None) -> ImageSource:
    """A folder at an address; of a web server that lists nothing, the files that its table of labels names."""
    if root.scheme not in WEB:
        return _open_folder(root, table, classes)
    try:
        listing = list_folder(root)
        if not listing.images and not listing.tables:
            raise _no_images(root, listing)
    except DataError:
        table = table or _own_table(root)
        if table is None:
            raise
    else:
        return _open_folder(root, table, classes, listing=listing)
    said = read_labels(table, classes)
    places: dict[str, AnyFile] = {own: root / quote(own) for own in said.labels}
    note = "The server lists no files: those that the labels name were taken."
    return _with_table(places, display_name(root), "folder", table, classes, notes=[note])


def _check_there(path: Path) -> None:
    try:
        path.stat()
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or cause
        raise DataError(f"no images at {printable(str(path))}: {reason}. Check the path.") from cause


def _open_files(paths: Sequence[AnyFile], table: AnyFile | None, classes: Classes | None) -> ImageSource:
    if not paths:
        raise DataError("the list of image files is empty. Give at least one file.")
    for path in paths:
        if isinstance(path, Remote):
            continue  # whether it is there turns out when it is fetched
        _check_there(path)
        if path.is_dir():
            raise DataError(f"{printable(str(path))} is a folder in a list of files. Open a folder by itself.")
    places, name = file_ids(paths), display_name(paths[0]) if len(paths) == 1 else f"{len(paths)} files"
    if all(path.suffix.lower() == ".parquet" for path in paths):
        return _open_parquet(places, name, table, classes)
    repeated = len(paths) - len(places)
    notes = [f"Files given twice: {repeated}."] if repeated else []
    return _with_table(places, name, "files", table, classes, notes=notes)


def _open_folder(
    root: AnyFile,
    table: AnyFile | None,
    classes: Classes | None,
    outer: AnyFile | None = None,
    listing: Listing[AnyFile] | None = None,
) -> ImageSource:
    listing = listing or list_folder(root)
    if not listing.images and listing.tables:
        source = _open_parquet(listing.tables, display_name(root), table, classes)
        return replace(source, notes=(*source.notes, *ignored(listing)))
    if not listing.images:
        raise _no_images(root, listing)
    if classes is None:
        notes = ignored(listing, but=OWN_LABELS)
        return _with_table(listing.images, display_name(root), "folder", None, None, notes=notes)
    if outer is None and _is_wrapped(root, listing):
        return _open_wrapped(root, listing, table or _own_table(root), classes)
    if not listing.flat and table is None:
        return _open_class_folders(root, listing, classes)
    if listing.folders and table is None:
        raise DataError(
            f"{printable(str(root))} holds images itself ({named(listing.flat, 2)}) and in sub-folders "
            f"({named(listing.folders, 2)}). Move either away, or give a labels file that names them."
        )
    name, table = display_name(outer or root), table or _own_table(root)
    own = {table.name} if table is not None and table.parent == root else ()
    return _with_table(listing.images, name, "folder", table, classes, notes=ignored(listing, but=own))


def _open_wrapped(
    root: AnyFile, listing: Listing[AnyFile], table: AnyFile | None, classes: Classes | None
) -> ImageSource:
    inner = _open_folder(root / "images", table, classes, outer=root)
    folders = [folder for folder in listing.folders if folder != "images"]
    notes = [f"Images beside the folder images were ignored: {named(folders)}."] if folders else []
    used = {table.name} if table is not None and table.parent == root else set()
    others = tuple(own for own in listing.others if not own.startswith("images/"))
    notes += ignored(replace(listing, tables={}, others=others, hidden=0), but=used)
    return replace(inner, notes=(*inner.notes, *notes))


def _is_wrapped(root: AnyFile, listing: Listing[AnyFile]) -> bool:
    """Whether the images are those in the sub-folder ``images``, described by a table beside it."""
    if listing.flat or "images" not in listing.folders:
        return False
    return listing.folders == ["images"] or _own_table(root) is not None


def _own_table(root: AnyFile) -> AnyFile | None:
    return next((root / name for name in OWN_LABELS if (root / name).is_file()), None)


def _no_images(root: AnyFile, listing: Listing[AnyFile]) -> DataError:
    known, others = " ".join(sorted(SUFFIXES)), listing.left_out()
    held = f", but other files: {others}" if others else ""
    return DataError(
        f"no images in the folder {printable(str(root))}{held}. Wanted files ending in {known} or .parquet."
    )


def _open_class_folders(root: AnyFile, listing: Listing[AnyFile], classes: Classes) -> ImageSource:
    meant = folder_classes(listing.folders, classes)
    labels = {own: meant[own.split("/", 1)[0]] for own in listing.images}
    return assemble(
        name=display_name(root),
        kind="class_folders",
        places=listing.images,
        labels=labels,
        fetch=read_place,
        notes=ignored(listing),
    )


def _open_parquet(
    files: Mapping[str, AnyFile], name: str, table: AnyFile | None, classes: Classes | None
) -> ImageSource:
    from gazeshift.data._parquet import parquet_source

    if table is not None:
        raise DataError(f"{printable(name)} is Parquet, whose labels are in its column label. Leave the labels out.")
    return parquet_source(files, name=name, classes=classes)


def _with_table(
    places: Mapping[str, AnyFile],
    name: str,
    kind: str,
    table: AnyFile | None,
    classes: Classes | None,
    *,
    notes: Iterable[str],
) -> ImageSource:
    """Image files with the labels of a table, if there is one and labels are asked for."""
    if table is None or classes is None:
        return assemble(name=name, kind=kind, places=places, labels=None, fetch=read_place, notes=notes)
    said = read_labels(table, classes)
    labels, absent = match(said, places.keys(), prefix="images/", chosen=kind == "files")
    notes = [*notes, f"Repeated rows of {said.name} ignored: {said.repeated}."] if said.repeated else notes
    return assemble(name=name, kind=kind, places=places, labels=labels, fetch=read_place, skipped=absent, notes=notes)
