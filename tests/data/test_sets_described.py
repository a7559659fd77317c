"""What a set binds itself to, what a run of it tells on the way, and what its readers make of it."""

import hashlib
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import gazeshift as gs
from gazeshift.data import open_set, open_source, verify_set
from gazeshift.errors import DataError, OutputError
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.settings import StudySettings
from helpers.quadrant_sets import manifest_of, settings_for, shards_of
from helpers.small_study import NETWORK, make_images, make_network


class KilledError(Exception):
    """In the place of a kill."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished set; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("made")
    return AttackRun("fgsm", settings_for(folder, batch_size=2), folder / "set").run()


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "set"))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in shards_of(folder)}


def other_label(images: Path) -> None:
    table = images / "labels.csv"
    table.write_text(table.read_text().replace("001.png,1", "001.png,2"))


def other_name(images: Path) -> None:
    (images / "001.png").rename(images / "0015.png")
    table = images / "labels.csv"
    table.write_text(table.read_text().replace("001.png", "0015.png"))


@pytest.mark.parametrize("change", [other_label, other_name])
def test_a_set_of_other_images_or_labels_is_not_gone_on_with(tmp_path, change):
    chosen = settings_for(tmp_path, batch_size=2)
    out = AttackRun("fgsm", chosen, tmp_path / "set").run()
    before = state(out)
    change(tmp_path / "images")
    with pytest.raises(OutputError, match=r"other settings \(image_list: \w{20} there, \w{20} now\)"):
        AttackRun("fgsm", chosen, out).run()
    assert state(out) == before


def test_a_set_whose_model_prepares_images_otherwise_is_not_gone_on_with(tmp_path):
    """The same name and the same weights, but the pictures are brought to another size."""
    model, images = make_network(tmp_path), make_images(tmp_path / "images", 2)
    chosen = settings_for(tmp_path, batch_size=2, model=model, images=images)
    out = AttackRun("fgsm", chosen, tmp_path / "set").run()
    before = state(out)
    (tmp_path / "tiny_network.py").write_text(NETWORK.replace("input_size = 32", "input_size = 128"))
    with pytest.raises(OutputError, match=r"\(preprocessing: .*crop=32.* there, .*crop=128.* now\)"):
        AttackRun("fgsm", chosen, out).run()
    assert state(out) == before


def test_a_run_killed_between_its_last_shard_and_its_manifest_is_finished(made, tmp_path):
    chosen, out, told = settings_for(made.parent, batch_size=2), tmp_path / "set", []

    def killed(done: int, total: int, _: str) -> None:
        if done == total:
            raise KilledError

    with pytest.raises(KilledError):
        AttackRun("fgsm", chosen, out, progress=killed).run()
    before = state(out)
    assert len(before) == 3
    with pytest.raises(DataError, match=r"is unfinished \(3 shards so far\)"):
        open_set(out)
    AttackRun("fgsm", chosen, out, progress=lambda *given: told.append(given)).run()
    assert (state(out), told) == (before, [])
    for name in ("status", "shards", "counts", "settings"):
        assert manifest_of(out)[name] == manifest_of(made)[name]
    assert len(open_set(out)) == 10


def test_progress_counts_unreadable_images_and_ends_at_the_total(tmp_path):
    chosen, told = settings_for(tmp_path, batch_size=2), []
    for number in (1, 5, 9):
        (tmp_path / "images" / f"{number:03d}.png").write_bytes(b"x")

    def run() -> None:
        told.clear()
        AttackRun("fgsm", chosen, tmp_path / "set", progress=lambda *given: told.append(given)).run()

    run()
    assert told == [(done, 10, "images") for done in (1, 3, 4, 5, 7, 8, 9, 10)]
    shards_of(tmp_path / "set")[1].unlink()
    run()
    assert told == [(done, 10, "images") for done in (7, 9, 10)]


def test_what_was_left_out_before_any_image_was_opened_was_asked_for_too(tmp_path):
    chosen = settings_for(tmp_path, batch_size=2)
    table = tmp_path / "images" / "labels.csv"
    table.write_text(table.read_text().replace("003.png,3\n", "absent.png,3\n"))
    (tmp_path / "images" / "005.png").write_bytes(b"x")
    manifest = manifest_of(AttackRun("fgsm", chosen, tmp_path / "set").run())
    assert {skip["id"] for skip in manifest["skipped"]} == {"003.png", "005.png", "absent.png"}
    assert {name: manifest["counts"][name] for name in ("asked", "used", "skipped")} == {
        "asked": 11,
        "used": 8,
        "skipped": 3,
    }


def test_a_study_draws_its_examples_of_a_set_with_the_seed(made):
    def drawn(seed: int) -> SetSource:
        return open_pairs(made, StudySettings(limit=5, seed=seed))

    found, whole = open_set(made), open_pairs(made, StudySettings())
    choices = [drawn(seed).ids for seed in range(4)]
    assert choices == [drawn(seed).ids for seed in range(4)]
    assert len({found.ids[:5], *choices}) == 5
    for choice in map(drawn, range(4)):
        assert choice.ids == tuple(own for own in found.ids if own in choice.ids)
        assert len(choice) == 5
        known = dict(zip(whole.ids, whole.labels, strict=True))
        assert choice.labels == tuple(known[own] for own in choice.ids)
        assert choice.pairs(choice.ids).labels.tolist() == list(choice.labels)


def rewritten(folder: Path, name: str, change: Callable[[list], list]) -> None:
    """Change a column of the first shard, and let the manifest's hash fit again."""
    file = shards_of(folder)[0]
    table, manifest = pq.read_table(file), manifest_of(folder)
    at = table.schema.get_field_index(name)
    values = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(at, name, values), file)
    content = file.read_bytes()
    manifest["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def the_model(made: Path) -> gs.Classifier:
    return gs.load(manifest_of(made)["settings"]["model"], device="cpu")


@pytest.mark.parametrize("kind", ["clean", "attacked"])
def test_the_largest_difference_is_that_of_the_whole_set(copy, made, kind):
    """It lies in the first of five batches, and is within the tolerance."""
    rewritten(copy, f"{kind}_confidence", lambda column: [column[0] - 0.004, *column[1:]])
    seen = verify_set(open_set(copy), the_model(made), size=2)
    assert seen.problems == ()
    assert seen.largest == pytest.approx(0.004, abs=1e-5)


@pytest.mark.parametrize("kind", ["clean", "attacked"])
def test_a_confidence_that_is_no_number_does_not_hold(copy, made, kind):
    rewritten(copy, f"{kind}_confidence", lambda column: [column[0], math.nan, *column[2:]])
    (problem,) = verify_set(open_set(copy), the_model(made)).problems
    assert problem.startswith(f"001.png: the {kind} image is class ")
    assert problem.endswith("with nan")


def write_table(path: Path, labels: list[int], names: list[str] | None) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    table = pa.table({"image": [buffer.getvalue()] * len(labels), "label": labels})
    features = {"label": {"_type": "ClassLabel", "names": names}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(told if names else None), path)


def test_each_of_several_parquet_files_goes_by_its_own_class_names(tmp_path):
    write_table(tmp_path / "a.parquet", [0, 1], ["bee", "ant"])
    write_table(tmp_path / "b.parquet", [0, 1], ["ant", "crane"])
    write_table(tmp_path / "c.parquet", [0, 1], None)
    source = open_source(tmp_path, class_names=("ant", "bee", "crane"))
    assert source.ids == tuple(f"{file}.parquet#{row:08d}" for file in "abc" for row in (0, 1))
    assert source.labels == (1, 0, 0, 2, 0, 1)
