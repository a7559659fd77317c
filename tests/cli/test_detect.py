"""`gazeshift detect` as a person meets it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from gazeshift import cli
from gazeshift.calibrated import CalibratedDetector
from helpers.small_study import make_images, make_network

COUNT, RATE = 60, "0.1"


def gazeshift(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Pictures for fitting, for calibrating and for testing; a model, a set of the first and last, a detector."""
    folder = tmp_path_factory.mktemp("home")
    model, everything = make_network(folder), make_images(folder / "all", 2 * COUNT)
    files = sorted(everything.glob("*.png"))
    for part, chosen in {"fit": files[:COUNT], "fresh": files[COUNT:]}.items():
        (folder / part).mkdir()
        for file in chosen:
            shutil.copy(file, folder / part / file.name)
        shutil.copy(everything / "labels.csv", folder / part / "labels.csv")
        attack = ("attack", "pgd", "--epsilon", "0.9", "--health-images", 0, "--out", folder / f"set-{part}")
        gazeshift(*attack, "--images", folder / part, *base(model))
    out = ("--out", folder / "detector")
    gazeshift("detect", "fit", *images(folder / "fit"), *base(model), "--set", folder / "set-fit", *promised(), *out)
    return folder


def images(folder: Path) -> tuple[object, ...]:
    return ("--images", folder, "--labels", folder / "labels.csv")


def base(model: str) -> tuple[object, ...]:
    return ("--model", model, "--device", "cpu")


def promised() -> tuple[str, str]:
    return ("--false-alarms", RATE)


def test_fit_says_what_it_made_and_from_what(run, home, tmp_path):
    model = make_network(home)
    given = (*images(home / "fit"), *base(model), *promised(), "--out", tmp_path / "detector")
    code, out, shown = run("detect", "fit", *given)
    assert code == 0, shown
    lines = out.splitlines()
    assert lines[0].endswith(f"learned from {0.6 * COUNT:.0f} clean images, calibrated on {0.4 * COUNT:.0f} others.")
    assert lines[1].startswith("At most 10.0% of fresh clean images like these score above ")
    made = CalibratedDetector.load(tmp_path / "detector")
    assert set(made.fitted_on).isdisjoint(made.calibrated_on)
    assert len(made.fitted_on) + len(made.calibrated_on) == COUNT
    assert len(made.detector.weights.unique()) == 3, "one weight for each feature"
    assert len(CalibratedDetector.load(home / "detector").detector.weights.unique()) > 3, "one for each number"
    before = (tmp_path / "detector" / "detector.safetensors").read_bytes()
    assert run("detect", "fit", *given)[0] == 0
    assert (tmp_path / "detector" / "detector.safetensors").read_bytes() == before, "again: nothing changes"


def test_too_few_images_for_the_promise_are_refused_at_once(run, home, tmp_path):
    given = (*images(home / "fit"), *base(make_network(home)), "--false-alarms", "0.01")
    code, _, shown = run("detect", "fit", *given, "--out", tmp_path / "detector")
    assert code == 2
    assert "a false-alarm rate of 0.01 needs at least 99 calibration images, and 0.4 of the 60 images are 24" in shown
    assert "Give at least 247 clean images" in shown  # 0.4 of 246 are 98.4, of 247 98.8: rounded, 99
    assert not (tmp_path / "detector").exists()


def test_too_few_images_to_learn_from_are_refused_with_the_part_that_is_too_small(run, home, tmp_path):
    given = (*images(home / "fit"), "--limit", 30, *base(make_network(home)), *promised())
    code, _, shown = run("detect", "fit", *given, "--out", tmp_path / "detector")
    assert code == 2
    assert "stability learns from at least 20 clean images, and of the 30 images 12 are for calibration" in shown
    assert "(--share 0.4), which leaves 18. Give at least 33 clean images, or a smaller --share." in shown
    assert not (tmp_path / "detector").exists()
    twice = tmp_path / "twice"
    twice.mkdir()
    for at, file in enumerate(sorted((home / "fit").glob("*.png"))[:30]):
        shutil.copy(file, twice / file.name)
        if at < 5:
            shutil.copy(file, twice / f"again-{file.name}")
    code, _, shown = run(
        "detect", "fit", "--images", twice, *base(make_network(home)), *promised(), "--out", tmp_path / "d"
    )
    assert code == 2
    assert (
        "of the 30 images that can be read and differ 12 are for calibration (--share 0.4), which leaves 18." in shown
    )


def test_a_set_that_fools_nobody_is_refused(run, home, tmp_path):
    model = make_network(home)
    weak = ("attack", "gaussian:std=1e-6", "--health-images", 0, "--out", tmp_path / "weak")
    gazeshift(*weak, "--images", home / "fit", *base(model))
    given = (
        *images(home / "fit"),
        *base(model),
        *promised(),
        "--set",
        tmp_path / "weak",
        "--out",
        tmp_path / "detector",
    )
    code, _, shown = run("detect", "fit", *given)
    assert code == 2
    assert "no example of" in shown
    assert "there is nothing to learn from it. Leave it out" in shown


