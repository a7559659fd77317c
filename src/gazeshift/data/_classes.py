"""Which class of the model a word means: a WordNet id, a name, or one of a name's synonyms."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from gazeshift.data._decode import printable
from gazeshift.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a model, found by name. Case does not matter; spaces, ``_`` and ``-`` are the same.

    Args:
        names: one per class, or empty; a name may be several synonyms with commas between ("tench, Tinca tinca").
        wnids: WordNet ids, one per class, or empty.
    """

    names: tuple[str, ...] = ()
    wnids: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """Number of classes, None if the model does not say."""
        return max(len(self.names), len(self.wnids)) or None

    def find(self, text: str) -> tuple[int, ...]:
        """Every class that the text may mean: none, one, or several if it is ambiguous.

        A whole name beats a synonym. A text with commas also fits by its own synonyms.

        >>> fish = Classes(names=("tench, Tinca tinca", "tiger_shark", "crane", "crane"))
        >>> fish.find("tinca-tinca"), fish.find("Tiger shark"), fish.find("crane"), fish.find("eel")
        ((0,), (1,), (2, 3), ())
        """
        whole = _key(text)
        for table in (self._by_wnid, self._by_name, self._by_synonym):
            if whole in table:
                return table[whole]
        found = {index for part in _synonyms(text) for index in self._by_synonym.get(part, ())}
        return tuple(sorted(found))

    def index(self, text: str) -> int:
        """The class that the text means. A number is a class index.

        Raises:
            DataError: none or several classes fit, or the number is out of range; a part of a sentence.
        """
        text = text.strip()
        if re.fullmatch(r"-?[0-9]{1,9}", text):
            return self.in_range(int(text))
        found = self.find(text)
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"'{printable(text)}' fits classes {' and '.join(map(str, found[:3]))}")
        raise DataError(f"'{printable(text)}' fits no class")

    def in_range(self, index: int) -> int:
        """The index itself.

        Raises:
            DataError: below zero, or not below the number of classes; a part of a sentence.
        """
        if index < 0 or (self.count is not None and index >= self.count):
            raise DataError(f"{index} is not a class from 0 to {'...' if self.count is None else self.count - 1}")
        return index

    @property
    def accepted(self) -> str:
        """A sentence that says what may name a class."""
        ways = [f"a WordNet id ({self.wnids[0]})"] if self.wnids else []
        ways += [f"a class name ('{self.names[0]}')"] if self.names else []
        upper = f"from 0 to {self.count - 1}" if self.count else "from 0 (the model gives no names)"
        return f"Accepted: {', '.join([*ways, f'a class number {upper}'])}."

    @cached_property
    def _by_wnid(self) -> dict[str, tuple[int, ...]]:
        return _table(self.wnids, lambda wnid: [_key(wnid)])

    @cached_property
    def _by_name(self) -> dict[str, tuple[int, ...]]:
        return _table(self.names, lambda name: [_key(name)])

    @cached_property
    def _by_synonym(self) -> dict[str, tuple[int, ...]]:
        return _table(self.names, _synonyms)


def folder_classes(folders: Iterable[str], classes: Classes) -> dict[str, int]:
    """Class of each class folder, by name; as numbers only if every folder is one in range. Never by their order.

    Raises:
        DataError: names the folders that fit no class or several, and says what would be accepted.
    """
    found = {folder: classes.find(folder) for folder in folders}
    if all(len(indices) == 1 for indices in found.values()):
        return {folder: indices[0] for folder, indices in found.items()}
    if all(re.fullmatch(r"[0-9]{1,9}", folder) for folder in found):
        return numbered(found, classes)
    bad = [folder for folder, indices in found.items() if len(indices) != 1]
    raise DataError(
        f"{len(bad)} of {len(found)} class folders fit no class of the model, or several: {named(bad)}. "
        f"{classes.accepted} Numbers count only if every folder is one. Rename the folders, or give a labels file."
    )


def numbered(folders: Iterable[str], classes: Classes) -> dict[str, int]:
    """Class folders named by class index.

    Raises:
        DataError: an index is out of range.
    """
    try:
        return {folder: classes.in_range(int(folder)) for folder in folders}
    except DataError as cause:
        raise DataError(f"class folders named by numbers must be classes of the model, but {cause}.") from cause


def named(words: Iterable[str], most: int = 5) -> str:
    """The first few words in quotes, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(f"'{printable(word)}'" for word in words[:most]) + more


def _key(text: str) -> str:
    return re.sub(r"[\s_,\-]+", " ", text).strip().casefold()


def _synonyms(name: str) -> list[str]:
    return [key for part in name.split(",") if (key := _key(part))]


def _table(words: tuple[str, ...], keys: Callable[[str], list[str]]) -> dict[str, tuple[int, ...]]:
    table: dict[str, tuple[int, ...]] = {}
    for index, word in enumerate(words):
        for key in dict.fromkeys(keys(word)):
            table[key] = (*table.get(key, ()), index)
    return table
