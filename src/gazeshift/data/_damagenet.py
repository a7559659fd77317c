"""DAmageNet (Chen et al. 2019, arXiv:1912.07160, and 2022, TPAMI): two releases with different layouts.

Version 1 has 96,020 images in one folder per class, in ImageNet's order of classes. Version 2 has the 50,000 images of
ImageNet's validation set as PNG in one folder; their labels are those of ``val.txt`` with the suffix replaced.
Both were attacked at 224 x 224, after a resize with Pillow's default of the time, which was NEAREST.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gazeshift.data._classes import Classes, folder_classes
from gazeshift.data._folder_pairs import TABLES, assembled, labels_of, without_suffix
from gazeshift.data._labels import read_labels
from gazeshift.data._sets import AdversarialSet
from gazeshift.data.decode import read_image
from gazeshift.data.files import Listing, ignored, list_folder
from gazeshift.errors import DataError, ImageError
from gazeshift.summaries import printable

SIDE = 224
IMAGENET_FILE = re.compile(r"ILSVRC2012_(val|train|test)_\d{8}|n\d{8}_\d+")
CLASS_FOLDER = re.compile(r"n\d{8}|\d{1,4}")


def damagenet_version(folder: Path) -> int | None:
    """2 for a flat folder of ImageNet's names, 1 for class folders of such, None for anything else.

    The first image must be 224 x 224, so that ImageNet itself is not taken for DAmageNet.
    """
    listing = list_folder(folder)
    stems = [Path(own).stem for own in listing.images]
    if not stems or not all(IMAGENET_FILE.fullmatch(stem) for stem in stems):
        return None
    if not _fits(next(iter(listing.images.values()))):
        return None
    if len(listing.flat) == len(stems):
        return 2
    is_by_class = not listing.flat and all(CLASS_FOLDER.fullmatch(name) for name in listing.folders)
    return 1 if is_by_class else None


def open_damagenet(
    folder: Path, *, version: int, clean: Path | None, labels: Path | None, classes: Classes, size: int | None
) -> AdversarialSet:
    """DAmageNet as a set.

    Args:
        folder: of the attacked images.
        version: see `damagenet_version`.
        clean: ImageNet's own files, flat or in class folders; None leaves the set without clean images.
        labels: ``val.txt``; of version 2 looked for in the folder and beside it if not given.
        classes: ImageNet's.
        size: of the model's input: larger pads with black, smaller crops about the centre.

    Raises:
        DataError: no images, or labels that do not fit.
    """
    listing = list_folder(folder)
    attacked = _by_stem(listing, folder)
    if version == 1:
        known: Mapping[str, int] | None = _labels(folder, listing, labels, classes)
    else:
        beside = (place / "val.txt" for place in (folder, folder.parent))
        table = labels or next((file for file in beside if file.is_file()), None)
        known = labels_of(attacked, None if table is None else read_labels(table, classes))
    originals = None if clean is None else list_folder(clean)
    notes = [] if known else ["no val.txt was found, so the classes are not known: --labels"]
    return assembled(
        folder,
        attacked,
        None if originals is None or clean is None else _by_stem(originals, clean),
        known,
        kind=f"DAmageNet v{version}",
        read_attacked=_attacked,
        read_clean=_clean,
        size=size,
        notes=[*notes, *(note for one in (listing, originals) if one for note in ignored(one, but=TABLES))],
    )


def counterpart(image: Float[Tensor, "channels h w"]) -> Float[Tensor, "3 224 224"]:
    """An ImageNet photograph as DAmageNet's authors brought it to 224 x 224, before they attacked it.

    Short side to 224 by NEAREST, long side cut to an integer, then the middle; an odd rest leaves one more pixel on
    the right or below. Other filters differ from the attacked image by more than 100 grey levels.
    """
    levels = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(levels)
    short, long = min(picture.size), max(picture.size)
    stretched = max(SIDE, int(SIDE / short * long))  # in this order: the rounding of floats decides single pixels
    target = (stretched, SIDE) if picture.width > picture.height else (SIDE, stretched)
    picture = picture.resize(target, Image.Resampling.NEAREST)
    left, top = ((side - SIDE) // 2 for side in picture.size)
    middle = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))
    return torch.from_numpy(np.divide(middle.transpose(2, 0, 1), 255, dtype=np.float32, order="C"))


def _fits(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.size == (SIDE, SIDE)
    except (OSError, ValueError):
        return False


def _attacked(path: Path, own: str, _channels: int) -> Tensor:
    image = read_image(path, name=own)
    if image.shape[1:] != (SIDE, SIDE):
        raise ImageError(
            f"{printable(own)} is {image.shape[2]} x {image.shape[1]} pixels, and DAmageNet's are {SIDE} x {SIDE}. "
            "Resized, they lose their effect: give the original files."
        )
    return image


def _clean(path: Path, own: str, _channels: int) -> Tensor:
    return counterpart(read_image(path, name=own))


def _by_stem(listing: Listing[Path], folder: Path) -> dict[str, Path]:
    """Files by name without folder and suffix: ImageNet's names are unique by themselves."""
    return without_suffix({Path(own).name: path for own, path in listing.images.items()}, folder)


def _labels(folder: Path, listing: Listing[Path], table: Path | None, classes: Classes) -> dict[str, int]:
    """Version 1: the class folder, by WordNet id or number."""
    if table is not None:
        raise DataError(f"{printable(str(folder))} is DAmageNet version 1, labelled by its folders. Leave labels out.")
    meant = folder_classes(listing.folders, classes)
    return {Path(own).stem: meant[own.split("/", 1)[0]] for own in listing.images}
