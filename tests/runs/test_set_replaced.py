"""A study goes on with the set that it began with, or does all again: another set at the same place never mixes in."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gazeshift as gs
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from helpers import ding_study as _ding_study
from helpers import renkhoff_study as _renkhoff_study

Ding2022 = pytest.importorskip("gazeshift.studies.ding2022.settings").Ding2022
Renkhoff2022 = pytest.importorskip("gazeshift.studies.renkhoff2022.settings").Renkhoff2022


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return _ding_study.make_parts(tmp_path_factory.mktemp("parts"))


def write_set(place: Path, parts: dict, epsilon: float) -> None:
    """Ten examples with the same ids and labels, whatever the epsilon."""
    shutil.rmtree(place, ignore_errors=True)
    given = {name: parts[name] for name in ("model", "images")}
    settings = SetSettings(**given, epsilon=epsilon, health_images=0, device="cpu")
    AttackRun("pgd", settings, place).run()


def seen_of(place: Path) -> tuple:
    """What the study knew of a set without its content."""
    found = gs.open_set(place)
    return found.ids, found.column("label")


class StoppedError(Exception):
    """In the place of a kill."""


def stop_after(what: str):
    def progress(done: int, total: int, said: str) -> None:
        if what in said:
            raise StoppedError

    return progress


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@pytest.mark.parametrize("finish", [True, False])
def test_a_study_of_a_replaced_set_is_the_one_of_the_new_set(parts, tmp_path, finish):
    place = tmp_path / "made"
    settings = Renkhoff2022(
        **_renkhoff_study.SETTINGS | {"model": parts["model"], "set": place, "attack": "pgd", "coverage_seeds": 0}
    )
    write_set(place, parts, 0.5)
    if finish:
        settings.run(tmp_path / "out")
    else:
        with pytest.raises(StoppedError):
            settings.run(tmp_path / "out", progress=stop_after("seeds"))
    before = seen_of(place)
    write_set(place, parts, 0.4)
    assert seen_of(place) == before
    settings.run(tmp_path / "out")
    settings.run(tmp_path / "fresh")
    assert tables(tmp_path / "out") == tables(tmp_path / "fresh")


def test_a_training_never_reads_the_pixels_of_the_set_before(parts, tmp_path):
    place = tmp_path / "made"
    given = _ding_study.SMALL | {name: parts[name] for name in ("model", "detector")} | {"sets": f"strong={place}"}
    settings = Ding2022(**given)
    write_set(place, parts, 0.5)
    with pytest.raises(StoppedError):
        settings.run(tmp_path / "out", progress=stop_after("training steps"))
    assert len(list((tmp_path / "out/scratch").glob("*.npy"))) == 1
    write_set(place, parts, 0.4)
    settings.run(tmp_path / "out")
    settings.run(tmp_path / "fresh")
    assert tables(tmp_path / "out") == tables(tmp_path / "fresh")
    assert pq.read_table(tmp_path / "out/training.parquet").num_rows


def test_folders_of_pictures_are_told_apart_by_the_size_of_their_files(parts, tmp_path):
    for half in ("clean", "attacked"):
        shutil.copytree(parts["images"], tmp_path / half)
    first = gs.open_set(tmp_path).identity
    assert gs.open_set(tmp_path).identity == first
    moved = shutil.copytree(tmp_path, tmp_path / "elsewhere")
    assert gs.open_set(moved).identity == first
    shutil.copy(tmp_path / "clean/000.png", tmp_path / "attacked/001.png")
    with (tmp_path / "attacked/001.png").open("ab") as file:
        file.write(b" ")
    assert gs.open_set(tmp_path).identity != first
