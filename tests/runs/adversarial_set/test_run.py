"""Adversarial sets: lossless, resumable, checked when loaded, and readable without gazeshift."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gazeshift as gs
from gazeshift.data import open_set, verify_set
from gazeshift.data._set_layout import put_together, taken_apart
from gazeshift.data._shards import Shard
from gazeshift.errors import DataError, ModelError, OutputError, SettingsError
from gazeshift.runs.adversarial_set.run import AttackRun, make_set
from gazeshift.runs.adversarial_set.settings import SetSettings
from helpers.killing import strike
from helpers.quadrant_sets import manifest_of, settings_for, shards_of
from helpers.quadrants import make_quadrant_images, make_quadrant_network

SPEC = "pgd:steps=3"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished set; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("made")
    return AttackRun(SPEC, settings_for(folder), folder / "set").run()


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "set"))


def rewrite_manifest(folder: Path, **changed: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest_of(folder) | changed))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in shards_of(folder)}


def the_model(made: Path) -> gs.Classifier:
    return gs.load(manifest_of(made)["settings"]["model"], device="cpu")


@given(data=st.data(), levels=st.lists(st.integers(0, 255), min_size=12, max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_float_image_comes_back_bit_by_bit(data, levels):
    unit = st.one_of(
        st.floats(0, 1, width=32), st.floats(0, 2.0**-60, width=32), st.sampled_from([0.0, -0.0, 1.0, float("nan")])
    )
    clean = (torch.tensor(levels, dtype=torch.float32) / 255).view(1, 3, 2, 2)
    drawn = [data.draw(st.lists(kind, min_size=12, max_size=12)) for kind in (st.floats(-0.04, 0.04), unit)]
    change, far = (torch.tensor(values, dtype=torch.float32).view(1, 3, 2, 2) for values in drawn)
    for attacked in ((clean + change).clamp(0, 1), far):
        again = put_together(clean, *taken_apart(clean, attacked))
        assert torch.equal(again.view(torch.int32), attacked.view(torch.int32))


def test_a_set_holds_what_the_attack_returned(made):
    found, classifier = open_set(made), the_model(made)
    source = gs.open_source(manifest_of(made)["settings"]["images"])
    attack = gs.build("attacks", SPEC, epsilon=16 / 255)
    at = 0
    for start in (0, 4, 8):
        for first, last in ((start, start + 3), (start + 3, start + 4)):
            batch = source.read(first, last, classifier.preprocessing)
            if not len(batch.ids):
                continue
            generators = [gs.generator_for(0, SPEC, own) for own in batch.ids]
            wanted = gs.attack(classifier, batch.images, batch.labels, by=attack, generator=generators)
            seen = found.read()
            here = slice(at, at + len(batch.ids))
            assert seen.ids[here] == batch.ids
            assert torch.equal(seen.images[here], batch.images)
            assert torch.equal(seen.attacked[here], wanted.images)
            assert torch.equal(seen.labels[here], batch.labels)
            for name in ("linf", "l2", "rms", "margin", "clean_correct", "success"):
                assert seen.facts[name][here].tolist() == getattr(wanted, name).tolist(), name
            assert seen.facts["attacked_class"][here].tolist() == wanted.logits.argmax(1).tolist()
            confidence = wanted.logits.softmax(1).amax(1)
            assert seen.facts["attacked_confidence"][here].tolist() == confidence.tolist()
            at += len(batch.ids)
    assert at == len(found) == 10


def test_the_manifest_tells_the_circumstances_and_counts(made):
    manifest, seen = manifest_of(made), open_set(made).read()
    assert manifest["attack"] == {
        "name": SPEC,
        "settings": {"norm": "linf", "epsilon": 16 / 255, "step": None, "steps": 3, "random_start": True},
        "norm": "linf",
        "epsilon": 16 / 255,
    }
    counts = manifest["counts"]
    assert (counts["asked"], counts["used"], counts["skipped"]) == (10, 10, 0)
    assert counts["clean_correct"] == seen.facts["clean_correct"].sum() == 9  # one label is wrong on purpose
    assert counts["success"] == seen.facts["success"].sum()
    assert 0 < counts["success"] < 9
    assert counts["wrong_after"] == counts["success"] + 1
    assert manifest["model"]["weights_sha256"] == the_model(made).weights_sha256
    assert manifest["passes"] == {"forwards": 30, "backwards": 30}
    assert manifest["versions"]["torch"] == version("torch")
    for entry in manifest["shards"]:
        content = (made / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    files = {own: Path(manifest["settings"]["images"], own).read_bytes() for own in seen.ids}
    stored = dict(zip(seen.ids, open_set(made).column("sha256"), strict=True))
    assert stored == {own: hashlib.sha256(content).hexdigest() for own, content in files.items()}


def test_others_read_it_with_pyarrow_alone(made):
    """The recipe of docs/sets.md, in a process that may not import gazeshift or torch."""
    code = """
