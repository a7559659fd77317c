"""Lists of class names: text with one name per line, or JSON as the usual tools write it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazeshift.errors import SettingsError
from gazeshift.summaries import printable

WANTED = (
    'Wanted one name per line, in the order of the class index, or JSON: ["cat", "dog"], {"0": "cat", "1": "dog"} or '
    '{"cat": 0, "dog": 1}.'
)


def read_class_names(file: Path) -> tuple[str, ...]:
    """Names of a model's classes, in the order of the class index; one without a name is called ``class 7``.

    Args:
        file: text with one name per line, where a line may be empty; or JSON: a list of names, a dictionary from
            index to name (as `id2label` of Hugging Face), or one from name to index (as `class_to_idx` of torchvision).

    Raises:
        SettingsError: it cannot be read, or is something else, such as a table.
    """
    try:
        text = file.read_text("utf-8-sig").rstrip()
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(f"class names cannot be read from {file} ({cause}).") from cause
    if file.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        names = _of_json(text, file)
    else:
        names = text.splitlines()
        _check_lines(names, file)
    if not names:
        raise _refused(file, "it holds no name")
    return tuple(name.strip() or f"class {index}" for index, name in enumerate(names))


def _of_json(text: str, file: Path) -> Sequence[str]:
    try:
        given = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as cause:
        raise _refused(file, f"it is no JSON ({cause})") from cause
    if isinstance(given, _Pairs):
        return _of_pairs(given, file)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise _refused(file, "its JSON is no list of names")
    return given


class _Pairs(list[tuple[str, Any]]):
    """A JSON object of anybody's, so of any values; with what it says twice."""


def _of_pairs(given: _Pairs, file: Path) -> Sequence[str]:
    """Names by index, or indices by name; every index from 0 once."""
    if all(isinstance(value, int) and not isinstance(value, bool) for _, value in given):
        numbered = [(value, key) for key, value in given]
    elif all(re.fullmatch("[0-9]{1,9}", key) and isinstance(value, str) for key, value in given):
        numbered = [(int(key), value) for key, value in given]
    else:
        raise _refused(file, "its JSON does not pair every index with a name")
    numbered.sort()
    indices = [index for index, _ in numbered]
    if indices != list(range(len(numbered))):
        odd = next((index for index in range(len(numbered)) if indices.count(index) != 1), indices[-1])
        raise _refused(file, f"it has {indices.count(odd)} names for class {odd} and {len(numbered)} in all")
    return [name for _, name in numbered]


def _check_lines(lines: Sequence[str], file: Path) -> None:
    """Refuse a table, of which whole lines would be taken for names."""
    numbered = all(re.match(rf"{index}\s*[,;:\t|]", line) for index, line in enumerate(lines))
    if file.suffix.lower() in (".csv", ".tsv") or (numbered and lines):
        raise _refused(file, f"it is a table (its first line is '{printable(lines[0][:60]) if lines else ''}')")


def _refused(file: Path, why: str) -> SettingsError:
    return SettingsError(f"class names cannot be read from {printable(str(file))}: {why}. {WANTED}")
