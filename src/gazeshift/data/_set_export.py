"""A set as two folders of PNG files that any program reads."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image
from torch import Tensor

from gazeshift.data._eight_bit import attacked_levels, to_levels
from gazeshift.data._sets import AdversarialSet, Pairs
from gazeshift.data._write import made_folder, replace_file, write_error
from gazeshift.errors import OutputError

CSV_COLUMNS = ("clean_class", "attacked_class", "success", "success_8bit")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        images: pairs of PNG files.
        success: examples that fooled the model as floats; None if the set does not say.
        success_8bit: of these, how many still do after rounding; None likewise.
        largest: largest change of a value in the files, in grey levels.
    """

    images: int
    success: int | None
    success_8bit: int | None
    largest: int


def export_set(
    found: AdversarialSet, out: Path, *, size: int = 32, progress: Callable[[int, int, str], None] = lambda *_: None
) -> Exported:
    """Write ``clean/``, ``attacked/`` and, last, ``labels.csv``; rounding keeps epsilon (see `attacked_levels`).

    The table has the columns file, id (the example's name in the set: ``cat.bmp`` where the file is ``cat.png``), label
    (empty if unknown) and, where the set says them, `CSV_COLUMNS`. `open_set` reads all of it again.

    One channel is a grey PNG, three are RGB; the last of two or four is its transparency.

    Raises:
        OutputError: more than four channels, or the folder is not empty or cannot be written.
        DataError: the set is damaged.
    """
    _check_channels(found)
    _prepare(out)
    attack = found.manifest.get("attack", {})
    names = dict(zip(found.ids, png_names(found.ids), strict=True))
    table: list[list[object]] = []
    fooled, still, largest = [], [], 0
    for pairs in found.batches(size):
        largest = max(largest, _write(pairs, names, out, attack.get("norm"), attack.get("epsilon")))
        table += _lines(pairs, names)
        fooled += [bool(value) for value in pairs.facts.get("success", ())]
        still += [bool(value) for value in pairs.facts.get("success_8bit", ())]
        progress(len(table), len(found), "images")
    columns = ["file", "id", "label", *(name for name in CSV_COLUMNS if fooled)]
    replace_file(out / "labels.csv", lambda path: path.write_text(_csv(columns, table), "utf-8"))
    both = [one and other for one, other in zip(fooled, still, strict=True)]
    known = bool(fooled)
    return Exported(
        images=len(table),
        success=sum(fooled) if known else None,
        success_8bit=sum(both) if known else None,
        largest=largest,
    )


def png_names(ids: Sequence[str]) -> list[str]:
    """A file name for each id, all different, inside the folder and allowed everywhere.

    >>> png_names(["cats/1.jpg", "cats/1.png", "../../etc/passwd"])
    ['cats/1.png', 'cats/1.png.png', 'etc/passwd.png']
    """
    taken: set[str] = set()
    names = []
    for own in ids:
        free = next(name for name in _candidates(own) if name.casefold() not in taken)
        taken.add(free.casefold())
        names.append(free)
    return names


def _candidates(own: str) -> Iterator[str]:
    parts = [_plain(part) for part in own.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    whole = PurePosixPath(*(parts or ["image"]))
    yield str(whole.with_suffix(".png"))
    yield f"{whole}.png"
    number = 2
    while True:
        yield f"{whole}~{number}.png"
        number += 1


def _plain(part: str) -> str:
    cleaned = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", part)
    return re.sub(r"^\.", "_", cleaned)[-200:]


def _check_channels(found: AdversarialSet) -> None:
    """Refuse what no PNG file holds, before anything is written."""
    channels = next((pairs.attacked.shape[1] for pairs in found.batches(1)), 1)
    if channels > 4:
        raise OutputError(
            f"a PNG file holds 1 to 4 channels, and the images of {found.path} have {channels}. Read the set in "
            "Python: gazeshift.data.open_set(path).batches()."
        )


def _prepare(out: Path) -> None:
    present = made_folder(out)
    if present:
        raise OutputError(f"{out} is not empty ({present[0]}), and an export begins in an empty folder: --out.")


def _write(pairs: Pairs, names: dict[str, str], out: Path, norm: str | None, epsilon: float | None) -> int:
    """One batch's files; the largest change in grey levels."""
    if pairs.images is None:
        for own, levels in zip(pairs.ids, to_levels(pairs.attacked), strict=True):
            _png(out / "attacked" / names[own], levels)
        return 0
    clean = to_levels(pairs.images)
    attacked = attacked_levels(pairs.images, pairs.attacked, norm=norm, epsilon=epsilon)
    for own, before, after in zip(pairs.ids, clean, attacked, strict=True):
        _png(out / "clean" / names[own], before)
        _png(out / "attacked" / names[own], after)
    return int((attacked.int() - clean.int()).abs().max()) if len(clean) else 0


def _png(file: Path, levels: Tensor) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)
        Image.fromarray(pixels.contiguous().numpy()).save(file, "PNG")
    except OSError as cause:
        raise write_error(file, cause, "Export again into an empty folder: --out.") from cause


def _lines(pairs: Pairs, names: dict[str, str]) -> list[list[object]]:
    labels = [""] * len(pairs) if pairs.labels is None else pairs.labels.tolist()
    columns = [pairs.facts[name].tolist() for name in CSV_COLUMNS if name in pairs.facts]
    return [[names[own], own, *rest] for own, *rest in zip(pairs.ids, labels, *columns, strict=True)]


def _csv(columns: list[str], table: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *table])
    return text.getvalue()
