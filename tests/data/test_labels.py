"""Labels: names to classes, tables to labels, and every way in which they can fail to fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gazeshift.data import open_source
from gazeshift.data._classes import Classes, folder_classes
from gazeshift.errors import DataError, SettingsError

NAMES = ("tench, Tinca tinca", "great white shark, man-eater", "crane", "crane", "maillot", "maillot, tank suit")
WNIDS = ("n00000010", "n00000020", "n00000030", "n00000040", "n00000050", "n00000060")

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder of images by these names, with a table of labels beside it."""

    def make(*names: str, text: str = "", table: str = "table.csv", encoding: str = "utf-8") -> Path:
        root = tmp_path / "photos"
        root.mkdir()
        for name in names:
            Image.new("RGB", (8, 8)).save(root / name)
        (tmp_path / table).write_bytes(text.encode(encoding))
        return root

    return make


def labels_of(root: Path, table: str = "table.csv", **model: tuple[str, ...]) -> dict[str, int | None]:
    source = open_source(root, labels=root.parent / table, **model)
    return dict(zip(source.ids, source.labels, strict=True))


def refusal(root: Path, table: str = "table.csv", **model: tuple[str, ...]) -> str:
    with pytest.raises(DataError) as caught:
        open_source(root, labels=root.parent / table, **model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- classes by name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("n00000020", (1,)),
        ("N00000020", (1,)),
        ("tench, Tinca tinca", (0,)),
        ("TENCH", (0,)),
        ("tinca_tinca", (0,)),
        ("tench-tinca-tinca", (0,)),
        ("Great_White-Shark", (1,)),
        ("man eater", (1,)),
        ("great white shark, Carcharodon", (1,)),
        ("crane", (2, 3)),
        ("maillot", (4,)),  # a whole name beats a synonym
        ("tank suit", (5,)),
        ("tank", ()),
        ("", ()),
        (",", ()),
    ],
)
def test_find(text: str, found: tuple[int, ...]) -> None:
    assert Classes(names=NAMES, wnids=WNIDS).find(text) == found


def test_a_synonym_of_two_classes_is_ambiguous() -> None:
    classes = Classes(names=("crane, bird", "crane, machine"))
    assert classes.find("crane") == (0, 1)
    assert classes.read(["crane"]) == ({}, {"crane": "'crane' fits classes 0 and 1"})


def test_every_imagenet_name_finds_its_class() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    wnids = tuple(info.label_names())
    classes = Classes(names=tuple(info.index_to_description(index) for index in range(1000)), wnids=wnids)
    assert [classes.find(wnid) for wnid in wnids] == [(index,) for index in range(1000)]
    found = [classes.find(name) for name in classes.names]
    assert all(index in indices for index, indices in enumerate(found))
    assert sum(len(indices) > 1 for indices in found) <= 4  # crane, a bird and a machine, is really twice there
    assert classes.find("crane") == (134, 517)


def test_folders_are_mapped_by_name_never_by_order() -> None:
    classes = Classes(names=("zebra", "ant", "moth"))
    assert folder_classes(["ant", "moth", "zebra"], classes) == {"ant": 1, "moth": 2, "zebra": 0}


def test_number_folders_count_only_together_and_in_range() -> None:
    classes = Classes(names=("zebra", "ant", "moth"))
    assert folder_classes(["02", "0"], classes) == {"02": 2, "0": 0}
    with pytest.raises(DataError, match="3 is not a class from 0 to 2"):
        folder_classes(["1", "2", "3"], classes)
    with pytest.raises(
        DataError, match="1 of 2 class folders fit no class of the model, or several: '1' fits no class"
    ):
        folder_classes(["1", "ant"], classes)


# --- names that are numbers: one meaning for folders, tables and Parquet, or a refusal that names both readings

SORTED = tuple(sorted(map(str, range(12))))  # as torchvision's ImageFolder numbers folders: "10" is class 2
BOTH = "'10' is the name of class 2 and the number of class 10"


@pytest.mark.parametrize(
    ("names", "words", "meant"),
    [
        (SORTED, ["0", "1"], {"0": 0, "1": 1}),  # name and number agree
        (tuple(map(str, range(12))), ["3", "10", "007"], {"3": 3, "10": 10, "007": 7}),
        (("1", "2", "3"), ["1", "3"], {"1": 0, "3": 2}),  # no class has the number 3: they are names
        (("1", "2", "3"), ["0"], {"0": 0}),
        (("001", "002", "003"), ["3", "002"], {"3": 2, "002": 1}),
        (("cat", "10"), ["10", "cat"], {"10": 1, "cat": 0}),
        (("cat", "dog"), ["1", " 0"], {"1": 1, " 0": 0}),
        (("-1", "0", "1"), ["-1"], {"-1": 0}),
    ],
)
def test_words_that_are_numbers(names: tuple[str, ...], words: list[str], meant: dict[str, int]) -> None:
    assert Classes(names=names).read(words) == (meant, {})


