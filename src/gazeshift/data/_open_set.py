"""Opening a set: what lies in the folder is found out."""

import os
from collections.abc import Sequence
from pathlib import Path

from gazeshift.data._classes import Classes, model_classes
from gazeshift.data._damagenet import damagenet_version, open_damagenet
from gazeshift.data._folder_pairs import pair_folders
from gazeshift.data._sets import AdversarialSet
from gazeshift.data._shards import is_saved, open_saved
from gazeshift.errors import DataError, SettingsError
from gazeshift.models import Preprocessing
from gazeshift.summaries import printable

AnyPath = str | os.PathLike[str]


def open_set(
    path: AnyPath,
    *,
    clean: AnyPath | None = None,
    labels: AnyPath | None = None,
    preprocessing: Preprocessing | None = None,
    size: int | None = None,
    class_names: Sequence[str] = (),
    wnids: Sequence[str] = (),
) -> AdversarialSet:
    """Adversarial examples in a folder, in one of these forms; no pixel is read yet.

    * A set that ``gazeshift attack`` wrote. The other arguments are not for it.
    * DAmageNet, version 1 (class folders) or 2 (flat), recognised by ImageNet's file names. `clean` is ImageNet's own
      folder; its images are brought to 224 x 224 as DAmageNet's authors did (NEAREST).
    * A folder with sub-folders ``clean`` and ``attacked``, such as an export; or any folder of attacked images with
      `clean` another one. Images belong together by their path below the folder, whatever the suffix.

    Args:
        path: the folder.
        clean: folder of the clean images.
        labels: CSV with columns file and label (and perhaps id, which then names the examples, as in an export), or
            ``val.txt``; found by itself inside the folders.
        preprocessing: resize and crop of the clean files, if the attacked ones were made from such; its channels are
            those of all pictures. Without it there are three; see `AdversarialSet.for_channels`.
        size: pad with black, or crop about the centre, to this height and width. Nothing is resized.
        class_names: the model's, to understand labels; ImageNet's if neither is given and DAmageNet is opened.
        wnids: the model's.

    Raises:
        DataError: no set; a damaged, unfinished or later one; labels or counterparts that do not fit.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"no adversarial set at {printable(str(folder))}: it is not a folder. Check the path.")
    partner, table = (None if one is None else Path(one).expanduser() for one in (clean, labels))
    if is_saved(folder):
        if partner or table or preprocessing or size:
            raise SettingsError(f"{printable(str(folder))} is a saved set and has its clean images and labels within.")
        return open_saved(folder)
    classes = model_classes(class_names, wnids)
    if partner is None and all((folder / half).is_dir() for half in ("clean", "attacked")):
        folder, partner = folder / "attacked", folder / "clean"
    elif version := damagenet_version(folder):
        classes = classes if classes.count else _imagenet()
        return open_damagenet(folder, version=version, clean=partner, labels=table, classes=classes, size=size)
    if partner is None:
        raise DataError(
            f"{printable(str(folder))} is no adversarial set: it holds neither manifest.json, nor folders clean and "
            "attacked, nor DAmageNet. Give the clean images' folder too, if these are attacked ones."
        )
    return pair_folders(folder, partner, labels=table, classes=classes, preprocessing=preprocessing, size=size)


def _imagenet() -> Classes:
    from gazeshift.models import imagenet_names

    names, wnids = imagenet_names()
    return Classes(names=names, wnids=wnids)
