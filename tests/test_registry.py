"""Finding and building parts: by file, by another package's entry point; broken ones harm no other."""

import dataclasses
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from gazeshift import registry
from gazeshift.attacks.pgd import Pgd
from gazeshift.errors import MissingPackageError, SettingsError, UnknownNameError
from gazeshift.registry import FAMILIES, build, catalogue, find, names, parse, setting_names, summary, value

PACKAGE = Path(registry.__file__).parent


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_of_a_family_is_a_part(family):
    files = sorted(file.stem for file in (PACKAGE / family).glob("*.py") if not file.stem.startswith("_"))
    assert set(files) <= set(names(family))
    assert names(family) == sorted(names(family))
    for name in files:
        assert callable(find(family, name))
        assert summary(family, name).endswith((".", ")"))


def test_find_gives_the_part_itself():
    assert find("attacks", "pgd") is Pgd


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("attacks", "pgdd", "no attacks named 'pgdd'. Did you mean 'pgd'? Known: "),
        ("attacks", "_gradient", "no attacks named '_gradient'."),
        ("attacks", "../cams/cam", "no attacks named '../cams/cam'."),
        ("attacks", "", "no attacks named ''."),
        ("attack", "pgd", "no family named 'attack'. Did you mean 'attacks'? Known: attacks, cams, "),
    ],
)
def test_unknown_names(family, name, message):
    with pytest.raises(UnknownNameError) as told:
        find(family, name)
    assert str(told.value).startswith(message)


def test_build_takes_settings_from_both_sides_and_the_spec_wins():
    assert build("attacks", "pgd") == Pgd()
    assert build("attacks", "pgd:") == Pgd()
    assert build("attacks", "pgd:norm=l2, epsilon=0.5 ,steps=7", steps=3, random_start=False) == Pgd(
        norm="l2", epsilon=0.5, steps=7, random_start=False
    )
    assert build("attacks", "pgd:epsilon=2/255").epsilon == 2 / 255
    assert build("cams", "grad_cam") == find("cams", "grad_cam")()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pgd:stepps=2", "attacks 'pgd' has no setting 'stepps'. Did you mean 'steps'? Known: epsilon, norm,"),
        ("pgd:steps", "settings are written NAME:KEY=VALUE,KEY=VALUE, got 'steps' in 'pgd:steps'."),
        ("pgd:=2", "got '=2' in 'pgd:=2'."),
        ("pgd:steps=1,norm=l2,steps=2", "the setting 'steps' is given twice in 'pgd:steps=1,norm=l2,steps=2'."),
    ],
)
def test_settings_that_a_part_does_not_have(spec, message):
    with pytest.raises(SettingsError) as told:
        build("attacks", spec)
    assert message in str(told.value)


def test_a_function_has_no_settings():
    with pytest.raises(SettingsError, match=r"cams 'grad_cam' has no setting 'x'. It has none: leave it out."):
        build("cams", "grad_cam:x=1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8/255", 8 / 255),
        ("20", 20),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("inf", math.inf),
        ("true", True),
        ("False", False),
        ("None", None),
        ("l2", "l2"),
        ("1/0", "1/0"),
        ("1/2/3", "1/2/3"),
        ("", ""),
    ],
)
def test_values_as_people_write_them(text, expected):
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_parse():
    assert parse("pgd") == ("pgd", {})
    assert parse(" pgd : steps = 20 , norm = l2 ,") == ("pgd", {"steps": 20, "norm": "l2"})


def test_the_catalogue_tells_settings_with_their_defaults():
    (pgd,) = [entry for entry in catalogue("attacks") if entry.name == "pgd"]
    assert dict(pgd.settings) == {field.name: getattr(Pgd(), field.name) for field in dataclasses.fields(Pgd)}
    assert pgd.is_usable
    assert pgd.summary == summary("attacks", "pgd")
    assert setting_names(Pgd) == tuple(pgd.settings)
    for family in FAMILIES:
        assert [entry.name for entry in catalogue(family)] == names(family)