def test_score_says_what_it_thinks_of_each_image(run, home, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for file in sorted((home / "fresh").glob("*.png"))[:3]:
        shutil.copy(file, some / file.name)
    (some / "broken.png").write_bytes(b"no picture")
    code, out, shown = run(
        "detect", "score", some, "--detector", home / "detector", "--device", "cpu", "--json", "--seed", 1
    )
    assert code == 0, shown
    entries = [json.loads(line) for line in out.splitlines()]
    assert len(entries) == 4
    broken = next(entry for entry in entries if entry["file"] == "broken.png")
    assert "error" in broken
    good = [entry for entry in entries if entry is not broken]
    for entry in good:
        assert {"file", "name", "confidence", "suspicion", "threshold", "p_value", "is_attack", "reasons"} <= set(entry)
        assert entry["prediction"] == entry["name"]
        assert entry["is_attack"] == (entry["suspicion"] > entry["threshold"])
        assert len(entry["most_moved"]) == 3
    again = run("detect", "score", some, "--detector", home / "detector", "--device", "cpu", "--json", "--seed", 1)[1]
    assert [json.loads(line) for line in again.splitlines()] == entries
    text = run("detect", "score", some, "--detector", home / "detector", "--device", "cpu")[1]
    assert "skipped broken.png" in text
    assert "suspicion" in text


def test_score_and_check_leave_out_no_image_for_want_of_a_label(run, home, tmp_path):
    some = sorted((home / "fresh").glob("*.png"))[:2]
    for place, file in zip(("cats/1.png", "dogs/2.png"), some, strict=True):
        (tmp_path / place).parent.mkdir()
        shutil.copy(file, tmp_path / place)
    (tmp_path / "labels.csv").write_text("file,label\ncats/1.png,tabby\n")
    given = (tmp_path, "--detector", home / "detector", "--device", "cpu")
    code, out, shown = run("detect", "score", *given, "--json")
    assert code == 0, shown
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["cats/1.png", "dogs/2.png"]
    assert " of 2 clean images" in run("detect", "check", *given)[1]


def test_score_draws_its_reasons_and_says_when_an_image_was_resized(run, home, tmp_path):
    large = tmp_path / "large.png"
    with Image.open(next((home / "fresh").glob("*.png"))) as image:
        image.resize((70, 50)).save(large)
    given = ("--detector", home / "detector", "--device", "cpu", "--json", "--maps", tmp_path / "maps")
    code, out, shown = run("detect", "score", large, *given)
    assert code == 0, shown
    (entry,) = [json.loads(line) for line in out.splitlines()]
    assert entry["resized"] == "70 x 50 to 32 x 32"
    assert entry["resized_from"] == [70, 50]
    assert shown.splitlines()[-1].startswith("note: 1 of 1 pictures were resized or cropped for the model")
    with Image.open(entry["maps"]) as sheet:
        assert sheet.width == sheet.height, "three rows of three tiles"


def test_what_was_left_out_is_named_and_pictures_can_be_taken_as_they_are(run, home, tmp_path):
    some = sorted((home / "fresh").glob("*.png"))[:2]
    for file in some:
        with Image.open(file) as image:
            image.resize((32, 32)).save(tmp_path / file.name)
            image.resize((70, 50)).save(tmp_path / "large.png")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    given = (tmp_path, "--detector", home / "detector", "--device", "cpu", "--seed", 1)
    out = run("detect", "score", *given)[1]
    assert "note: Other files ignored: 1 ('IMG_1.HEIC').\n" in out
    assert "note: 1 of 3 pictures were resized or cropped for the model, which weakens an attack in them.\n" in out
    code, out, shown = run("detect", "score", *given, "--pixels", "as-is", "--json")
    assert code == 0, shown
    entries = {entry["file"]: entry for entry in map(json.loads, out.splitlines())}
    assert entries["large.png"]["error"] == (
        "large.png is 70 x 50 pixels, and as-is takes the model's 32 x 32 alone. Give the picture in that size, or "
        "have it resized (pixels: fit)."
    )
    assert all(entries[file.name]["resized"] is None for file in some)
    assert "IMG_1.HEIC" in shown
    out = run("detect", "check", *given, "--pixels", "as-is")[1]
    assert " of 2 clean images" in out
    assert "skipped large.png: " in out
    assert "note: Other files ignored: 1 ('IMG_1.HEIC').\n" in out
    code, _, shown = run("detect", "score", tmp_path / "large.png", *given[1:], "--pixels", "as-is")
    assert code == 2
    assert "none of the 1 images can be used. The first: large.png: large.png is 70 x 50 pixels" in shown


def test_reasons_that_cannot_be_written_end_in_a_sentence(run, home, tmp_path):
    (tmp_path / "maps").write_text("a file")
    image = next((home / "fresh").glob("*.png"))
    code, _, shown = run("detect", "score", image, "--detector", home / "detector", "--maps", tmp_path / "maps")
    assert code == 2
    assert shown.splitlines()[-1].endswith("cannot be written (File exists). Name another folder: --maps.")
    (tmp_path / "why" / f"0000-{image.stem}.png").mkdir(parents=True)
    shown = run("detect", "score", image, "--detector", home / "detector", "--maps", tmp_path / "why")[2]
    assert shown.splitlines()[-1].endswith("cannot be written (Is a directory). Name another folder: --maps.")


def test_calibrating_needs_other_images(run, home, tmp_path):
    given = ("--detector", home / "detector", *base(make_network(home)), "--out", tmp_path / "again")
    code, _, shown = run("detect", "calibrate", *images(home / "fit"), *given)
    assert code == 2
    assert "36 of these 60 images are among those the detector was fitted on" in shown
    given = (*given[:-1], tmp_path / "fresh")
    code, out, shown = run("detect", "calibrate", *images(home / "fresh"), *given)
    assert code == 0, shown
    assert "calibrated on 60 others." in out
    before, after = CalibratedDetector.load(home / "detector"), CalibratedDetector.load(tmp_path / "fresh")
    assert after.fitted_on == before.fitted_on
    assert set(after.calibrated_on).isdisjoint(before.calibrated_on)
    parts = pq.read_table(tmp_path / "fresh" / "measured.parquet")["part"].to_pylist()
    assert parts.count("calibration") == COUNT


def test_check_says_whether_the_promise_still_fits(run, home, tmp_path):
    given = ("--detector", home / "detector", "--device", "cpu")
    code, out, shown = run("detect", "check", home / "fresh", *given)
    assert code == 0, shown
    assert "The promise still fits." in out
    assert "skipped" not in out
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "broken.png").write_bytes(b"no picture")
    for file in (home / "fresh").glob("*.png"):
        with Image.open(file) as image:
            image.convert("L").point(lambda level: 255 if level > 127 else 0).convert("RGB").save(changed / file.name)
    code, out, _ = run("detect", "check", changed, *given)
    assert code == 3
    assert out.startswith("skipped broken.png: ")
    assert f" of {COUNT} clean images" in out
    assert "Calibrate on some of them: gazeshift detect calibrate." in out


