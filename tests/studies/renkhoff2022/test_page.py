"""The renkhoff2022 report: every figure of the paper, its numbers against plain loops, and hostile names."""

import json
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift import report
from gazeshift.report.document import Chart, Document, Gallery
from gazeshift.report.study import open_study
from gazeshift.studies.renkhoff2022.report.page import page as renkhoff2022
from gazeshift.studies.renkhoff2022.settings import Renkhoff2022
from helpers.renkhoff_study import make_settings

FIGURES = ["Fig 2a", "Fig 2b", "Fig 3", "Fig 4a", "Fig 4b", "Fig 5a", "Fig 5b", "Fig 6", "Fig 7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("renkhoff")
    return Renkhoff2022(**make_settings(home)).run(home / "out")


@pytest.fixture
def document(folder) -> Document:
    return renkhoff2022(open_study(folder))


def items(document: Document) -> list:
    return [item for section in document.sections for item in section.items]


def chart(document: Document, name: str) -> Chart:
    return next(item for item in items(document) if item.name == name)


def main_rows(folder: Path, **condition) -> list[dict]:
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    return [row for row in rows if row["fooled"] and all(row[key] == value for key, value in condition.items())]


def series(found: Chart) -> dict[str, list]:
    return {trace["name"]: trace["y"] for trace in found.traces}


def test_every_figure_is_there_with_the_papers_beside_it(document):
    assert [item.item for item in items(document) if item.item] == FIGURES
    for item in items(document):
        if item.item:
            assert item.paper
            assert not isinstance(item, Chart) or item.traces, item.title
    assert 3 <= len(document.findings) <= 5
    assert all(claim.held in {"held", "did not hold", "partly", "not tested"} for claim in document.claims)
    assert len(document.claims) >= 8


@pytest.mark.parametrize("target", [0, 1])
def test_probabilities_are_those_of_the_definition(folder, document, target):
    """SPEC 6.3: strictly below the median under noise; the paired one, below the image's own noise."""
    said = {"predicted": 0, "reference": 1}
    compromise, paired = (series(chart(document, f"{name}-{target}")) for name in ("compromise", "paired"))
    for strength, label in ((0.5, "50 %"), (1.0, "100 %")):
        for place, layer in enumerate(("first", "second")):
            keys = {"strength": strength, "layer": layer, "target": next(k for k, v in said.items() if v == target)}
            attacked = {row["image"]: row["value"] for row in main_rows(folder, kind="attacked", **keys)}
            noise = {row["image"]: row["value"] for row in main_rows(folder, kind="noise", **keys)}
            assert attacked.keys() == noise.keys()
            threshold = statistics.median(noise.values())
            wanted = sum(value < threshold for value in attacked.values()) / len(attacked)
            assert compromise[label][place] == pytest.approx(wanted, abs=1e-9)
            wanted = sum(attacked[name] < noise[name] for name in attacked) / len(attacked)
            assert paired[label][place] == pytest.approx(wanted, abs=1e-9)


def test_compromised_layers_are_counted_per_example(folder, document):
    bars = series(chart(document, "compromised-layers"))
    for strength, label in ((0.5, "50 %"), (1.0, "100 %")):
        counts: dict[str, int] = {}
        for layer in ("first", "second"):
            keys = {"strength": strength, "layer": layer, "target": "predicted"}
            threshold = statistics.median(row["value"] for row in main_rows(folder, kind="noise", **keys))
            for row in main_rows(folder, kind="attacked", **keys):
                counts[row["image"]] = counts.get(row["image"], 0) + (row["value"] < threshold)
        wanted = [list(counts.values()).count(k) / len(counts) for k in range(3)]
        assert bars[label] == pytest.approx(wanted)
        assert sum(bars[label]) == pytest.approx(1)


def test_means_boxes_and_the_ranking_are_those_of_the_rows(folder, document):
    means, boxes = series(chart(document, "means-a-0")), chart(document, "boxes-b").traces[0]
    gaps = {}
    for place, layer in enumerate(("first", "second")):
        keys = {"layer": layer, "target": "predicted"}
        values = [row["value"] for row in main_rows(folder, kind="attacked", strength=1.0, **keys)]
        assert means["100 %"][place] == pytest.approx(np.mean(values))
        noise = [row["value"] for row in main_rows(folder, kind="noise", **keys)]
        assert boxes["median"][place] == pytest.approx(statistics.median(noise))
        gaps[layer] = np.mean([row["value"] for row in main_rows(folder, kind="attacked", **keys)]) - np.mean(noise)
    ranked = [row[0] for row in chart(document, "ranking").rows]
    labels = {"first": "1-1", "second": "2-1"}  # a plain network's convolutions have VGG's names too
    assert ranked == [labels[layer] for layer in sorted(gaps, key=gaps.__getitem__)]


def test_seeds_that_were_wrong_are_counted_apart(folder, document):
    seeds = pq.read_table(folder / "seeds.parquet").to_pylist()
    right = [seed for seed in seeds if seed["clean_correct"]]
    table = chart(document, "outcomes").rows
    assert table[0][1:3] == [str(len(right)), str(sum(seed["switched"] for seed in right))]
    wrong = [seed for seed in seeds if not seed["clean_correct"]]
    assert table[1][1:3] == [str(len(wrong)), str(sum(seed["switched"] for seed in wrong))]
    examples = sum(seed["switched"] for seed in wrong)
    assert chart(document, "wrong-seeds").title.endswith(f"{examples} examples")


def test_the_least_alike_layers_are_framed(folder, document):
    gallery = next(item for item in items(document) if isinstance(item, Gallery))
    headings = [heading.split(":")[0] for heading, _ in gallery.rows]
    assert headings == ["Clean", "Adversarial", "Gaussian noise"] * 2
    for heading, pictures in gallery.rows:
        assert len(pictures) == 1 + 2
        frames = {"Clean": "", "Adversarial": "attacked", "Gaussian noise": "ok"}
        assert {picture.frame for picture in pictures[1:]} == {frames[heading.split(":")[0]]}
        assert all(picture.webp[:4] == b"RIFF" for picture in pictures)


def test_the_cost_and_the_arithmetic_are_told(folder, document):
    ratio = json.loads((folder / "manifest.json").read_text())["cost"]["ratio"]
    assert dict(document.facts)["Cost"].startswith(f"{ratio:.2f} x")
    assert [row[1:3] for row in chart(document, "arithmetic").rows] == [["0.50", "0.00"], ["1.00", "0.00"]]


def test_released_numbers_are_marked_as_such(tmp_path):
    changes = {"strengths": "0.25,0.5,1,2,4", "arithmetic": "released", "space": "jet", "coverage_seeds": 0}
    out = Renkhoff2022(**make_settings(tmp_path) | changes).run(tmp_path / "out")
    document = renkhoff2022(open_study(out))
    assert len(document.warnings) == 2
    rows = chart(document, "arithmetic").rows
    assert [row[1] for row in rows] == [row[3] for row in rows] == ["0.25", "-0.25", "-0.25", "0.75", "3.75"]
    assert [row[2] for row in rows] == ["0.00", "-0.75", "-1.25", "-1.25", "-0.25"]
    means = series(chart(document, "means-a-0"))
    assert means["50 %"] == means["100 %"]
    assert "set aside" in chart(document, "coverage-arms").empty


def test_only_wrong_seeds_leave_nothing_to_compare(folder, tmp_path):
    for path in folder.glob("*.*"):
        if path.suffix == ".parquet" and path.stem in {"rows", "images", "seeds"}:
            table = pq.read_table(path)
            for name in {"clean_correct", "fooled", "success"} & set(table.column_names):
                table = table.set_column(table.column_names.index(name), name, pa.array([False] * table.num_rows))
            pq.write_table(table, tmp_path / path.name)
        elif path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    made = report.make(tmp_path)
    assert "All 9 seeds were misclassified before the attack" in made.html
    assert "Fig 2a" in made.html


def test_names_are_text_and_not_markup(folder, tmp_path):
    for path in folder.glob("*.*"):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            evil = pa.array([f"<img src=x onerror=alert(1)>{name}" for name in table["image"].to_pylist()])
            pq.write_table(table.set_column(table.column_names.index("image"), "image", evil), tmp_path / path.name)
        elif path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert "<img src=x" not in report.make(tmp_path).html


def test_the_same_folder_gives_the_same_page(folder):
    assert report.make(folder) == report.make(folder)
