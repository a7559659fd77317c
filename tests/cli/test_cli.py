"""The command line as a person meets it: what it prints, its exit codes, and one sentence for bad input."""

import html
import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeshift import registry
from gazeshift.cli import listing
from helpers.small_study import make_images, make_network


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "images", 6)


@pytest.fixture
def model(tmp_path):
    return make_network(tmp_path)


STUDY = ("--strengths", "0.5,1", "--cams", "grad_cam", "--gallery", 1, "--device", "cpu", "--epsilon", "16/255")


def test_help_is_there_for_every_command_and_does_not_load_torch():
    code = (
        "import sys; from gazeshift.cli import app;"
        "app(sys.argv[1:], exit_on_error=False, result_action='return_none');"
        "assert 'torch' not in sys.modules"
    )
    parts = ("attack", "demo", "detect", "explore", "list", "look", "report", "serve", "set", "study")
    for command in ([], *([part] for part in parts), ["study", "deviation"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Usage: gazeshift" in done.stdout
        assert "gazeshift " + " ".join(command) in done.stdout
        examples = " ".join(done.stdout.partition("xample")[2].split())
        assert "gazeshift " + " ".join(command) in examples  # of this command, and not only of others


def test_flags_that_do_not_go_together_are_one_sentence(run, tmp_path):
    code, _, shown = run("study", "ding2022", "--quick", "--bf16", "--out", tmp_path / "out")
    assert code == 2
    assert shown == (
        "gazeshift: this study trains its networks: leave out --compile, --channels-last and --bf16. "
        "`--help` describes them.\n"
    )


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "gazeshift", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0.1.0"


def test_a_study_from_folder_to_report(run, images, model, tmp_path):
    out = tmp_path / "out"
    code, printed, shown = run("study", "deviation", "--images", images, "--model", model, *STUDY, "--out", out)
    assert code == 0, shown
    assert str(out / "report.html") in printed
    assert printed.count("* ") == 3
    assert "6 of 6 images" in shown
    page = (out / "report.html").read_text()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"].startswith("gazeshift ")
    assert "<html" in page
    (out / "report.html").unlink()
    assert run("report", out)[0] == 0
    assert (out / "report.html").read_text() == page


def test_look_writes_overlays_arrays_and_a_page(run, images, model, tmp_path):
    out = tmp_path / "looked"
    (images / "bad.png").write_bytes(b"")
    code, printed, _ = run("look", images / "000.png", images / "bad.png", "--model", model, "--out", out)
    assert code == 0
    assert "000.png: " in printed
    assert "skipped bad.png" in printed
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    with np.load(folder / "maps.npz") as maps:
        assert set(maps.files) == {"first/grad_cam", "second/grad_cam"}
        assert maps["second/grad_cam"].shape == (16, 16)
    with Image.open(folder / "second.grad_cam.png") as picture:
        assert picture.size == (32, 32)
    page = (out / "index.html").read_text()
    assert "second.grad_cam.png" in page
    assert "bad.png" in page


def test_look_names_what_it_leaves_out_and_takes_pixels_as_they_are(run, images, model, tmp_path):
    out = tmp_path / "looked"
    for name in ("IMG_1.HEIC", "ct.dcm", ".DS_Store"):
        (images / name).write_bytes(b"")
    for file in images.glob("*.png"):
        with Image.open(file) as picture:
            picture.resize((32, 32)).save(file)
            picture.resize((40, 32)).save(images / "large.png")
    code, printed, _ = run("look", images, "--model", model, "--out", out)
    assert code == 0
    left = "Other files ignored: 3 ('IMG_1.HEIC', 'ct.dcm', 1 hidden)."
    assert f"note: {left}\n" in printed
    assert "note: 1 of 7 pictures were resized or cropped for the model" in printed
    page = html.unescape((out / "index.html").read_text())
    assert left in page
    assert "1 of 7 pictures were resized or cropped for the model" in page
    code, printed, _ = run("look", images, "--model", model, "--pixels", "as-is", "--out", out)
    assert code == 0
    assert "skipped large.png: large.png is 40 x 32 pixels, and as-is takes the model's 32 x 32 alone" in printed
    assert "resized" not in printed.replace("have it resized", "")
    code, _, shown = run("look", images, "--model", model, "--pixels", "raw", "--out", out)
    assert code == 2
    assert "as-is" in shown


def test_look_counts_images_of_their_own_sizes_one_by_one(run, images, model, tmp_path):
    file = Path(model.removeprefix("module:").rpartition(":")[0])
    file.write_text(file.read_text().replace("    input_size = 32\n", ""))
    shown = run("look", images, "--model", model, "--batch-size", 4, "--out", tmp_path / "looked")[2]
    counted = [line.split(",")[0] for line in shown.splitlines()]
    assert counted == ["1 of 6 images", "6 of 6 images"]


def test_look_checks_the_model_on_the_first_images(run, images, model, tmp_path):
    for number, level in enumerate((255, 0)):
        Image.new("RGB", (32, 32), (level,) * 3).save(images / f"{number}.png")
    chosen = (images / "0.png", images / "1.png")
    out = tmp_path / "looked"
    assert run("look", *chosen, "--model", model, "--batch-size", 1, "--out", out)[0] == 0
    assert "images lie in [1.000, 1.000]" in (out / "index.html").read_text()


def test_a_line_for_each_image_whatever_its_name(run, images, model, tmp_path):
    (images / "000.png").rename(images / "a\nb.png")
    (images / "001.png").unlink()
    (images / "c\nd.png").write_bytes(b"no image")
    lines = run("look", images, "--model", model, "--out", tmp_path / "looked")[1].splitlines()
    assert len(lines) == 8  # five pictures, that they were resized, one skipped, the page
    assert any(line.startswith("a\\nb.png: ") for line in lines)
    assert any(line.startswith("skipped c\\nd.png: ") for line in lines)


def test_look_replaces_an_earlier_look_and_nothing_else(run, images, model, tmp_path):
    out = tmp_path / "looked"
    asked = ("--model", model, "--out", out)
    assert run("look", images / "000.png", images / "001.png", *asked)[0] == 0
    assert run("look", images / "002.png", *asked, "--layers", "nonsense")[0] == 2
    assert sorted(path.name for path in out.glob("[0-9]*")) == ["0000-000", "0001-001"]  # nothing lost
    assert run("look", images / "002.png", *asked)[0] == 0
    assert [path.name for path in out.glob("[0-9]*")] == ["0000-002"]
    foreign = tmp_path / "2024-site"
    (foreign / "2024-photos").mkdir(parents=True)
    (foreign / "index.html").write_text("mine")
    code, _, shown = run("look", images / "000.png", "--model", model, "--out", foreign)
    assert code == 2
    assert "holds no earlier look" in shown
    assert (foreign / "index.html").read_text() == "mine"


def test_a_full_disk_ends_a_look_with_one_sentence(run, images, model, tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".npz":
            raise OSError(28, "No space left on device")
        path.touch()

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, shown = run("look", images / "000.png", "--model", model, "--out", tmp_path / "looked")
    assert code == 2
    assert "maps.npz cannot be written (No space left on device)" in shown


def test_a_study_says_what_it_skipped(run, images, model, tmp_path):
    (images / "001.png").write_bytes(b"")
    (images / "004.png").write_bytes(b"no image")
    (images / "ct.dcm").write_bytes(b"")
    out = tmp_path / "out"
    code, printed, _ = run("study", "deviation", "--images", images, "--model", model, *STUDY, "--out", out)
    assert code == 0
    assert "skipped 2 images, all in the report; 001.png: 001.png is empty" in printed
    assert "note: Other files ignored: 1 ('ct.dcm').\n" in printed
    page = (out / "report.html").read_text()
    assert "001.png is empty" in page
    assert "004.png is not an image" in page


def test_list_names_every_part_and_layer(run, model):
    code, printed, _ = run("list")
    assert code == 0
    parts = (
        "fgsm",
        "grad_cam",
        "noise_cam",
        "behaviour_deviation",
        "cosine",
        "nissim",
        "efficientnet_lite0",
        "deviation",
    )
    for name in parts:
        assert name in printed
    code, printed, _ = run("list", "layers", "--model", model)
    assert code == 0
    assert "second" in printed


def test_list_cuts_no_name_short(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, printed, _ = run("list", "layers", "--model", "timm:xception")
    assert "block1.rep.0.conv1 " in printed
    assert "\u2026" not in printed + run("list")[1]


def test_list_tells_settings_as_people_write_them():
    values = (8 / 255, 0.5 / 255, 0.1, 1.8, 9.0, 1e-12, 3, "grad_cam", None)
    assert [listing._shown(value) for value in values] == [
        *("8/255", "0.5/255", "0.1", "1.8", "9.0", "1e-12", "3", "grad_cam", "None")
    ]


def test_a_broken_part_of_another_package_is_listed_beside_the_others(run, monkeypatch):
    broken = {"broken": EntryPoint("broken", "no_such_package_anywhere:Attack", "gazeshift.attacks")}
    monkeypatch.setattr(registry, "_plugins", lambda family: broken if family == "attacks" else {})
    code, printed, _ = run("list", "attacks")
    assert code == 0
    words = " ".join(printed.split())
    assert "fgsm" in words
    assert "cannot be used:" in words


BAD = {
    "unknown command": (["stdy"], "stdy"),
    "no images": (["look"], "IMAGES"),
    "missing image": (["look", "nowhere.jpg"], "nowhere.jpg"),
    "unknown model": (["look", "IMAGE", "--model", "efficientnet"], "Did you mean"),
    "unknown layer": (["look", "IMAGE", "--model", "MODEL", "--layers", "thrid"], "no layer 'thrid'"),
    "unknown cam": (["look", "IMAGE", "--model", "MODEL", "--cams", "gradcam"], "Did you mean 'grad_cam'"),
    "no gpu": (["look", "IMAGE", "--model", "MODEL", "--device", "cuda:9"], "Use --device cpu"),
    "nonsense device": (["look", "IMAGE", "--model", "MODEL", "--device", "gpu"], "Known: auto, cpu"),
    "epsilon 8": (["study", "deviation", "--epsilon", "8", "--out", "OUT"], "Did you mean 8/255"),
    "epsilon 0": (["study", "deviation", "--epsilon", "0", "--out", "OUT"], "above 0"),
    "epsilon negative": (["study", "deviation", "--epsilon", "-0.01", "--out", "OUT"], "above 0"),
    "epsilon negative, as a fraction": (["study", "deviation", "--epsilon", "-2/255", "--out", "OUT"], "above 0"),
    "epsilon text": (
        ["study", "deviation", "--epsilon", "small", "--out", "OUT"],
        "--epsilon: input should be a valid number",
    ),
    "unknown attack": (["study", "deviation", "--attack", "pgdd", "--out", "OUT"], "Did you mean 'pgd'"),
    "batch of none": (["demo", "--batch-size", "0", "--out", "OUT"], "--batch-size: input should be greater"),
    "unknown flag": (["study", "deviation", "--epsilom", "8/255", "--out", "OUT"], "epsilom"),
    "no out": (["study", "deviation"], "--out"),
    "empty folder": (["study", "deviation", "--images", "EMPTY", "--out", "OUT"], "image"),
    "report of nothing": (["report", "EMPTY"], "EMPTY"),
    "layers without a size": (["list", "layers", "--model", "SIZELESS"], "--input-size"),
    "a model that is no module": (["look", "IMAGE", "--model", "module:os:getcwd"], "torch.nn.Module"),
    "a score that is none": (["study", "deviation", "--score", "loss", "--out", "OUT"], "logit"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_one_sentence_and_2(run, images, model, tmp_path, monkeypatch, arguments, message):  # noqa: PLR0917
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "sizeless.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))\n"
    )
    places = {
        "IMAGE": images / "000.png",
        "MODEL": model,
        "OUT": tmp_path / "out",
        "EMPTY": tmp_path / "EMPTY",
        "SIZELESS": f"module:{tmp_path / 'sizeless.py'}:make",
    }
    code, printed, shown = run(*(places.get(argument, argument) for argument in arguments))
    assert code == 2, (printed, shown)
    assert message in shown
    assert shown.startswith("gazeshift: ")
    assert "Traceback" not in shown
    assert shown.count("\n") == 1


def test_debug_shows_the_traceback(run):
    code, _, shown = run("--debug", "look", "nowhere.jpg")
    assert code == 2
    assert "Traceback" in shown


def test_a_fault_of_ours_says_so_without_a_traceback(run, monkeypatch, images, model):
    monkeypatch.setattr("gazeshift.cli._looking.look_at", lambda *_, **__: 1 / 0)
    code, _, shown = run("look", images / "000.png", "--model", model)
    assert code == 1
    assert "an internal error: ZeroDivisionError" in shown
    assert "Traceback" not in shown


def test_an_interruption_says_whether_what_is_done_is_kept(run, monkeypatch, images, model, tmp_path):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gazeshift.cli._looking.look_at", interrupted)
    assert run("look", images / "000.png", "--model", model)[::2] == (130, "gazeshift: stopped.\n")
    monkeypatch.setattr("gazeshift.runs.settings.StudySettings.run", interrupted)
    code, _, shown = run("study", "deviation", "--images", images, "--model", model, "--out", tmp_path / "out")
    assert code == 130
    assert shown == "gazeshift: stopped. What is finished is kept; the same command goes on from there.\n"