import json, pathlib, sys
sys.modules.update({"gazeshift": None, "torch": None})
import numpy as np, pyarrow.parquet as pq
folder = pathlib.Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
found = {}
for shard in manifest["shards"]:
    for row in pq.read_table(folder / shard["file"], page_checksum_verification=True).to_pylist():
        shape = (3, row["height"], row["width"])
        clean = np.array(row["clean"], np.float32)
        attacked = clean + np.array(row["perturbation"], np.float32)
        attacked[row["exact_at"]] = row["exact_value"]
        found[row["id"]] = attacked.reshape(shape)
np.savez(sys.argv[2], **found)
"""
    target = made.parent / "read.npz"
    subprocess.run([sys.executable, "-c", code, made, target], check=True)
    read, seen = np.load(target), open_set(made).read()
    assert sorted(read) == sorted(seen.ids)
    for own, attacked in zip(seen.ids, seen.attacked, strict=True):
        np.testing.assert_array_equal(read[own], attacked.numpy())


def test_batches_read_one_shard_at_a_time(made, monkeypatch):
    found, loaded = open_set(made), []
    real = Shard.read
    monkeypatch.setattr(Shard, "read", lambda shard, size: loaded.append(shard.file) or real(shard, size))
    batches = found.batches(3)
    assert not loaded
    sizes = []
    for number, batch in enumerate(batches):
        sizes.append(len(batch))
        assert len(loaded) == number // 2 + 1
    assert sizes == [3, 1, 3, 1, 2]
    assert (len(found), len(found.ids), found.ids[0]) == (10, 10, "000.png")
    assert found.labels.tolist() == [0, 1, 2, 3, 0, 1, 3, 3, 0, 1]
    assert len(loaded) == 3  # ids and labels need no pixels
    with pytest.raises(SettingsError, match="no column 'sucess'"):
        found.column("sucess")
    with pytest.raises(SettingsError, match="at least 1 image"):
        next(found.batches(0))


def test_a_finished_set_is_left_alone(copy, made):
    before = state(copy), (copy / "manifest.json").stat().st_mtime_ns
    AttackRun(SPEC, settings_for(made.parent), copy).run()
    assert before == (state(copy), (copy / "manifest.json").stat().st_mtime_ns)


def check_killed(folder: Path, moments: int) -> None:
    """Killed again and again: what was written stays, and the end is the undisturbed set."""
    chosen = settings_for(folder, shard_size=2, batch_size=1)
    whole = AttackRun(SPEC, chosen, folder / "whole").run()
    out, draw, halfway = folder / "killed", random.Random(0), 0
    work = partial(make_set, SPEC, chosen, out)
    for _ in range(moments):
        before = state(out)
        strike(work, after=draw.randrange(1, 8), seconds=draw.uniform(0, 0.03))
        assert before.items() <= state(out).items()
        halfway += 0 < len(state(out)) < len(shards_of(whole))
    assert halfway, "no kill fell into the middle of the work"
    before = state(out)
    work()
    assert before.items() <= state(out).items()
    assert [file.read_bytes() for file in shards_of(out)] == [file.read_bytes() for file in shards_of(whole)]
    assert manifest_of(out)["shards"] == manifest_of(whole)["shards"]
    assert manifest_of(out)["counts"] == manifest_of(whole)["counts"]
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_a_killed_run_goes_on(tmp_path):
    make_quadrant_images(tmp_path / "images", 40)
    check_killed(tmp_path, 3)


@pytest.mark.slow
def test_a_killed_run_goes_on_at_many_moments(tmp_path):
    make_quadrant_images(tmp_path / "images", 200)
    check_killed(tmp_path, 25)


def test_what_an_interruption_left_half_written_is_done_again(copy, made):
    """Every state that a kill can leave, made by hand."""
    wanted = {file.name: file.read_bytes() for file in shards_of(copy)}
    first, second, third = shards_of(copy)
    second.unlink()
    (third.parent / f".{third.name}.123").write_bytes(b"half")
    third.unlink()
    (copy / ".manifest.json.77").write_text("{")
    first_only = {"schema": 1, "holds": "set", "status": "running", "settings": manifest_of(copy)["settings"]}
    (copy / "manifest.json").write_text(json.dumps(first_only))
    untouched = state(copy)[first.name]
    with pytest.raises(DataError, match=r"is unfinished \(1 shards so far\). Type the command that began it"):
        open_set(copy)
    AttackRun(SPEC, settings_for(made.parent, batch_size=2), copy).run()  # another batch size is no other set
    assert state(copy)[first.name] == untouched
    assert {file.name: file.read_bytes() for file in shards_of(copy)} == wanted
    assert not [path for path in copy.rglob(".*") if path.is_file()]
    assert not verify_set(open_set(copy), the_model(made)).problems


@pytest.mark.parametrize("damage", ["cut", "flip", "footer"])
def test_a_damaged_shard_is_made_again(copy, made, damage):
    wanted = {file.name: file.read_bytes() for file in shards_of(copy)}
    content = bytearray(shards_of(copy)[1].read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "footer":
        at = content.index(b"parquet-cpp-arrow")  # who wrote it: no checksum is over this
        content[at] ^= 1
    else:
        content[len(content) // 2] ^= 1  # Parquet's page checksums see a single bit
    shards_of(copy)[1].write_bytes(content)
    AttackRun(SPEC, settings_for(made.parent), copy).run()
    assert {file.name: file.read_bytes() for file in shards_of(copy)} == wanted
    assert manifest_of(copy)["status"] == "finished"


@pytest.mark.parametrize(
    ("spec", "changed", "message"),
    [
        (SPEC, {"epsilon": 8 / 255}, r"other settings \(attack_settings: .*0.0627.* there, .*0.0313.* now; epsilon"),
        ("fgsm", {}, r"attack: pgd:steps=3 there, fgsm now"),
        (SPEC, {"seed": 1}, "seed: 0 there, 1 now"),
        (SPEC, {"limit": 5}, "limit: None there, 5 now"),
        (SPEC, {"shard_size": 5}, "shard_size: 4 there, 5 now"),
    ],
)
def test_another_set_in_the_same_folder_is_refused(copy, made, spec, changed, message):
    before = state(copy)
    with pytest.raises(OutputError, match=message):
        AttackRun(spec, settings_for(made.parent, **changed), copy).run()
    assert state(copy) == before


def test_going_on_with_another_models_set_is_refused(copy, made):
    dimmer = make_quadrant_network(made.parent, "dimmer")
    with pytest.raises(OutputError, match=r"model: .*quadrants there, .*dimmer now; weights_sha256: [0-9a-f]+ there"):
        AttackRun(SPEC, settings_for(made.parent, model=dimmer), copy).run()


def test_a_folder_with_something_else_is_refused(tmp_path, made):
    chosen = settings_for(made.parent)
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty and holds no set \(monday.txt\)"):
        AttackRun(SPEC, chosen, tmp_path / "diary").run()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "manifest.json").write_text('{"schema": 1, "study": "deviation", "status": "finished"}')
    with pytest.raises(OutputError, match="holds a study and no set"):
        AttackRun(SPEC, chosen, tmp_path / "study").run()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "manifest.json").write_text('{"schema": 2, "holds": "set", "status": "finished"}')
    with pytest.raises(OutputError, match=r"later gazeshift \(schema 2, this one knows 1\)"):
        AttackRun(SPEC, chosen, tmp_path / "later").run()


def cut_short(folder: Path) -> None:
    file = shards_of(folder)[1]
    file.write_bytes(file.read_bytes()[:-1])


def flipped(folder: Path) -> None:
    content = bytearray(shards_of(folder)[1].read_bytes())
    content[200] ^= 1
    shards_of(folder)[1].write_bytes(content)


def no_shard(folder: Path) -> None:
    shards_of(folder)[2].unlink()


def other_columns(folder: Path) -> None:
    """A shard of somebody else's, with hash and length put right in the manifest."""
    file = shards_of(folder)[0]
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["perturbation"]), file)
    _mend_manifest(folder)


