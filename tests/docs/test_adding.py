"""Every part of the page on adding parts, written out as a package of somebody else's, and used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.small_study import make_images, make_network
from helpers.visits import Visit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding.md"
USE = """
import torch
import gazeshift as gs
from gazeshift.pipeline import detector_inputs

model, source = gs.load(MODEL, device="cpu"), gs.open_source("images")
batch = source.read(0, 6, model.preprocessing)
found = gs.attack(model, batch.images, batch.labels, by="salt:share=0.5")
assert (found.images == 1).float().mean() > 0.4 and found.images.shape == batch.images.shape
before, after = (gs.look(model, images, cams=("grad_cam", "largest")) for images in (batch.images, found.images))
assert (before.maps(before.layers[0], "largest") >= 0).all()
moved = gs.compare(before, after, measures="peak").table("peak", "largest")
assert 0 < moved.mean() <= 1 and (gs.compare(before, before, measures="peak").table("peak") == 0).all()
detector = gs.build("detectors", "unsure")
seen = detector_inputs(model, batch.images, detector, generator=gs.generator_for(0, "views"))
assert detector.fit(detector.measure(seen)).score(detector.measure(seen)).shape == (6,)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The page's code as files, and its entry points, in a folder that Python looks at."""
    folder = tmp_path_factory.mktemp("package")
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"```python\n# (my_parts/[\w/.]+)\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 9
    for place, code in (*blocks, ("my_parts/__init__.py", "")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(code)
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    entries = re.sub(r'\[project\.entry-points\."([\w.]+)"\]', r"[\1]", toml).replace('"', "")
    information = folder / "my_parts-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my_parts\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("\n".join(entries.splitlines()[1:]))
    make_images(folder / "images", 12)
    return folder


def python(folder: Path, *arguments: object) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_attack_a_cam_a_measure_and_a_detector(package):
    python(package, "-c", f"MODEL = {make_network(package)!r}\n{USE}")


@pytest.fixture(scope="module")
def study(package) -> Path:
    """The study on two workers, by its command."""
    given = ("--model", make_network(package), "--device", "cpu", "--images", "images", "--batch-size", 2)
    said = python(package, "-m", "gazeshift", "study", "survival", *given, "--workers", 2, "--out", "survival")
    assert "images keep their class under fgsm" in said
    return package / "survival"


def test_a_study_of_ones_own_runs_on_two_workers(study):
    rows = pq.read_table(study / "rows.parquet")
    assert rows["image"].to_pylist() == [f"{number:03d}.png" for number in range(12)]
    assert json.loads((study / "manifest.json").read_text())["workers"] == {"kind": "processes", "count": 2}
    assert (study / "report.html").is_file()


@pytest.mark.browser
def test_its_page_opens(study, browser):
    opened = Visit(browser, (study / "report.html").as_uri()).ready()
    assert "Who keeps its class?" in opened.text("h1")
    assert "images keep their class under fgsm" in opened.text("main")
    assert opened.said == []
    opened.context.close()