@pytest.mark.parametrize(
    ("names", "words", "word", "why"),
    [
        (SORTED, ["0", "10"], "10", BOTH),
        (("1", "2", "3"), ["1", "2"], "1", "'1' is the name of class 0 and the number of class 1"),
        (("007", *"123456789"), ["7"], "7", "'7' is the name of classes 0 and 7 and the number of class 7"),
        (("1", "2", "3"), ["0", "3"], "0", "'0' fits no class"),  # not one as a number and the other as a name
        (("cat", "1"), ["-1"], "-1", "-1 is not a class from 0 to 1"),
        (("1.5", "cat"), ["-1.5"], "-1.5", "'-1.5' fits no class"),
        (("cat", "dog"), ["1.0"], "1.0", "'1.0' fits no class"),
        (("cat", "dog"), ["1e0"], "1e0", "'1e0' fits no class"),
        (("7", "7", "cat"), ["7"], "7", "'7' fits classes 0 and 1"),
        (("7", "7", "cat"), ["2", "7"], "2", "'2' fits no class"),
    ],
)
def test_words_that_are_numbers_and_fit_no_class_or_two_ways(
    names: tuple[str, ...], words: list[str], word: str, why: str
) -> None:
    assert Classes(names=names).read(words)[1][word] == why


def test_a_label_that_is_a_name_and_another_number_is_refused_wherever_it_stands(folder: Folder) -> None:
    root = folder("a.png", text="file,label\na.png,10\n")
    message = refusal(root, class_names=SORTED)
    assert f"line 2: {BOTH}" in message
    assert "give other names with --classes FILE (class_names= in Python)" in message
    (root.parent / "val.txt").write_text("a.png 10\n")
    assert BOTH in refusal(root, "val.txt", class_names=SORTED)
    (root / "10").mkdir()
    (root / "a.png").rename(root / "10" / "a.png")
    with pytest.raises(DataError, match=BOTH):
        open_source(root, class_names=SORTED)
    assert open_source(root, class_names=tuple(map(str, range(12)))).labels == (10,)
    assert open_source(root).labels == (10,)


@pytest.mark.parametrize("given", [{"class_names": "cat"}, {"class_names": [0, 1]}, {"wnids": "n01440764"}])
def test_class_names_that_are_no_list_of_texts_are_refused(folder: Folder, given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="must be a list with one text for each class"):
        open_source(folder("a.png"), **given)


# --- CSV tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_delimiter_and_column_order(folder: Folder, delimiter: str) -> None:
    rows = [["name", "label", "file"], ["x", "2", "b.png"], ["y", "1", "a.png"]]
    root = folder("a.png", "b.png", text="\n".join(delimiter.join(row) for row in rows))
    assert labels_of(root) == {"a.png": 1, "b.png": 2}


def test_index_wnid_and_name_are_labels(folder: Folder) -> None:
    text = 'file,label\na.png,3\nb.png,n00000020\nc.png,"tench, Tinca tinca"\nd.png,tank_suit\n'
    root = folder("a.png", "b.png", "c.png", "d.png", text=text)
    assert labels_of(root, class_names=NAMES, wnids=WNIDS) == {"a.png": 3, "b.png": 1, "c.png": 0, "d.png": 5}


def test_byte_order_mark_windows_line_ends_capitals_and_blank_lines(folder: Folder) -> None:
    root = folder("a.png", text='\ufeff"File", Label\r\n\r\na.png,7\r\n', encoding="utf-8")
    assert labels_of(root) == {"a.png": 7}


def test_leading_blank_line_does_not_turn_the_header_into_a_row(folder: Folder) -> None:
    assert labels_of(folder("a.png", text="\nfile,label\na.png,7\n")) == {"a.png": 7}


def test_hostile_names(folder: Folder) -> None:
    names = ["a\nb.png", 'q"uote.png', "<script>alert(1).png", "комма, имя.png", "-rf.png", "a;b|c.png", "é 🦆.png"]
    cells = "".join('"{}",{}\n'.format(name.replace('"', '""'), k) for k, name in enumerate(names))
    root = folder(*names, text=f"file,label\n{cells}")
    assert labels_of(root) == {name: k for k, name in enumerate(names)}


def test_missing_files_and_images_without_label_are_skipped_with_reason(folder: Folder) -> None:
    root = folder("a.png", "b.png", "c.png", text="file,label\na.png,1\ngone.png,2\nc.png,\n")
    source = open_source(root, labels=root.parent / "table.csv")
    assert source.ids == ("a.png",)
    reasons = {skipped.id: skipped.reason for skipped in source.skipped}
    assert reasons == {
        "gone.png": "named in table.csv (line 3), but there is no such image",
        "b.png": "no label",
        "c.png": "no label",
    }


def test_nothing_left_is_an_error_that_shows_both_sides(folder: Folder) -> None:
    message = refusal(folder("a.png", text="file,label\nother.png,1\n"))
    assert "none of the 1 images has a label in table.csv" in message
    assert "'other.png'" in message
    assert "'a.png'" in message


def test_unknown_labels_are_named_with_their_lines(folder: Folder) -> None:
    rows = "".join(f"a.png,weird{k}\n" for k in range(8))
    message = refusal(folder("a.png", text=f"file,label\n{rows}a.png,tench\n"), class_names=NAMES, wnids=WNIDS)
    assert "8 of 9 labels in table.csv do not fit the model: line 2: 'weird0' fits no class; line 3:" in message
    assert "line 6: 'weird4' fits no class; and 3 more" in message
    assert "n00000010" in message