def test_another_model_is_refused(run, home, tmp_path):
    given = ("--detector", home / "detector", "--model", "efficientnet_lite0", "--device", "cpu")
    code, _, shown = run("detect", "score", next((home / "fresh").glob("*.png")), *given)
    assert code == 2
    assert "the detector was fitted for" in shown
    code, _, shown = run("detect", "score", next((home / "fresh").glob("*.png")), "--detector", tmp_path)
    assert code == 2
    assert "holds no detector: detector.json is missing" in shown


def test_detectors_of_one_name_are_refused_in_a_sentence(run, home, tmp_path):
    twice = f"{home / 'detector'},{home / 'detector'}"
    code, _, shown = run("detect", "evaluate", "--detector", twice, "--out", tmp_path / "out")
    assert code == 2
    assert shown.startswith("gazeshift: --detector: different names are wanted: write NAME=FOLDER, got ")


def test_a_scorecard_compares_detectors_on_fresh_images(run, home, tmp_path):
    model = make_network(home)
    gazeshift(
        "detect",
        "fit",
        "--detector",
        "confidence",
        *images(home / "fit"),
        *base(model),
        *promised(),
        "--out",
        tmp_path / "plain",
    )
    given = (
        *base(model),
        "--set",
        f"pgd={home / 'set-fresh'}",
        "--detector",
        f"ours={home / 'detector'},plain={tmp_path / 'plain'}",
    )
    code, _, shown = run("detect", "evaluate", *images(home / "fresh"), *given, "--out", tmp_path / "card")
    assert code == 0, shown
    rows = pq.read_table(tmp_path / "card" / "rows.parquet").to_pylist()
    learned = {(row["detector"], row["learned"]) for row in rows}
    assert learned == {("plain", "as fitted"), ("ours", "as fitted"), ("ours", "clean images only"), ("ours", "only")}
    conditions = {row["condition"] for row in rows}
    assert conditions == {"clean", "jpeg:quality=75", "blur:sigma=0.6", "gaussian noise", "pgd"}
    clean = [row for row in rows if row["condition"] == "clean" and row["detector"] == "plain"]
    assert len(clean) == COUNT
    assert (tmp_path / "card" / "report.html").is_file()
    code, _, shown = run("detect", "evaluate", *images(home / "fit"), *given, "--out", tmp_path / "known")
    assert code == 2
    assert "are among those that detector ours was fitted on. A scorecard needs others." in shown
