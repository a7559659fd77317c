"""`gazeshift attack` and `gazeshift set` as a person meets them."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeshift import cli
from gazeshift.data import open_set
from gazeshift.records import Skipped
from gazeshift.runs.examples import open_pairs
from gazeshift.runs.settings import StudySettings
from helpers.quadrants import make_quadrant_images, make_quadrant_network


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with pictures, a model, and a set made by the command."""
    folder = tmp_path_factory.mktemp("home")
    images, model = make_quadrant_images(folder / "images", 14), make_quadrant_network(folder)
    with pytest.raises(SystemExit) as ended:
        cli.main(["attack", "pgd", *command(images, model), "--out", str(folder / "set")])
    assert ended.value.code == 0
    return folder


def command(images: Path, model: str) -> list[str]:
    given = {"--images": images, "--model": model, "--epsilon": "16/255", "--device": "cpu", "--shard-size": 6}
    return [str(word) for pair in given.items() for word in pair]


def test_an_attack_becomes_a_set_and_says_what_came_of_it(run, home, tmp_path):
    out = tmp_path / "set"
    given = command(home / "images", make_quadrant_network(home))
    code, printed, shown = run("attack", "pgd", *given, "--seed", 3, "--limit", 10, "--batch-size", 4, "--out", out)
    assert code == 0, shown
    lines = printed.splitlines()
    assert lines[0].startswith("pgd, epsilon 16/255 (linf) on module:")
    assert lines[0].endswith("seed 3")
    assert lines[1] == "images: 10 of 10 from images, labels given, 0 skipped"
    assert lines[2].startswith("classified right before: ")
    assert "health: 9 of 9 checks hold" in lines[3]
    assert lines[-1] == str(out)
    assert len(lines) == 5
    assert shown.count("10 of 10 images") == 1
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert run("attack", "pgd", *given, "--seed", 3, "--limit", 10, "--out", out)[1] == printed  # finished: told again


def test_info_verify_and_export(run, home, tmp_path):
    code, printed, _ = run("set", "info", home / "set")
    assert code == 0
    counts = json.loads((home / "set" / "manifest.json").read_text())["counts"]
    right, success = counts["clean_correct"], counts["success"]
    outcome = f"classified right before: {right} of 14; fooled of these: {success} ({success / right:.1%}); "
    outcome += f"wrong after, of all: {counts['wrong_after']} ({counts['wrong_after'] / 14:.1%})"
    assert outcome in printed
    code, printed, shown = run("set", "verify", home / "set", "--device", "cpu")
    assert code == 0, shown
    assert "14 images read, 3 shards fit their hashes" in printed
    assert "every prediction holds; confidences differ by" in printed
    assert outcome in printed
    code, printed, shown = run("set", "export", home / "set", "--out", tmp_path / "png")
    assert code == 0, shown
    assert "14 pairs of PNG files, the largest change 16 of 255 levels" in printed
    assert f"0 of {success} examples that fool the model do not any more" in printed
    code, printed, _ = run("set", "info", tmp_path / "png")
    assert (code, printed) == (0, "folders: 14 of 14 attacked images can be used, with clean images, labels given\n")
    assert run("set", "verify", tmp_path / "png")[:2] == (0, "14 images read\n")
    model = make_quadrant_network(home)
    code, printed, shown = run("set", "verify", tmp_path / "png", "--model", model, "--device", "cpu")
    assert code == 0, shown
    assert f"is wrong on {14 - right} clean images\n" in printed
    assert f"is wrong on {counts['wrong_after']} attacked images\n" in printed