def test_ambiguous_label_is_an_error(folder: Folder) -> None:
    root = folder("a.png", text="file,label\na.png,crane\n")
    assert "line 2: 'crane' fits classes 2 and 3" in refusal(root, class_names=NAMES)


@pytest.mark.parametrize("label", ["6", "-1", "1000"])
def test_index_out_of_range(folder: Folder, label: str) -> None:
    root = folder("a.png", text=f"file,label\na.png,{label}\n")
    assert f"line 2: {label} is not a class from 0 to 5" in refusal(root, class_names=NAMES)


def test_index_has_no_upper_limit_if_the_model_names_no_classes(folder: Folder) -> None:
    assert labels_of(folder("a.png", text="file,label\na.png,1000\n")) == {"a.png": 1000}


def test_wnid_must_agree_with_the_index(folder: Folder) -> None:
    root = folder("a.png", "b.png", text="file,label,wnid\na.png,0,n00000010\nb.png,0,n00000020\n")
    message = refusal(root, class_names=NAMES, wnids=WNIDS)
    assert "1 of 2 labels" in message
    assert "line 3: label '0' is class 0, but wnid 'n00000020' is class 1" in message
    assert labels_of(root, class_names=NAMES) == {"a.png": 0, "b.png": 0}  # a model that knows no wnids


def test_repeated_rows_are_noted_and_conflicting_ones_refused(folder: Folder) -> None:
    root = folder("a.png", "b.png", text="file,label\na.png,1\n./a.png,1\nb.png,0\n")
    source = open_source(root, labels=root.parent / "table.csv")
    assert source.labels == (1, 0)
    assert source.notes == ("Repeated rows of table.csv ignored: 1.",)
    (root.parent / "table.csv").write_text("file,label\na.png,1\nb.png,0\na.png,2\n")
    assert "gives 'a.png' two labels: 1 (line 2) and 2 (line 4)" in refusal(root)


def test_backslashes_of_windows_are_paths(folder: Folder) -> None:
    root = folder("a.png", "b.png", "c\\d.png", text="file,label\n.\\a.png,1\nimages\\b.png,2\nc\\d.png,3\n")
    assert labels_of(root) == {"a.png": 1, "b.png": 2, "c\\d.png": 3}


def test_a_label_of_a_file_that_is_not_read_says_so(folder: Folder) -> None:
    root = folder("a.png", text="file,label\na.png,1\nIMG_1.HEIC,2\n")
    (skipped,) = open_source(root, labels=root.parent / "table.csv").skipped
    assert skipped.reason == "named in table.csv (line 3), but files ending in .HEIC are not read"


def test_conflict_hidden_by_the_folder_name_is_refused(folder: Folder) -> None:
    root = folder("a.png", text="file,label\na.png,1\nimages/a.png,2\n")
    assert "gives 'a.png' two labels: 1 and 2" in refusal(root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png,1\n", "wanted a header with the columns file and label"),
        ("path,label\na.png,1\n", "wanted a header with the columns file and label"),
        ("file,label\na.png\n", "line 2: the row has no 'label' cell"),
        ("file,label\n,1\n", "line 2: the file cell is empty"),
        ('file,label\n"a.png,1\n', "is not CSV"),
        ("file,label\n", "names no image"),
        ("", "wanted a header"),
    ],
)
def test_malformed_tables(folder: Folder, text: str, said: str) -> None:
    assert said in refusal(folder("a.png", text=text))


def test_table_that_is_not_text_or_absent(folder: Folder) -> None:
    root = folder("a.png", text="file,label\né.png,1\n", encoding="latin-1")
    assert "are not UTF-8 text" in refusal(root)
    assert "cannot be read: No such file" in refusal(root, "nowhere.csv")
    assert "cannot be read" in refusal(root, "photos")


# --- "name label" lines


def test_imagenet_val_txt(folder: Folder) -> None:
    names = [f"ILSVRC2012_val_{k:08d}.JPEG" for k in (1, 2, 3)]
    text = "".join(f"{name} {label}\n" for name, label in zip(names, (65, 970, 230), strict=True))
    root = folder(*names, text=text, table="val.txt")
    assert labels_of(root, "val.txt") == dict(zip(names, (65, 970, 230), strict=True))


def test_lines_with_tabs_wnids_and_spaces_in_names(folder: Folder) -> None:
    text = "val 0.png\tn00000020\t0\t0\t63\t63\n\nmy photo.png tench\n"
    root = folder("val 0.png", "my photo.png", text=text, table="annotations.txt")
    assert labels_of(root, "annotations.txt", class_names=NAMES, wnids=WNIDS) == {"my photo.png": 0, "val 0.png": 1}


def test_line_without_label(folder: Folder) -> None:
    root = folder("a.png", text="a.png 1\nb.png\n", table="val.txt")
    assert "val.txt line 2: wanted \"name label\", got 'b.png'" in refusal(root, "val.txt")
