"""A study is one folder: take it away, and nothing but the study and its tests is gone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted(folder.parent.name for folder in (ROOT / "src/gazeshift/studies").glob("*/settings.py"))
IMPORT = """
import importlib, pkgutil, gazeshift
for module in pkgutil.walk_packages(gazeshift.__path__, "gazeshift."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


USE = """
from gazeshift import cli
cli.app(["list", "studies"], result_action="return_none")
cli.app(["--help"], result_action="return_none")
"""


def test_there_are_eight():
    assert len(STUDIES) == 8


@pytest.mark.parametrize("study", STUDIES)
def test_nobody_outside_imports_it(study):
    """But tests that take one as an example, and are skipped without it."""
    own = [
        ROOT / "src/gazeshift/studies" / study,
        ROOT / "tests/studies" / study,
        ROOT / f"tests/helpers/{study}_study.py",
    ]
    for folder in ("src", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            if not any(path.is_relative_to(room) for room in own):
                found = re.findall(rf"^.*(?:from|import) gazeshift\.studies\.{study}\b.*$", text, re.MULTILINE)
                assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the package and of what checks it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "tools", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.webp", "*.jpg"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize("study", ["deviation", "ding2022"])
def test_without_it_everything_else_is_there(study, copy, tmp_path):
    room = copy / "src/gazeshift/studies" / study
    shutil.move(room, tmp_path / study)
    try:
        listed = re.findall(r"^([a-z]+[0-9]*) ", python(copy, "-c", IMPORT + USE), re.MULTILINE)
        assert set(STUDIES) & set(listed) == set(STUDIES) - {study}
        python(copy, "tools/house.py")
        python(copy, "-c", "import sys; sys.argv[1:] = []; import runpy; runpy.run_path('tools/list_parts.py')")
    finally:
        shutil.move(tmp_path / study, room)


def python(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