@pytest.mark.parametrize("family", ["attacks", "cams", "measures", "transforms", "detectors"])
def test_a_choice_called_none_can_be_written(family):
    """It is read as None, which its part takes for that choice."""
    for entry in catalogue(family):
        for key in (key for key, usual in entry.settings.items() if usual == "none"):
            assert build(family, f"{entry.name}:{key}=none") == build(family, entry.name)


def test_what_a_part_learns_is_no_setting_to_list_and_can_be_given_back():
    (found,) = [entry for entry in catalogue("detectors") if entry.name == "mahalanobis"]
    assert found.settings == {"at": "last", "per_class": 0}
    assert build("detectors", "mahalanobis", slopes=torch.ones(2)).slopes.tolist() == [1, 1]


# From here on: parts of other people, in a process of their own.

GOOD = '''
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Salt:
    """Turn a share of the pixels white."""

    share: float
    strength: float = 1.0

    def __call__(self, model, images, labels, *, generator):
        return images.clamp_min(self.share * self.strength)

def quarter(seen):
    """A quarter of the activations' sum."""
    return seen.as_map(seen.activations.sum(1)) / 4

def largest(first, second):
    """Largest difference of two maps."""
    return (first - second).abs().amax((1, 2))

class Plain:
    """No dataclass."""

number = 3
'''
ENTRIES = """
[gazeshift.attacks]
salt = other_parts:Salt
plain = other_parts:Plain
number = other_parts:number
gone = other_parts:Gone
lacking = other_lacking:Attack
broken = other_broken:Attack
absent = other_absent:Attack
pgd = other_parts:Salt

[gazeshift.cams]
quarter = other_parts:quarter

[gazeshift.measures]
largest = other_parts:largest
"""
METADATA = "Metadata-Version: 2.1\nName: other-parts\nVersion: 1.0\n"
FILES = {
    "other_parts.py": GOOD,
    "other_lacking.py": "import sklearn_of_the_future.cluster\n",
    "other_broken.py": "raise RuntimeError('not today')\n",
    "other_parts-1.0.dist-info/METADATA": METADATA,
    "other_parts-1.0.dist-info/entry_points.txt": ENTRIES,
}
USE = """
import sys, torch
from torch import nn
import gazeshift
from gazeshift.errors import GazeshiftError
from gazeshift.models import Classifier
from gazeshift.registry import build, catalogue, find, names

say = lambda *words: sys.stdout.write(" ".join(str(word) for word in words) + "\\n")
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
model, images = Classifier(network, name="toy"), torch.zeros(2, 3, 8, 8)
say("attacked", gazeshift.attack(model, images, by="salt:share=0.5,strength=0.5").images.unique().tolist())
evidence = gazeshift.look(model, images, layers="*", cams=("grad_cam", "quarter"))
say("cams", evidence.cams, tuple(evidence.maps("1", "quarter").shape))
say("measured", gazeshift.compare(evidence, evidence, measures="largest").table("largest").tolist())
say("own pgd", find("attacks", "pgd").__module__)
for entry in catalogue("attacks"):
    if not entry.is_usable or entry.name == "salt":
        say(entry.name, entry.is_usable, dict(entry.settings) if entry.is_usable else "", "|", entry.summary)
for spec in ("salt", "salt:share=1,colour=2", "plain", "gone", "absent"):
    try:
        build("attacks", spec)
    except GazeshiftError as told:
        say(spec, type(told).__name__, told)
"""


