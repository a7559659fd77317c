"""Every part of the page on adding parts, written out as a package of somebody else's, and used."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.gateways import Running
from helpers.small_study import make_images, make_network
from helpers.visits import Visit

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adding.md"
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

MEASURES = ["cosine", "nissim", "area", "correlation", "displacement", "peak"]


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


@pytest.fixture(scope="module")
def grown(package, tmp_path_factory) -> Path:
    """gazeshift with the page's measure and CAM as two more of its files, and a deviation study that names neither."""
    folder = tmp_path_factory.mktemp("grown")
    shutil.copytree(ROOT / "src" / "gazeshift", folder / "gazeshift", ignore=shutil.ignore_patterns("__pycache__"))
    for family, name in (("measures", "peak"), ("cams", "largest")):
        code = (package / "my_parts" / f"{name}.py").read_text()
        (folder / "gazeshift" / family / f"{name}.py").write_text(f'{code}\n__all__ = ["{name.title()}"]\n')
    given = ("--model", make_network(folder), "--device", "cpu", "--images", package / "images", "--batch-size", 4)
    asked = ("--attack", "fgsm", "--epsilon", "16/255", "--strengths", "1,2", "--out", "study")
    python(folder, "-m", "gazeshift", "study", "deviation", *given, *asked)
    return folder


def measured(grown: Path, **wanted: object) -> list[dict]:
    rows = pq.read_table(grown / "study" / "rows.parquet").to_pylist()
    return [row for row in rows if wanted.items() <= row.items()]


def test_a_measure_and_a_cam_are_in_the_studys_table_by_themselves(grown):
    by_measure = {name: {row["cam"] for row in measured(grown, measure=name)} for name in MEASURES}
    every = {"grad_cam", "grad_cam_pp", "layer_cam", "noise_cam", "cam", "largest"}
    assert by_measure == {"cosine": every} | {name: {"grad_cam"} for name in MEASURES[1:]}
    values = [row["value"] for row in measured(grown, measure="peak")]
    assert len(values) == len(measured(grown, measure="nissim"))
    assert 0 == min(values) < max(values) <= 1
    cards = json.loads((grown / "study" / "manifest.json").read_text())["measures"]
    assert [card["name"] for card in cards] == MEASURES
    assert cards[-1]["about"].startswith("Distance of the two maxima")


@pytest.mark.browser
def test_they_are_in_the_menus_of_its_page(grown, browser):
    opened = Visit(browser, (grown / "study" / "report.html").as_uri()).ready()
    menu, cams = (opened.page.locator(f".choosers select[data-choose={name}]") for name in ("measure", "cam"))
    assert menu.locator("option").all_inner_texts() == ["Cosine", "NISSIM", *MEASURES[2:]]
    assert "largest" in cams.locator("option").all_inner_texts()
    menu.select_option(label="peak")
    opened.page.locator(".choosers select[data-choose=images]").select_option("all")
    for chart in ("layers", "compromise", "split", "strengths_attacked"):
        assert opened.page.locator(f"#plot-{chart}").is_visible(), chart
    assert opened.page.locator("#plot-layers .ytitle").text_content() == "peak, 0 = same"
    condition = {"measure": "peak", "strength": 1.0, "kind": "attacked", "target": "predicted"}
    shown = opened.page.locator("[data-table=layers] tbody tr")
    for place, layer in enumerate(("first", "second")):
        values = [row["value"] for row in measured(grown, layer=layer, **condition)]
        median = float(shown.nth(place).locator("td").first.text_content())
        assert median == pytest.approx(statistics.median(values), abs=0.0051)
    assert "peak to the clean map" in opened.text("#stage .reading")
    cams.select_option(label="largest")
    assert "This measure was not computed for this map" in opened.text("#figure-layers .empty")
    menu.select_option(label="Cosine")
    assert opened.page.locator("#plot-layers").is_visible()
    assert opened.said == []
    opened.context.close()


@pytest.fixture(scope="module")
def explorer(grown) -> Iterator[Running]:
    """The explorer of its study, by its command."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(grown), *sys.path])}
    command = [sys.executable, "-m", "gazeshift", "explore", "study", "--port", "0"]
    process = subprocess.Popen(command, cwd=grown, env=environment, stdout=subprocess.PIPE, text=True)
    yield Running(port=int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1]))
    process.terminate()
    process.communicate(timeout=20)


def test_they_are_choices_of_its_explorer(grown, explorer):
    about = explorer.ask("/explorer/study").json
    choices = {one["name"]: [option["value"] for option in one["options"]] for one in about["choices"]}
    assert choices["measure"] == MEASURES
    assert "largest" in choices["cam"]
    assert about["measures"]["peak"] == {"label": "peak", "same": 0, "reach": 1}
    condition = {"strength": 1.0, "kind": "attacked", "target": "predicted", "layer": "second"}
    for chosen, falls in (
        ({"measure": "peak", "cam": "grad_cam"}, True),
        ({"measure": "cosine", "cam": "largest"}, False),
    ):
        asked = "&".join(f"{name}={value}" for name, value in (chosen | {"layer": "second", "sort": "moved"}).items())
        rows = explorer.ask(f"/explorer/study/images?{asked}").json["rows"]
        wanted = {row["image"]: row["value"] for row in measured(grown, **condition, **chosen) if not row["blank"]}
        found = {row["image"]: row["value"] for row in rows if row["value"] is not None}
        assert found == pytest.approx(wanted, abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=falls), "what moved most comes first"
    image = explorer.ask("/explorer/study/images/0").json
    assert len(image["moved"]["fgsm|1|attacked|predicted|grad_cam|peak"]) == 2


def test_the_explorer_of_images_draws_it_too(grown):
    code = """
import torch, gazeshift as gs
from gazeshift.serve.explorer.analysis import analyse
from gazeshift.serve.explorer.serialize import analysis_json

classifier = gs.load("module:tiny_network.py:tiny", device="cpu")
said = analysis_json(analyse(classifier, None, torch.rand(3, 32, 32), seed=0))
print(*said["cams"], len(said["before"]["maps"]["predicted"]["largest"]))
"""
    assert python(grown, "-c", code).split() == ["grad_cam", "grad_cam_pp", "layer_cam", "noise_cam", "largest", "2"]


def test_a_measure_and_a_cam_of_another_package_reach_the_study_too(package):
    given = ("--model", make_network(package), "--device", "cpu", "--images", "images", "--limit", 4, "--strengths", 1)
    python(package, "-m", "gazeshift", "study", "deviation", *given, "--attack", "salt", "--out", "deviation")
    rows = pq.read_table(package / "deviation" / "rows.parquet")
    assert set(rows["measure"].to_pylist()) == set(MEASURES)
    assert "largest" in rows["cam"].to_pylist()
