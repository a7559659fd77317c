"""What version 0.1 wrote still opens: a finished study, an unfinished one, a set and a detector, made by its commands.

Each folder's manifest says the command that made it, in this folder.
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gazeshift as gs
from gazeshift import report, scale
from gazeshift.report.tables_read import read_rows
from gazeshift.runs.store import Store
from gazeshift.serve.study_explorer.deviation import DeviationTables
from gazeshift.serve.study_explorer.tables import Page

HERE = Path(__file__).parent / "version_0_1"
ROWS = [(name, "ascending") for name in ("image", "kind", "target", "layer", "cam", "measure")]
MODEL = ("--model", "module:tiny_network.py:tiny", "--device", "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A copy of what it wrote, as the current folder: models and images are named by relative paths."""
    made = shutil.copytree(HERE, tmp_path / "made")
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize("study", ["deviation", "transfer"])
def test_a_finished_study_has_its_report(study, folder, run):
    code, _, wrong = run("report", study)
    assert code == 0, wrong
    assert (folder / study / "report.html").stat().st_size > 100_000
    assert list(report.make(folder / study).findings)


@pytest.mark.parametrize("study", ["deviation", "transfer"])
def test_an_unfinished_study_goes_on(study, folder, run):
    place = folder / study
    manifest = json.loads((place / "manifest.json").read_text())
    kept = {key: manifest[key] for key in ("schema", "settings")} | {"holds": "study", "status": "running"}
    (place / "manifest.json").write_text(json.dumps(kept))
    tables = {file.name: pq.read_table(file) for file in place.glob("*.parquet")}
    for file in (*place.glob("*.parquet"), *place.glob("parts/000001-*")):
        file.unlink()
    before = {file.name: file.stat().st_mtime_ns for file in place.glob("parts/*.parquet")}
    flags = manifest["command"].split()[1:]
    if study == "deviation":
        code, _, wrong = run(*flags)
        assert code == 2, "its tables would mix runs with two measures and with all of today's"
        assert "made with other settings (measures: None there, ['cosine', 'nissim', 'area'" in wrong
        flags += ["--measures", "cosine,nissim"]
    code, _, wrong = run(*flags)
    assert code == 0, wrong
    after = {file.name: file.stat().st_mtime_ns for file in place.glob("parts/*.parquet")}
    assert before.items() <= after.items(), "what was done is done again"
    rows, expected = pq.read_table(place / "rows.parquet"), tables["rows.parquet"]
    if study == "deviation":  # a row for each measure now
        rows, expected = (read_rows(made).sort_by(ROWS) for made in (place, HERE / study))
        assert np.abs(np.subtract(rows["value"], expected["value"])).max() < 1e-3
        assert rows.select(["layer", "cam", "measure"]).equals(expected.select(["layer", "cam", "measure"]))
    assert rows.num_rows == expected.num_rows
    for name in ("image", "attack", "label"):
        if name in expected.column_names:
            assert rows[name].equals(expected[name])


def test_a_study_with_more_measures_is_another_one(folder, run):
    flags = json.loads((folder / "deviation/manifest.json").read_text())["command"].split()[1:]
    code, _, wrong = run(*flags, "--measures", "cosine")
    assert code == 2
    assert "made with other settings (measures: None there, ['cosine'] now)" in wrong


def test_the_explorer_opens_its_study(folder):
    tables = DeviationTables(folder / "deviation")
    rows = read_rows(folder / "deviation").to_pylist()
    wanted = {"strength": 1.0, "kind": "attacked", "target": "predicted", "cam": "grad_cam", "layer": "second"}
    for measure in ("cosine", "nissim"):
        found = tables.listed(Page(chosen={"measure": measure, "layer": "second"})).rows
        mine = [row for row in rows if (wanted | {"measure": measure}).items() <= row.items()]
        values = {row["image"]: None if row["blank"] else row["value"] for row in mine}
        assert {row["image"]: row["value"] for row in found} == pytest.approx(values, abs=1e-5)
    assert {key.rpartition("|")[2] for key in tables.image(rows[0]["image"]).moved} == {"cosine", "nissim"}
    assert not any("layer_cam|nissim" in key for key in tables.image(rows[0]["image"]).moved), "not computed"
    tables.store.close()