def test_what_lies_beside_the_images_is_named_by_every_command_about_sets(run, home, tmp_path):
    images = make_quadrant_images(tmp_path / "images", 4)
    (images / "IMG_1.HEIC").write_bytes(b"")
    given, note = command(images, make_quadrant_network(home)), "note: Other files ignored: 1 ('IMG_1.HEIC').\n"
    code, printed, shown = run("attack", "fgsm", *given, "--health-images", 0, "--out", tmp_path / "set")
    assert code == 0, shown
    assert note in printed
    assert note in run("set", "info", tmp_path / "set")[1]
    assert run("set", "export", tmp_path / "set", "--out", tmp_path / "png")[0] == 0
    (tmp_path / "png" / "attacked" / "IMG_1.HEIC").write_bytes(b"")
    (tmp_path / "png" / "clean" / "000.png").unlink()
    skipped = "skipped 000.png: no clean image of that name\n"
    for asked in (("info",), ("verify",), ("export", "--out", tmp_path / "again")):
        printed = run("set", asked[0], tmp_path / "png", *asked[1:])[1]
        assert note in printed
        assert skipped in printed
    source = open_pairs(tmp_path / "png", StudySettings())
    assert source.notes == (note.removeprefix("note: ").strip(),)
    assert source.skipped == (Skipped(id="000.png", reason="no clean image of that name"),)
    assert open_pairs(tmp_path / "set", StudySettings()).notes == ()


def test_labels_of_folders_may_be_names_of_a_given_list(run, home, tmp_path):
    assert run("set", "export", home / "set", "--out", tmp_path / "png")[0] == 0
    table, names = tmp_path / "png" / "labels.csv", tmp_path / "names.json"
    numbers = open_set(tmp_path / "png").labels
    names.write_text(json.dumps([f"quadrant {at}" for at in range(4)]))
    rows = [f"{own},quadrant {label}" for own, label in zip(open_set(home / "set").ids, numbers.tolist(), strict=True)]
    table.write_text("\n".join(["file,label", *rows]))
    code, _, shown = run("set", "info", tmp_path / "png")
    assert code == 2
    assert "Give the names of the model's classes with --classes FILE" in shown
    for asked in ("info", "verify"):
        assert run("set", asked, tmp_path / "png", "--classes", names)[0] == 0
    assert open_pairs(tmp_path / "png", StudySettings(classes=names)).labels == tuple(numbers.tolist())


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line_without_our_code(run, home, monkeypatch):
    monkeypatch.setattr("gazeshift.cli._sets.described", lambda _: warnings.warn("too far apart", stacklevel=1) or [])
    before = warnings.showwarning
    code, _, shown = run("set", "info", home / "set")
    assert (code, shown) == (0, "gazeshift: warning: too far apart\n")
    assert warnings.showwarning is before


def test_findings_are_shown(run, home, tmp_path):
    """An epsilon below half a grey level is lost in 8 bit."""
    for number in range(4):
        levels = np.full((16, 16, 3), 100, np.uint8)
        levels[0, 0, 0] = 110
        (tmp_path / "close").mkdir(exist_ok=True)
        Image.fromarray(levels).save(tmp_path / "close" / f"{number}.png")
    model = make_quadrant_network(home)
    code, printed, _ = run(
        "attack",
        "fgsm",
        "--images",
        tmp_path / "close",
        "--model",
        model,
        "--epsilon",
        "0.4/255",
        "--out",
        tmp_path / "s",
    )
    assert code == 0
    assert "health: 8 of 9 checks hold" in printed
    assert "* note, 8 bit: 0 of 4 successes survive 8-bit files" in printed


def spoilt(home: Path, tmp_path: Path) -> dict[str, Path]:
    """Sets with one thing wrong each."""
    places = {}
    for name in ("CUT", "FLIPPED", "LATER", "RUNNING"):
        places[name] = Path(shutil.copytree(home / "set", tmp_path / name))
    shard = next((places["CUT"] / "shards").glob("000001*"))
    shard.write_bytes(shard.read_bytes()[:1000])
    shard = next((places["FLIPPED"] / "shards").glob("000001*"))
    content = bytearray(shard.read_bytes())
    content[300] ^= 4
    shard.write_bytes(content)
    for name, change in (("LATER", {"schema": 9}), ("RUNNING", {"status": "running"})):
        file = places[name] / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    (tmp_path / "EMPTY").mkdir()
    return places | {
        "EMPTY": tmp_path / "EMPTY",
        "SET": home / "set",
        "OUT": tmp_path / "out",
        "IMAGES": home / "images",
        "MODEL": make_quadrant_network(home),
        "DIMMER": make_quadrant_network(home, "dimmer"),
    }


