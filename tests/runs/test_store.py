"""What a long run may take over from an earlier one, and what it must not: other images, other weights, other bytes."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift.errors import OutputError
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult, Store
from helpers.small_study import NETWORK, make_images, make_network

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

CELL = Cell(number=0, inputs={"seed": 0}, ids=("a.png", "b.png"))
SMALL = {"attack": "fgsm", "epsilon": "16/255", "strengths": "1", "layers": "convs", "gallery": 0, "device": "cpu"}


@pytest.fixture
def settings(tmp_path) -> dict:
    return {**SMALL, "images": make_images(tmp_path / "images", 8), "model": make_network(tmp_path)}


class StoppedError(Exception):
    """In the place of a kill."""


def stop(*_: object) -> None:
    raise StoppedError


def test_going_on_with_another_batch_size_loses_no_image(settings, tmp_path):
    with pytest.raises(StoppedError):
        Deviation(**settings, batch_size=2).run(tmp_path / "out", progress=stop)
    assert list((tmp_path / "out" / "parts").glob("000000-*"))
    out = Deviation(**settings, batch_size=4).run(tmp_path / "out")
    seen = [row["image"] for row in pq.read_table(out / "images.parquet").to_pylist() if row["kind"] == "attacked"]
    assert seen == [f"{number:03d}.png" for number in range(8)]


def relabel(folder: Path) -> None:
    table = folder / "images" / "labels.csv"
    table.write_text(table.read_text().replace("001.png,1", "001.png,2"))


def rename(folder: Path) -> None:
    (folder / "images" / "000.png").rename(folder / "images" / "0000.png")
    table = folder / "images" / "labels.csv"
    table.write_text(table.read_text().replace("000.png", "0000.png"))


def train(folder: Path) -> None:
    (folder / "tiny_network.py").write_text(NETWORK.replace("manual_seed(0)", "manual_seed(1)"))


def key_of(settings: dict, folder: Path, version: int = 1, stage: str = "rows", **inputs: object) -> str:
    return Run("a study", version, Deviation(**settings), folder / "out").cells(stage, **inputs)[0].key


@pytest.mark.parametrize("change", [relabel, rename, train])
def test_a_cell_is_another_one_when_what_lies_at_the_same_place_has_changed(change: Callable, settings, tmp_path):
    before = key_of(settings, tmp_path)
    assert key_of(settings, tmp_path) == before
    change(tmp_path)
    assert key_of(settings, tmp_path) != before


def test_a_cell_is_another_one_for_each_thing_that_decides_its_rows(settings, tmp_path):
    found = [
        key_of(settings, tmp_path),
        key_of(settings, tmp_path, version=2),
        key_of(settings, tmp_path, stage="thresholds"),
        key_of(settings, tmp_path, chosen="first"),
        key_of(settings | {"seed": 1}, tmp_path),
        key_of(settings | {"attack": "pgd"}, tmp_path),
        key_of(settings | {"input_size": 24}, tmp_path),
        key_of(settings | {"bf16": True}, tmp_path),
        key_of(settings | {"batch_size": 3}, tmp_path),
    ]
    assert len(set(found)) == len(found)


def test_a_cell_is_the_same_wherever_its_images_lie(settings, tmp_path):
    before = key_of(settings, tmp_path)
    moved = (tmp_path / "images").rename(tmp_path / "moved")
    assert key_of(settings | {"images": moved, "labels": moved / "labels.csv"}, tmp_path) == before


def result() -> CellResult:
    plain = {"compression": "none", "use_dictionary": False}
    table = pa.table({"number": list(range(100))})
    return CellResult(tables={"rows": table, "beside": table}, options=plain)


def opened(folder: Path, **settings: object) -> Store:
    store = Store(folder)
    store.open(settings)
    return store


@pytest.mark.parametrize("name", ["rows", "beside"])
def test_one_flipped_bit_in_a_table_that_can_still_be_read_is_noticed(name, tmp_path):
    store = opened(tmp_path)
    store.save(CELL, result())
    assert store.has(CELL)
    part = store.place(CELL, name)
    content = bytearray(part.read_bytes())
    content[content.index((50).to_bytes(8, "little"))] ^= 1
    part.write_bytes(content)
    assert pq.read_table(part).num_rows == 100
    assert not store.has(CELL)


@pytest.mark.parametrize("status", ["running", "finished"])
def test_a_setting_that_is_told_no_more_is_another_setting(status, tmp_path):
    """Those that speed a run up are told only when chosen, and change the rows."""
    store = opened(tmp_path, seed=0, bf16=True)
    store.save(CELL, result())
    store.write_manifest(store.manifest() | {"status": status})
    for other in ({"seed": 0}, {"seed": 1, "bf16": True}):
        with pytest.raises(OutputError, match=r"other settings \((bf16: True there, None|seed: 0 there, 1) now"):
            opened(tmp_path, **other)
    assert store.manifest()["settings"] == {"seed": 0, "bf16": True}


@pytest.mark.parametrize(("said", "message"), [({"schema": 99}, "later gazeshift"), ({"holds": "set"}, "holds a set")])
def test_the_folder_of_a_later_version_or_of_another_kind_is_left_alone(said, message, tmp_path):
    store = opened(tmp_path)
    store.save(CELL, result())
    store.write_manifest(store.manifest() | said)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match=message):
        opened(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_a_join_that_fails_half_way_leaves_the_table_of_before(tmp_path, monkeypatch):
    store, cells = opened(tmp_path), [replace(CELL, number=number) for number in range(3)]
    for cell in cells:
        store.save(cell, result())
    before = store.join(cells[:2], "rows").read_bytes()
    real, written = pq.ParquetWriter.write_table, []

    def full(writer: pq.ParquetWriter, table: pa.Table) -> None:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(table)
        real(writer, table)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OutputError, match="the disk is full"):
        store.join(cells, "rows")
    assert (tmp_path / "rows.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "parts", "rows.parquet"]


def test_parts_are_joined_in_the_order_of_the_cells(tmp_path):
    store, cells = opened(tmp_path), [replace(CELL, number=number, ids=(f"{number}.png",)) for number in (2, 0, 1)]
    for cell in cells:
        store.save(cell, CellResult(tables={"rows": pa.table({"number": [cell.number]})}))
    assert pq.read_table(store.join(cells, "rows"))["number"].to_pylist() == [2, 0, 1]


def test_a_lock_that_somebody_has_just_removed_is_none(tmp_path, monkeypatch):
    """Between opening the file and locking it, who had it before may end."""
    fcntl = pytest.importorskip("fcntl")
    place, real, tries = tmp_path / "parts" / ".lock", fcntl.lockf, []

    def late(file: int, how: int) -> None:
        if not tries:
            place.unlink()
        tries.append(file)
        real(file, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    store = opened(tmp_path)
    assert len(tries) == 2
    assert place.is_file()
    del store
    assert not place.exists()