def test_a_set_opens_and_is_what_it_says(folder, run):
    opened = gs.open_set(folder / "set")
    assert len(opened) == 12
    code, said, wrong = run("set", "verify", "set", *MODEL)
    assert code == 0, said + wrong
    study = ("study", "deviation", *MODEL, "--images", "images", "--attack", "fgsm", "--epsilon", "0.3", "--limit", 2)
    assert run(*study, "--layers", "convs", "--out", "new")[0] == 0


def test_a_detector_judges(folder, run):
    code, said, wrong = run(
        "detect", "score", "images/000.png", *MODEL, "--detector", "detector", "--seed", 3, "--json"
    )
    assert code == 0, wrong
    verdict = json.loads(said.splitlines()[0])
    assert verdict["suspicion"] == pytest.approx(-0.332374, abs=1e-3)  # as version 0.1 said
    assert verdict["threshold"] == pytest.approx(1.144151, abs=1e-5)
    loaded = gs.CalibratedDetector.load(folder / "detector")
    verdict = gs.judge(gs.load(MODEL[1], device="cpu"), gs.open_source("images").read(0, 2).images, loaded)
    assert verdict.suspicion.shape == (2,)


def test_a_set_that_is_half_made_goes_on(folder, run):
    manifest = json.loads((folder / "set" / "manifest.json").read_text())
    shards = sorted((folder / "set" / "shards").glob("*.parquet"))
    shards[-1].unlink()
    store = Store(folder / "set", holds="set", cells="shards", main="shard")
    store.write_manifest({key: manifest[key] for key in ("schema", "settings")} | {"holds": "set", "status": "running"})
    before = shards[0].stat().st_mtime_ns
    code, _, wrong = run(*manifest["command"].split()[1:])
    assert code == 0, wrong
    assert shards[0].stat().st_mtime_ns == before
    assert len(gs.open_set(folder / "set")) == 12


@pytest.mark.parametrize(
    ("old", "new"),
    [("Deployed", "CalibratedDetector"), ("Sighting", "DetectorInput"), ("sight", "detector_inputs")],
)
def test_old_names_work_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=f"gazeshift.{old} is called gazeshift.{new} now"):
        assert getattr(gs, old) is getattr(gs, new)


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("gazeshift.interventions.jpeg", "Jpeg", "gazeshift.transforms.jpeg"),
        ("gazeshift.interventions.mask_maps", "MaskMaps", "gazeshift.model_edits.mask_maps"),
    ],
)
def test_old_modules_work_with_a_warning(module, name, new, monkeypatch):
    for known in [known for known in sys.modules if known.startswith("gazeshift.interventions")]:
        monkeypatch.delitem(sys.modules, known)
    with pytest.warns(DeprecationWarning, match=f"{module} is called {new} now"):
        found = importlib.import_module(module)
    assert getattr(found, name) is getattr(importlib.import_module(new), name)


def test_runs_with_workers_begin_as_before(folder):
    deviation = gs.find("studies", "deviation")
    settings = deviation(model=MODEL[1], device="cpu", images="images", limit=4, attack="fgsm", layers="convs")
    job = scale.Job(start=deviation.run, settings=settings, out=folder / "new")
    with pytest.warns(DeprecationWarning, match=r"gazeshift\.scale is gazeshift\.runs\.executors now"):
        assert scale.run(job, scale.Scale(workers=1)) == folder / "new"
    assert json.loads((folder / "new/manifest.json").read_text())["workers"] == {"kind": "processes", "count": 1}


def test_old_families_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match="'interventions' is called 'transforms' now"):
        assert gs.build("interventions", "jpeg:quality=75") == gs.build("transforms", "jpeg:quality=75")


def test_a_module_that_never_was_is_not_there():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gazeshift.interventions_of_the_future")