BAD = {
    "no attack": (["attack", "--out", "OUT"], "NAME"),
    "unknown attack": (["attack", "pgdd", "--out", "OUT"], "Did you mean 'pgd'"),
    "unknown setting": (["attack", "pgd:epsilom=3", "--out", "OUT"], "Did you mean 'epsilon'"),
    "epsilon 8": (["attack", "pgd", "--epsilon", "8", "--out", "OUT"], "Did you mean 8/255"),
    "epsilon text": (["attack", "pgd", "--epsilon", "small", "--out", "OUT"], "--epsilon: input should be a valid"),
    "no out": (["attack", "pgd"], "--out"),
    "no such images": (["attack", "pgd", "--images", "nowhere", "--out", "OUT"], "no images at nowhere"),
    "empty images": (["attack", "pgd", "--images", "EMPTY", "--out", "OUT"], "no images in the folder"),
    "unknown model": (["attack", "pgd", "--model", "efficientnet", "--out", "OUT"], "Did you mean"),
    "no gpu": (["attack", "pgd", "--device", "cuda:9", "--out", "OUT"], "Use --device cpu"),
    "shards of none": (["attack", "pgd", "--shard-size", "0", "--out", "OUT"], "--shard-size: input should be greater"),
    "labels that are none": (
        ["attack", "pgd", "--images", "IMAGES", "--labels", "nothing.csv", "--out", "OUT"],
        "nothing.csv",
    ),
    "a set of other settings": (
        ["attack", "fgsm", "--images", "IMAGES", "--model", "MODEL", "--out", "SET"],
        "other settings (attack",
    ),
    "a folder that is full": (
        ["attack", "fgsm", "--images", "IMAGES", "--model", "MODEL", "--out", "IMAGES"],
        "holds no set",
    ),
    "info of nothing": (["set", "info", "nowhere"], "no adversarial set at nowhere"),
    "info of an empty folder": (["set", "info", "EMPTY"], "is no adversarial set"),
    "info of pictures": (["set", "info", "IMAGES"], "Give the clean images' folder too"),
    "an unknown command": (["set", "inof", "SET"], "inof"),
    "a shard cut short": (["set", "info", "CUT"], "was cut short: it has 1000 bytes"),
    "a hash that does not fit": (["set", "verify", "FLIPPED"], "does not hold what it says: the shard"),
    "export of a damaged set": (["set", "export", "FLIPPED", "--out", "OUT"], "was changed or damaged"),
    "a later version": (["set", "verify", "LATER"], "later gazeshift (schema 9, this one reads up to 1)"),
    "an unfinished set": (["set", "info", "RUNNING"], "is unfinished (3 shards so far)"),
    "another model": (["set", "verify", "SET", "--model", "DIMMER"], "was made for"),
    "an export into a full folder": (
        ["set", "export", "SET", "--out", "IMAGES"],
        "an export begins in an empty folder",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_one_sentence_and_2(run, home, tmp_path, arguments, message):
    places = spoilt(home, tmp_path)
    code, printed, shown = run(*(places.get(argument, argument) for argument in arguments))
    told = shown.splitlines()[-1]
    assert code == 2, (printed, shown)
    assert message in told
    assert told.startswith("gazeshift: ")
    assert "Traceback" not in shown


def test_help_is_there_and_does_not_load_torch():
    code = (
        "import sys; from gazeshift.cli import app;"
        "app(sys.argv[1:], exit_on_error=False, result_action='return_none');"
        "assert 'torch' not in sys.modules"
    )
    for words in (["attack"], ["set"], ["set", "info"], ["set", "verify"], ["set", "export"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "gazeshift " + " ".join(words) in done.stdout
        assert "xample" in done.stdout


def test_the_command_shadows_no_builtin():
    """`set` stays Python's own in the package of commands."""
    assert cli.__dict__.get("set", set) is set
