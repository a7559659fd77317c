"""Lists of class names: text and JSON as the usual tools write them, and what is refused instead of being misread."""

from pathlib import Path

import pytest

from gazeshift.data import read_class_names
from gazeshift.errors import SettingsError

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

READ = {
    "one per line": ("names.txt", "tench, Tinca tinca\n\n dog \n", ("tench, Tinca tinca", "class 1", "dog")),
    "a byte order mark": ("names.txt", "\ufeffcat\r\ndog\r\n", ("cat", "dog")),
    "numbers": ("names.txt", "0\n1\n10\n", ("0", "1", "10")),
    "a JSON list": ("names.json", '["cat", "dog"]', ("cat", "dog")),
    "a JSON list in a text file": ("names.txt", '\n[\n"cat",\n"dog"\n]\n', ("cat", "dog")),
    "id2label": ("config", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
    "class_to_idx": ("names.json", '{"dog": 1, "cat": 0}', ("cat", "dog")),
    "class_to_idx of numbers": ("names.json", '{"0": 0, "1": 1, "10": 2, "2": 3}', ("0", "1", "10", "2")),
}


@pytest.mark.parametrize(("name", "text", "names"), READ.values(), ids=READ)
def test_class_names_are_read(tmp_path: Path, name: str, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert read_class_names(tmp_path / name) == names
    assert Deviation(classes=tmp_path / name).class_names() == names


REFUSED = {
    "a table": ("names.csv", "index,name\n0,cat\n", "it is a table (its first line is 'index,name')"),
    "a table in a text file": ("names.txt", "0,cat\n1,dog\n", "it is a table (its first line is '0,cat')"),
    "numbers and names": ("names.txt", "0: cat\n1: dog\n", "it is a table (its first line is '0: cat')"),
    "a list of Python": ("names.txt", "['cat', 'dog']", "it is no JSON ("),
    "a dictionary of Python": ("names.txt", "{0: 'cat',\n 1: 'dog'}", "it is no JSON ("),
    "broken JSON": ("names.json", "cat\ndog\n", "it is no JSON ("),
    "a number": ("names.json", "7", "its JSON is no list of names"),
    "a list of numbers": ("names.json", "[0, 1]", "its JSON is no list of names"),
    "a list of pairs": ("names.json", '[{"id": 0, "name": "cat"}]', "its JSON is no list of names"),
    "keras' index": ("names.json", '{"0": ["n01440764", "tench"]}', "its JSON does not pair every index with a name"),
    "a configuration": ("config.json", '{"id2label": {"0": "cat"}}', "its JSON does not pair every index with a name"),
    "a gap": ("names.json", '{"0": "cat", "2": "dog"}', "it has 0 names for class 1 and 2 in all"),
    "from 1": ("names.json", '{"1": "cat", "2": "dog"}', "it has 0 names for class 0 and 2 in all"),
    "twice": ("names.json", '{"0": "cat", "0": "dog"}', "it has 2 names for class 0 and 2 in all"),
    "nothing": ("names.txt", " \n", "it holds no name"),
    "no element": ("names.json", "[]", "it holds no name"),
    "no text": ("names.txt", "\udcff", "can't decode byte"),
}


@pytest.mark.parametrize(("name", "text", "why"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_misread_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError) as caught:
        read_class_names(tmp_path / name)
    assert str(caught.value).startswith(f"class names cannot be read from {tmp_path / name}")
    assert why in str(caught.value)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_class_names(tmp_path / "absent.txt")