def other_rows(folder: Path) -> None:
    file = shards_of(folder)[0]
    table = pq.read_table(file)
    wide = pa.array([17] * len(table), pa.int32())
    pq.write_table(table.set_column(table.schema.get_field_index("width"), "width", wide), file)
    _mend_manifest(folder)


def _mend_manifest(folder: Path) -> None:
    shards = manifest_of(folder)["shards"]
    for entry in shards:
        content = (folder / entry["file"]).read_bytes()
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite_manifest(folder, shards=shards)


def outside(folder: Path) -> None:
    shards = manifest_of(folder)["shards"]
    shards[0]["file"] = "../../etc/passwd"
    rewrite_manifest(folder, shards=shards)


BROKEN = {
    "a shard cut short": (cut_short, r"shard .*000001.*parquet was cut short: it has \d+ bytes, wanted \d+"),
    "a hash that does not fit": (flipped, r"was changed or damaged: its SHA-256 is \w{12}, and the manifest says"),
    "a shard that is gone": (no_shard, "cannot be read: No such file"),
    "other columns": (other_columns, r"must have the column perturbation .*got no such column"),
    "rows that are no images": (other_rows, "holds rows that are no images"),
    "a shard outside the folder": (outside, "does not list its shards as it should"),
    "a later version": (
        lambda folder: rewrite_manifest(folder, schema=2),
        r"written by a later gazeshift \(schema 2, this one reads up to 1\). Update",
    ),
    "a study": (lambda folder: rewrite_manifest(folder, holds="study"), "holds a study and no adversarial set"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read as a manifest"),
    "no manifest": (lambda folder: (folder / "manifest.json").write_text("[]"), "is no manifest of a set"),
    "nothing known": (lambda folder: (folder / "manifest.json").unlink(), "is no adversarial set"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_spoilt_set_ends_in_a_sentence(copy, spoil, message):
    spoil(copy)
    with pytest.raises(DataError, match=message) as caught:
        open_set(copy).read()
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_folder_is_refused(made, tmp_path):
    with pytest.raises(DataError, match="it is not a folder"):
        open_set(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="has its clean images and labels within"):
        open_set(made, clean=tmp_path)


def test_verify_finds_nothing_wrong_with_a_good_set(made):
    seen = verify_set(open_set(made), the_model(made))
    assert (seen.images, seen.predicted, seen.problems) == (10, True, ())
    assert seen.largest < 1e-6
    assert seen.counts["success"] == manifest_of(made)["counts"]["success"]


def changed_column(folder: Path, name: str, change) -> None:
    """Change a column and make the manifest's hash fit again: only the content can tell."""
    file = shards_of(folder)[0]
    table = pq.read_table(file)
    at = table.schema.get_field_index(name)
    values = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(at, name, values), file)
    _mend_manifest(folder)


LIES = {
    "clean_class": (lambda column: [(value + 1) % 4 for value in column], "contradict clean_correct"),
    "attacked_class": (lambda column: [(value + 1) % 4 for value in column], "the attacked image is class"),
    "attacked_confidence": (lambda column: [value + 0.1 for value in column], "the attacked image is class"),
    "success": (lambda column: [not value for value in column], "counted|contradict"),
    "success_8bit": (lambda column: [not value for value in column], "its success in 8 bit is not as"),
    "linf": (lambda column: [value * 1.01 for value in column], "its linf is"),
    "l2": (lambda column: [value * 1.01 for value in column], "its l2 is"),
    "clean": (lambda column: [row[::-1] for row in column], "000.png"),
    "id": (lambda column: [column[0]] * len(column), "ids occur twice"),
}


@pytest.mark.parametrize("name", LIES)
def test_verify_tells_what_no_hash_tells(copy, made, name):
    change, message = LIES[name]
    changed_column(copy, name, change)
    problems = " / ".join(verify_set(open_set(copy), the_model(made)).problems)
    assert any(word in problems for word in message.split("|")), problems


def test_verify_goes_through_the_whole_set(copy, made):
    flipped(copy)
    seen = verify_set(open_set(copy), the_model(made))
    assert seen.images == 6  # the first and the last shard
    assert len(seen.problems) == 1
    assert "SHA-256" in seen.problems[0]


def test_norms_of_photographs_are_measured_as_they_are(tmp_path):
    """150,528 equal changes, whose float32 norm is 2e-5 too short if one is added after the other."""
    levels = np.random.default_rng(0).integers(60, 196, (224, 224, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(levels).save(tmp_path / "images" / "large.png")
    given = {"images": tmp_path / "images", "model": make_quadrant_network(tmp_path), "input_size": 224}
    folder = AttackRun("fgsm", SetSettings(**given, device="cpu", epsilon="8/255"), tmp_path / "set").run()
    assert open_set(folder).column("l2") == [pytest.approx(8 / 255 * 150528**0.5, rel=1e-6)]
    assert verify_set(open_set(folder)).problems == ()


def test_a_set_made_for_another_model_is_refused(made):
    other = gs.load(make_quadrant_network(made.parent, "dimmer"), device="cpu")
    with pytest.raises(ModelError, match=r"was made for .*quadrants with weights \w{12}, got .*dimmer with weights"):
        verify_set(open_set(made), other)


def test_unreadable_images_are_skipped_named_and_counted(tmp_path):
    chosen = settings_for(tmp_path)
    for number in (4, 5, 6, 7, 9):
        (tmp_path / "images" / f"{number:03d}.png").write_bytes(b"x")
    out = AttackRun(SPEC, chosen, tmp_path / "set").run()
    counts = manifest_of(out)["counts"]
    assert (counts["asked"], counts["used"], counts["skipped"]) == (10, 5, 5)
    assert [skip["id"] for skip in manifest_of(out)["skipped"]] == [f"{n:03d}.png" for n in (4, 5, 6, 7, 9)]
    found = open_set(out)
    assert found.ids == tuple(f"{n:03d}.png" for n in (0, 1, 2, 3, 8))  # the second shard is empty
    assert len(found.read()) == 5
    assert not verify_set(found, the_model(out)).problems


def test_nothing_readable_is_an_error(tmp_path):
    chosen = settings_for(tmp_path)
    for file in (tmp_path / "images").glob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(DataError, match="none of the 10 images"):
        AttackRun(SPEC, chosen, tmp_path / "set").run()


def test_images_of_several_sizes_and_16_bit_ones_lose_nothing(tmp_path):
    """A model without an input size takes images as they are."""
    network = "import torch\ndef make():\n    conv = torch.nn.Conv2d(3, 4, 3)\n"
    network += "    return torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
    (tmp_path / "sizeless.py").write_text(network)
    (tmp_path / "images").mkdir()
    draw = np.random.default_rng(0)
    for number, size in enumerate(((16, 12), (16, 12), (20, 16))):
        levels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / "images" / f"{number}.png")
    deep = draw.integers(0, 65536, (20, 16), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "images" / "deep.png")
    torch.manual_seed(0)
    model = f"module:{tmp_path / 'sizeless.py'}:make"
    chosen = settings_for(tmp_path, model=model, batch_size=2)
    run = AttackRun(SPEC, chosen, tmp_path / "set")
    found = open_set(run.run())
    assert [tuple(batch.attacked.shape) for batch in found.batches(8)] == [(2, 3, 16, 12), (2, 3, 20, 16)]
    last = list(found.batches(8))[-1]
    assert last.ids == ("2.png", "deep.png")
    np.testing.assert_array_equal(last.images[1, 0].numpy(), deep.astype(np.float32) / 65535)
    assert not verify_set(found, run.classifier).problems
    with pytest.raises(DataError, match=r"have 2 sizes and are no single batch. Use batches"):
        found.read()


def test_without_labels_the_models_own_answers_stand_in(tmp_path):
    chosen = settings_for(tmp_path)
    (tmp_path / "images" / "labels.csv").unlink()
    out = AttackRun(SPEC, chosen, tmp_path / "set").run()
    assert manifest_of(out)["images"]["labels"] == "predicted"
    assert manifest_of(out)["counts"]["clean_correct"] == 10
    assert open_set(out).column("label") == open_set(out).column("clean_class")


def test_a_full_disk_loses_nothing_that_was_done(tmp_path, monkeypatch):
    chosen, real, written = settings_for(tmp_path), pq.write_table, []

    def full(table, path, **options):
        if written:
            raise OSError(28, os.strerror(28))
        written.append(path)
        real(table, path, **options)

    monkeypatch.setattr("gazeshift.runs.store.pq.write_table", full)
    with pytest.raises(OutputError, match="the disk is full"):
        AttackRun(SPEC, chosen, tmp_path / "set").run()
    monkeypatch.undo()
    before = state(tmp_path / "set")
    assert len(before) == 1
    AttackRun(SPEC, chosen, tmp_path / "set").run()
    assert before.items() <= state(tmp_path / "set").items()
    assert len(open_set(tmp_path / "set")) == 10


def test_compact_for_attacks_of_few_values_and_of_many(tmp_path):
    chosen = settings_for(tmp_path, shard_size=10)
    sizes = {}
    for spec in ("fgsm", "gaussian"):
        (file,) = shards_of(AttackRun(spec, chosen, tmp_path / spec).run())
        with pq.ParquetFile(file) as table:
            group = table.metadata.row_group(0)
            columns = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
        few = "DICTIONARY" in " ".join(columns["perturbation.list.element"].encodings)
        assert few == (spec == "fgsm")
        assert "BYTE_STREAM_SPLIT" in columns["perturbation.list.element"].encodings or few
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        sizes[spec] = columns["perturbation.list.element"].total_compressed_size
    assert sizes["fgsm"] < sizes["gaussian"] / 3
