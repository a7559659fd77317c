"""Parquet tables of images in the Hugging Face layout."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gazeshift.data import open_source
from gazeshift.data._parquet import ParquetRows
from gazeshift.errors import DataError

IMG = ("img", "label")
NAMES = ("ant", "bee", "crane", "crane")


def encoded(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    path: Path,
    labels: list[Any] | None,
    *,
    count: int = 10,
    names: list[str] | None = None,
    struct: bool = True,
    group: int = 3,
    columns: tuple[str, str] = ("image", "label"),
    start: int = 0,
) -> Path:
    contents = [encoded(start + k) for k in range(count)]
    images: Any = [{"bytes": content, "path": f"{k}.png"} for k, content in enumerate(contents)] if struct else contents
    table = pa.table({columns[0]: images} | ({} if labels is None else {columns[1]: labels}))
    features = {columns[0]: {"_type": "Image"}, columns[1]: {"_type": "ClassLabel", "names": names}}
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.mark.parametrize("struct", [True, False])
def test_rows_become_images(tmp_path: Path, struct: bool) -> None:
    source = open_source(write(tmp_path / "t.parquet", [k % 3 for k in range(10)], struct=struct))
    assert (source.name, source.kind, len(source)) == ("t.parquet", "parquet", 10)
    assert source.ids[:2] == ("00000000", "00000001")
    assert source.labels == tuple(k % 3 for k in range(10))
    batches = list(source.batches(4))
    assert [len(batch.ids) for batch in batches] == [4, 4, 2]
    assert (torch.cat([batch.images for batch in batches])[:, 0, 0, 0] * 255).round().tolist() == list(range(10))


def test_folder_of_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [1] * 4, count=4, start=10)
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0] * 10)
    (tmp_path / "README.md").write_text("card")
    source = open_source(tmp_path)
    assert source.ids[9:11] == (
        "data/train-00000-of-00002.parquet#00000009",
        "data/train-00001-of-00002.parquet#00000000",
    )
    assert source.labels == (0,) * 10 + (1,) * 4
    assert (source.read().images[:, 0, 0, 0] * 255).round().tolist() == list(range(14))


def test_each_row_group_is_read_once_and_lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    source = open_source(write(tmp_path / "t.parquet", None, count=60, group=10))
    assert read == []
    assert next(source.batches(2)).ids == ("00000000", "00000001")
    assert set(read) <= {0, 1}
    read.clear()
    assert len(open_source(tmp_path / "t.parquet").read().ids) == 60
    assert sorted(read) == list(range(6))


def test_class_names_decide_where_they_differ(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [0, 1] * 5, names=["Bee", "ant"])
    assert open_source(path, class_names=NAMES).labels == (1, 0) * 5
    assert open_source(path).labels == (0, 1) * 5
    assert open_source(path, wnids=("n01", "n02")).labels == (0, 1) * 5
    path = write(tmp_path / "w.parquet", [0, 1] * 5, names=["n02", "n01"])
    assert open_source(path, wnids=("n01", "n02")).labels == (1, 0) * 5


def test_numbers_are_indices_of_the_table_and_its_names_may_be_numbers(tmp_path: Path) -> None:
    numbers, ordered = [str(k) for k in range(12)], tuple(sorted(map(str, range(12))))
    path = write(tmp_path / "t.parquet", [3, 10] * 5, names=numbers)  # as Hugging Face names classes without names
    assert open_source(path, class_names=tuple(numbers)).labels == (3, 10) * 5
    assert open_source(path, class_names=tuple(f"digit {k}" for k in range(12))).labels == (3, 10) * 5
    with pytest.raises(DataError, match="'10' is the name of class 2 and the number of class 10"):
        open_source(path, class_names=ordered)
    path = write(tmp_path / "u.parquet", [2, 3] * 5, names=list(ordered))
    assert open_source(path, class_names=ordered).labels == (2, 3) * 5  # its index and its name agree
    assert open_source(path, class_names=tuple(numbers)).labels == (10, 11) * 5
    path = write(tmp_path / "v.parquet", [0, 1] * 5, names=["1", "2", "3"])
    with pytest.raises(DataError, match="'1' fits no class"):
        open_source(path, class_names=("cat", "dog", "eel"))
    assert open_source(write(tmp_path / "w.parquet", [10] * 10), class_names=ordered).labels == (10,) * 10


def test_texts_that_are_numbers_are_read_one_way_over_all_files(tmp_path: Path) -> None:
    write(tmp_path / "data" / "0.parquet", ["0"] * 10)
    write(tmp_path / "data" / "1.parquet", ["3"] * 10)
    with pytest.raises(DataError, match="'0' fits no class"):  # "3" is a name and can be no number
        open_source(tmp_path, class_names=("1", "2", "3"))
    assert open_source(tmp_path, class_names=("a", "b", "c", "d")).labels == (0,) * 10 + (3,) * 10
    path = write(tmp_path / "t.parquet", ["10", ""] * 5)
    assert len(open_source(path, class_names=tuple(map(str, range(12))))) == 5
    with pytest.raises(DataError, match="'10' is the name of class 2 and the number of class 10"):
        open_source(path, class_names=tuple(sorted(map(str, range(12)))))


def test_same_names_go_by_index_also_where_two_are_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [2, 3] * 5, names=list(NAMES))
    assert open_source(path, class_names=NAMES).labels == (2, 3) * 5
    path = write(tmp_path / "u.parquet", [2, 3] * 5, names=["ant", "a bee", "crane", "crane"])
    assert open_source(path, class_names=NAMES).labels == (2, 3) * 5


def test_class_name_that_fits_nothing_or_several(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [0, 1] * 5, names=["wasp", "crane"])
    with pytest.raises(DataError, match="'wasp' fits no class; 'crane' fits classes 2 and 3"):
        open_source(path, class_names=NAMES)
    with pytest.raises(DataError, match="'wasp' fits no class"):
        open_source(write(tmp_path / "v.parquet", [0] * 10, names=["wasp"]), class_names=NAMES)
    path = write(tmp_path / "u.parquet", [1] * 10, names=["wasp", "ant"])
    assert open_source(path, class_names=NAMES).labels == (0,) * 10  # the unknown name is not used


@pytest.mark.parametrize(("label", "said"), [(4, "4 is not a class from 0 to 3"), (-2, "-2 is not a class")])
def test_index_out_of_range(tmp_path: Path, label: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_source(write(tmp_path / "t.parquet", [label] * 10), class_names=NAMES)
    with pytest.raises(DataError, match=f"{label} is not one of the table's 2 classes"):
        open_source(write(tmp_path / "u.parquet", [label] * 10, names=["bee", "ant"]), class_names=NAMES)


def test_words_as_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", ["BEE", "n01"] * 5)
    assert open_source(path, class_names=NAMES, wnids=("n01", "n02", "n03", "n04")).labels == (1, 0) * 5
    with pytest.raises(DataError, match="neither a number nor a name"):
        open_source(write(tmp_path / "u.parquet", [0.5] * 10))


def test_no_labels_and_unknown_ones(tmp_path: Path) -> None:
    assert not open_source(write(tmp_path / "a.parquet", None)).has_labels
    assert not open_source(write(tmp_path / "b.parquet", [-1] * 10)).has_labels
    source = open_source(write(tmp_path / "c.parquet", [1, None, -1, *[0] * 7]))
    assert len(source) == 8
    assert [(skipped.id, skipped.reason) for skipped in source.skipped] == [
        ("00000001", "no label"),
        ("00000002", "no label"),
    ]


def test_columns_named_by_the_features(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [1] * 10, names=["bee", "ant"], columns=("img", "fine_label"))
    source = open_source(path, class_names=NAMES)
    assert source.labels == (0,) * 10
    assert source.read(0, 2).images.shape == (2, 3, 8, 8)


def test_rows_without_or_with_broken_bytes_are_skipped(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": "/etc/hostname"}, None, {"bytes": b"broken", "path": None}, {"bytes": encoded(7)}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind)}), tmp_path / "t.parquet")
    batch = open_source(tmp_path / "t.parquet").read()
    assert batch.ids == ("00000003",)
    reasons = [skipped.reason for skipped in batch.skipped]
    assert ["holds no bytes" in reason for reason in reasons] == [True, True, False]
    assert "is not an image" in reasons[2]


def test_no_image_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png"], "label": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet has the columns image \(string\), label \(int64\); wanted"):
        open_source(tmp_path / "t.parquet")


def test_broken_file(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but no table")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet") as caught:
        open_source(tmp_path / "t.parquet")
    assert "\n" not in str(caught.value)


def test_damaged_row_group_skips_its_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", None, count=60, group=20)
    source = open_source(path)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    batch = source.read()
    assert len(batch.ids) == 40
    assert all("damaged part of its Parquet file" in skipped.reason for skipped in batch.skipped)


def test_empty_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="holds no image that can be used"):
        open_source(tmp_path)


def test_files_with_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1] * 10)
    for other in (
        write(tmp_path / "b.parquet", None),
        write(tmp_path / "c.parquet", [1] * 10, names=["a"], columns=IMG),
    ):
        with pytest.raises(DataError, match=rf"{other.name} has other columns than the files beside it"):
            open_source([tmp_path / "a.parquet", other])


def test_label_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("file,label\n")
    with pytest.raises(DataError, match="is Parquet, whose labels are in its column label"):
        open_source(write(tmp_path / "t.parquet", None), labels=tmp_path / "l.csv")


def test_limit_and_pickle(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "t.parquet", None), limit=4, seed=3)
    levels = (source.read().images[:, 0, 0, 0] * 255).round().int().tolist()
    assert levels == [int(own) for own in source.ids]
    other = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert isinstance(other.fetch, ParquetRows)
    assert torch.equal(other.read().images, source.read().images)


def test_no_label_is_read_for_who_asks_for_none(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "t.parquet", ["ant", "-", None], count=3), labelled=False)
    assert (len(source), source.labels, source.skipped) == (3, (None,) * 3, ())