def run(code, *folders, arguments=()):
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders)}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip installed another package's wheel."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = folder / "other_parts-1.0-py3-none-any.whl"
    files = FILES | {
        "other_parts-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n"
    }
    record = "".join(f"{name},,\n" for name in [*files, "other_parts-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in (files | {"other_parts-1.0.dist-info/RECORD": record}).items():
            archive.writestr(name, content)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def told(installed):
    return run(USE, installed)


def test_parts_of_an_installed_package_run(told):
    assert "attacked [0.25]" in told
    assert "cams ('grad_cam', 'quarter') (2, 6, 6)" in told
    assert "measured [[0.0, 0.0]]" in told


def test_our_own_parts_cannot_be_replaced(told):
    assert "own pgd gazeshift.attacks.pgd" in told


def test_broken_parts_are_listed_with_their_error_beside_the_others(told):
    there = "is there and cannot be used:"
    lines = dict(line.split(" ", 1) for line in told if " | " in line)
    assert lines["salt"].endswith("'strength': 1.0} | Turn a share of the pixels white.")
    assert {name for name, line in lines.items() if line.startswith("False")} == {
        "absent",
        "broken",
        "gone",
        "lacking",
        "number",
    }
    assert lines["lacking"].endswith(
        "cannot be used: attacks 'lacking' needs the package 'sklearn_of_the_future': pip install sklearn_of_the_future"
    )
    assert lines["broken"].endswith(f"attacks 'broken' {there} RuntimeError: not today.")
    assert f"attacks 'gone' {there} AttributeError: module 'other_parts' has no attribute 'Gone'" in lines["gone"]
    assert lines["number"].endswith("a part is a function or a class, and this is a int.")


def test_what_cannot_be_built_says_why(told):
    assert "salt SettingsError attacks 'salt' needs the setting 'share'. Write salt:share=VALUE." in told
    assert "salt:share=1,colour=2 SettingsError attacks 'salt' has no setting 'colour'. Known: share, strength." in told
    assert (
        "plain SettingsError attacks 'plain' cannot be used: a part with settings must be a frozen dataclass." in told
    )
    assert (
        "absent MissingPackageError attacks 'absent' needs the package 'other_absent': pip install other_absent" in told
    )


def test_a_folder_beside_is_found_as_well(tmp_path):
    """Without pip: a dist-info folder on the path is all that entry points need."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    code = "import sys; from gazeshift.registry import names; sys.stdout.write(' '.join(names('cams')))"
    assert "quarter" in run(code, tmp_path)[0].split()


DROPPED = {
    "good": '__all__ = ["good"]\n\n'
    'def good(seen):\n    """Dropped in."""\n    return seen.as_map(seen.activations.sum(1))\n',
    "two_names": '__all__ = ["one", "two"]\none = two = len\n',
    "no_names": "one = len\n",
    "unwritten": '__all__ = ["unwritten"]\n',
    "misspelt": "def (:\n",
    "needy": "raise ModuleNotFoundError(name='cv2.dnn')\n",
    "inner": "import gazeshift.no_such_module\n",
}
DROP_USE = """
import sys
from gazeshift.errors import GazeshiftError
from gazeshift.registry import catalogue, find
sys.stdout.write(find("cams", "good").__module__ + "\\n")
for entry in catalogue("cams"):
    sys.stdout.write(f"{entry.name}: {entry.summary}\\n")
"""


def test_a_new_file_in_a_family_folder_is_a_part(tmp_path):
    copied = tmp_path / "gazeshift"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in DROPPED.items():
        (copied / "cams" / f"{name}.py").write_text(content)
    where, *lines = run(DROP_USE, tmp_path)
    assert where == "gazeshift.cams.good"
    told = dict(line.split(": ", 1) for line in lines)
    assert told["good"] == "Dropped in."
    assert told["grad_cam"].startswith("Channels weighted by their mean gradient")
    broken = {name: told[name].removeprefix(f"cannot be used: cams '{name}' ") for name in DROPPED if name != "good"}
    there = "is there and cannot be used:"
    assert broken["two_names"].startswith(
        f"{there} its file must have exactly one name in __all__, the part, and has 2"
    )
    assert broken["no_names"].endswith("the part, and has 0.")
    assert broken["unwritten"].startswith(f"{there} AttributeError: ")
    assert broken["misspelt"].startswith(f"{there} SyntaxError: ")
    assert broken["needy"] == "needs the package 'opencv-python': pip install opencv-python"
    assert broken["inner"] == f"{there} No module named 'gazeshift.no_such_module'."


def test_a_missing_package_is_named_as_pip_knows_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    for module, package in (("sklearn.cluster", "scikit-learn"), ("ray", "ray"), ("PIL.Image", "pillow")):
        monkeypatch.setattr(registry.importlib, "import_module", lambda _, module=module: missing(module))
        with pytest.raises(MissingPackageError) as told:
            find("attacks", "pgd")
        assert str(told.value) == f"attacks 'pgd' needs the package '{package}': pip install {package}"
