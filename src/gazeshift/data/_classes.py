"""Which class of the model a word means: a WordNet id, a name, or one of a name's synonyms."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from gazeshift.errors import DataError, SettingsError
from gazeshift.summaries import printable

NUMBER = re.compile(r"-?[0-9]{1,9}")
GIVE_NAMES = "--classes FILE (class_names= in Python)"


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

    def read(self, words: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """The class that each word of a list means; and of every word that means none, or several, why.

        Numbers of one list are read one way: all as names, or all as class numbers. Where both ways fit and differ,
        neither is taken.

        >>> Classes(names=("ant", "bee")).read(["Bee", "0", "wasp"])
        ({'Bee': 1, '0': 0}, {'wasp': "'wasp' fits no class"})
        >>> Classes(names=("0", "10", "2")).read(["0", "2"]), Classes(names=("2", "1")).read(["1"])[0]
        (({'0': 0, '2': 2}, {}), {'1': 1})
        >>> Classes(names=("1", "0")).read(["1"])[1]["1"]
        "'1' is the name of class 0 and the number of class 1"
        """
        found = {word: self.find(word) for word in words}
        numbers = {word: int(word) for word in found if NUMBER.fullmatch(word.strip())}
        meant = {word: fitting[0] for word, fitting in found.items() if len(fitting) == 1}
        unclear = {word: _unclear(word, fitting) for word, fitting in found.items() if len(fitting) != 1}
        if all(map(self._has, numbers.values())) or not any(found[word] for word in numbers):
            meant |= numbers
            unclear = {word: why for word, why in unclear.items() if word not in numbers}
            unclear |= {word: why for word, number in numbers.items() if (why := self._odd(word, number, found[word]))}
        return {word: meant[word] for word in found if word not in unclear}, unclear

    def _odd(self, word: str, number: int, fitting: tuple[int, ...]) -> str | None:
        """What forbids to read a word as a number: there is no such class, or another one has it as its name."""
        if not self._has(number):
            return self._beyond(number)
        if fitting in ((), (number,)):
            return None
        return f"'{printable(word)}' is the name of {_listed(fitting)} and the number of class {number}"

    def in_range(self, index: int) -> int:
        """The index itself.

        Raises:
            DataError: below zero, or not below the number of classes; a part of a sentence.
        """
        if not self._has(index):
            raise DataError(self._beyond(index))
        return index

    def _has(self, index: int) -> bool:
        return index >= 0 and (self.count is None or index < self.count)

    def _beyond(self, index: int) -> str:
        return f"{index} is not a class from 0 to {'...' if self.count is None else self.count - 1}"

    @property
    def accepted(self) -> str:
        """Sentences that say what may name a class, and what to do if names are missing or are numbers."""
        ways = [f"a WordNet id ({self.wnids[0]})"] if self.wnids else []
        ways += [f"a class name ('{self.names[0]}')"] if self.names else []
        upper = f"from 0 to {self.count - 1}" if self.count else "from 0 (the model gives no names)"
        said = f"Accepted: {', '.join([*ways, f'a class number {upper}'])}."
        if not self.names:
            return f"{said} Give the names of the model's classes with {GIVE_NAMES}."
        if any(NUMBER.fullmatch(name) for name in self.names):
            return f"{said} Of classes named by numbers, give other names with {GIVE_NAMES}, and use them here."
        return said

    @cached_property
    def _by_wnid(self) -> dict[str, tuple[int, ...]]:
        return _table(self.wnids, lambda wnid: [_key(wnid)])

    @cached_property
    def _by_name(self) -> dict[str, tuple[int, ...]]:
        return _table(self.names, lambda name: [_key(name)])

    @cached_property
    def _by_synonym(self) -> dict[str, tuple[int, ...]]:
        return _table(self.names, _synonyms)


def model_classes(class_names: Sequence[str], wnids: Sequence[str]) -> Classes:
    """The classes of a model as its user gives them.

    Raises:
        SettingsError: one of the lists is a text, or holds something else than texts.
    """
    for what, given in (("class_names", class_names), ("wnids", wnids)):
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            raise SettingsError(
                f"{what} must be a list with one text for each class, got {printable(repr(given)[:60])}."
            )
    return Classes(names=tuple(class_names), wnids=tuple(wnids))


def folder_classes(folders: Iterable[str], classes: Classes) -> dict[str, int]:
    """Class of each class folder, by name; as numbers only if every folder is one in range. Never by their order.

    Raises:
        DataError: names the folders that fit no class or several, and says what would be accepted.
    """
    folders = list(folders)
    meant, unclear = classes.read(folders)
    if not all(NUMBER.fullmatch(folder.strip()) for folder in folders):
        unclear |= {word: _unclear(word, ()) for word in meant if not classes.find(word)}
    if unclear:
        raise DataError(
            f"{len(unclear)} of {len(folders)} class folders fit no class of the model, or several: "
            f"{first_few(unclear.values())}. {classes.accepted} Numbers count only if every folder is one. Rename the "
            "folders, or give a labels file."
        )
    return meant


def first_few(sentences: Iterable[str], most: int = 5) -> str:
    """The first few parts of a sentence, and how many more there are."""
    sentences = list(sentences)
    return "; ".join(sentences[:most]) + (f"; and {len(sentences) - most} more" if len(sentences) > most else "")


def named(words: Iterable[str], most: int = 5) -> str:
    """The first few words in quotes, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(f"'{printable(word)}'" for word in words[:most]) + more


def _unclear(word: str, fitting: tuple[int, ...]) -> str:
    return f"'{printable(word)}' fits {_listed(fitting)}"


def _listed(fitting: tuple[int, ...]) -> str:
    if len(fitting) < 2:
        return f"class {fitting[0]}" if fitting else "no class"
    return f"classes {' and '.join(map(str, fitting[:3]))}"


def _key(text: str) -> str:
    """What two spellings of a name share; a number is its value, and keeps its sign."""
    text = text.strip()
    if NUMBER.fullmatch(text):
        return str(int(text))
    sign = "-" if re.match(r"-[0-9.]", text) else ""
    return sign + re.sub(r"[\s_,\-]+", " ", text).strip().casefold()


def _synonyms(name: str) -> list[str]:
    return [key for part in name.split(",") if (key := _key(part))]


def _table(words: tuple[str, ...], keys: Callable[[str], list[str]]) -> dict[str, tuple[int, ...]]:
    table: dict[str, tuple[int, ...]] = {}
    for index, word in enumerate(words):
        for key in dict.fromkeys(keys(word)):
            table[key] = (*table.get(key, ()), index)
    return table
