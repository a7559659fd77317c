"""The page of a scorecard: its sentences and tables from made rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from gazeshift import report
from gazeshift.errors import DataError
from gazeshift.report.document import Chart, Choice, Document, Table
from gazeshift.report.study import open_study
from gazeshift.studies.scorecard.report.numbers import ALL, FAILED, FOOLED, Key, read_found
from gazeshift.studies.scorecard.report.page import page as scorecard
from gazeshift.studies.scorecard.run import ROWS
from helpers.scorecard_study import SETS, plain_detected, write

ADAPTIVE = [
    {"method": "joint", "epsilon": 1 / 255, "n": 64, "misclassified": 64, "flagged": 48, "evaded": 16, "restarts": 3},
    {"method": "joint", "epsilon": 2 / 255, "n": 64, "misclassified": 64, "flagged": 16, "evaded": 48, "restarts": 3},
]


def document(folder: Path) -> Document:
    return scorecard(open_study(folder))


def items(found: Document) -> dict[str, Any]:
    return {item.title: item for section in found.sections for item in section.items}


def edit(folder: Path, **changes: Any) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = write(tmp_path_factory.mktemp("card") / "study")
    return made


def columns(folder: Path, detector: str, learned: str = "as fitted", of: str = "") -> list[dict[str, Any]]:
    every = pq.read_table(folder / "rows.parquet").to_pylist()
    return [row for row in every if (row["detector"], row["learned"], row["from_set"]) == (detector, learned, of)]


def test_the_first_line_says_that_no_adaptive_attack_was_tried(folder):
    made = document(folder)
    assert made.findings[0].startswith("No adaptive attack was tried: ")
    assert made.paper.startswith("No adaptive attack was tried: ")
    assert "Attacks that know the detector" not in [section.title for section in made.sections]


def test_every_number_of_an_attack_is_that_of_plain_lists(folder):
    rows = columns(folder, "feature_squeezing")
    negative = [row["suspicion"] for row in rows if row["kind"] != "attack"]
    positive = [row for row in rows if row["condition"] == "pgd-2" and row["success"]]
    scores = [row["suspicion"] for row in positive]
    truth = [0] * len(negative) + [1] * len(scores)
    found = items(document(folder))
    expected = {
        "AUROC by attack": f"{roc_auc_score(truth, negative + scores):.3f} [",
        "TPR at 5 % false alarms by attack": f"{100 * plain_detected(scores, negative, 0.05):.0f} % [",
        "TPR at 1 % false alarms by attack": f"{100 * plain_detected(scores, negative, 0.01):.0f} % [",
        "Flagged by attack": f"{100 * sum(row['is_attack'] for row in positive) / len(positive):.0f} % [",
    }
    for title, begins in expected.items():
        table = found[title]
        row = next(row for row in table.rows if row[0] == "pgd-2")
        assert row[1] == str(len(positive))
        assert row[table.head.index("feature_squeezing")].startswith(begins), title
    assert len(negative) == 240


def test_the_best_of_a_row_is_marked_among_those_that_do_not_know_the_attack(folder):
    table = items(document(folder))["AUROC by attack"]
    knows = table.head.index("stability, all sets")
    for row in table.rows:
        assert sum("★" in cell for cell in row) == 1
        assert not row[knows].endswith(("★", "≈"))
        fair = {at: float(row[at].split()[0]) for at in range(2, len(row)) if at != knows}
        assert "★" in row[max(fair, key=lambda at: fair[at])]


def test_supervised_detectors_have_a_row_for_each_way_to_learn(folder):
    found = items(document(folder))
    assert [row[0] for row in found["All detectors over all attacks"].rows] == [
        "stability, clean only",
        "stability, unseen attack",
        "stability, all sets",
        "feature_squeezing",
        "confidence",
    ]
    unseen = found["stability: supervised with the tested attack left out"]
    assert [row[:2] for row in unseen.rows] == [["pgd-2", "pgd"], ["pgd-4", "pgd"], ["fgsm-4", "fgsm"], ["mean", ""]]
    rows = columns(folder, "stability", "without", "fgsm")
    negative = [row["suspicion"] for row in rows if row["kind"] != "attack"]
    positive = [row["suspicion"] for row in rows if row["condition"] == "fgsm-4" and row["success"]]
    area = roc_auc_score([0] * len(negative) + [1] * len(positive), negative + positive)
    assert unseen.rows[2][3].startswith(f"{area:.3f} [")
    matrix = found["AUROC of stability, by what it learned from"]
    assert [row[0] for row in matrix.rows] == [
        "only pgd-2",
        "only pgd-4",
        "only fgsm-4",
        "clean images only",
        "all but the tested attack",
        "all sets",
    ]
    assert float(matrix.rows[4][3]) == pytest.approx(area, abs=0.006)


def test_one_that_learns_nothing_from_clean_images_alone_has_no_row_for_it(tmp_path):
    folder = write(tmp_path / "study", images=24)
    rows = [row for row in pq.read_table(folder / "rows.parquet").to_pylist() if row["learned"] != "clean images only"]
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), folder / "rows.parquet")
    found = items(document(folder))
    named = [row[0] for row in found["All detectors over all attacks"].rows]
    assert named[:2] == ["stability, unseen attack", "stability, all sets"]
    assert "clean images only" not in [row[0] for row in found["AUROC of stability, by what it learned from"].rows]


def test_successful_failed_and_all_examples_are_told_apart(folder):
    table = items(document(folder))["stability: successful, failed and all"]
    assert [cell for at, cell in enumerate(table.rows[0]) if at % 3 == 1] == ["56", "24", "80"]
    scores = read_found(open_study(folder)).scores[Key("stability", "as fitted", "")]
    some = [scores.examples("pgd-2", part) for part in (FOOLED, FAILED, ALL)]
    assert (some[0] ^ some[1] == some[2]).all()


def test_false_alarms_are_counted_by_change_and_by_right_and_wrong(folder):
    found = items(document(folder))
    chart = found["Flagged images that are no attack"]
    assert isinstance(chart, Chart)
    assert [row[0] for row in chart.rows] == ["clean", "JPEG (quality 75)", "Gaussian noise"]
    flagged = [row["is_attack"] for row in columns(folder, "confidence") if row["condition"] == "jpeg:quality=75"]
    assert chart.rows[1][-1].startswith(f"{100 * sum(flagged) / 80:.1f} % [")
    assert chart.rows[1][-1].endswith(" of 80")
    assert chart.layout["shapes"][0]["y0"] == 0.05
    wrong = [
        row["is_attack"] for row in columns(folder, "confidence") if row["kind"] == "clean" and not row["clean_correct"]
    ]
    cells = found["Flagged clean images"].rows[-1]
    assert cells[2].startswith(f"{100 * sum(wrong) / len(wrong):.1f} % [")
    assert (cells[1].endswith(" of 70"), cells[2].endswith(" of 10")) == (True, True)


def test_curves_and_histograms_are_chosen(folder):
    found = items(document(folder))
    roc, suspicions = found["ROC curves"], found["Suspicions"]
    assert isinstance(roc, Choice)
    assert list(roc.charts) == [
        "all attacks together",
        "pgd-2 (pgd, L-inf 2/255)",
        "pgd-4 (pgd, L-inf 4/255)",
        "fgsm-4 (fgsm, L-inf 4/255)",
    ]
    one = roc.charts["pgd-2 (pgd, L-inf 2/255)"]
    names = [trace["name"] for trace in one.traces]
    assert names == ["stability, clean only", "stability, unseen attack", "feature_squeezing", "confidence", "chance"]
    assert all(min(trace["x"]) > 0 for trace in one.traces), "a logarithm has no 0"
    assert list(suspicions.charts) == ["stability", "feature_squeezing", "confidence"]
    chart = suspicions.charts["stability"]
    assert [sum(trace["y"]) for trace in chart.traces] == pytest.approx([1, 1, 1])
    assert chart.layout["shapes"][-1]["x0"] == 1.645


def test_sizes_of_an_attack_are_a_line(folder):
    chart = items(document(folder))["stability: AUROC against the size of the change"]
    assert [trace["name"] for trace in chart.traces] == ["pgd on efficientnet_lite0"]
    assert chart.traces[0]["x"] == [2.0, 4.0]


def test_adaptive_results_come_first_and_are_drawn(tmp_path):
    made = document(write(tmp_path / "study", images=16, adaptive=ADAPTIVE))
    assert made.findings[0] == (
        "Attacks that know the detector were tried: joint at 2/255 got 75.0 % [63.2, 84.0] of 64 images misclassified "
        "and not flagged. Half of the images get past it from 2/255 (joint) on."
    )
    found = items(made)
    assert made.sections[0].title == "Attacks that know the detector"
    assert found["Evasion by attacks that know the detector"].traces[0]["y"] == [0.25, 0.75]
    assert found["Adaptive attacks"].rows[0][-2:] == ["25.0 % [16.0, 36.8]", "3"]


def test_the_budget_ratio_compares_the_sizes_that_reach_half_of_the_images(tmp_path):
    plain = {"method": "pgd", "adaptive": False, "n": 8, "flagged": 8}
    rows = [
        plain | {"epsilon": 0.5 / 255, "misclassified": 2, "evaded": 2, "bits": None},
        plain | {"epsilon": 2 / 255, "misclassified": 6, "evaded": 0, "bits": None},
        plain | {"epsilon": 2 / 255, "misclassified": 8, "evaded": 8, "bits": 8},
    ]
    known = {"method": "joint", "adaptive": True, "n": 8, "misclassified": 8, "flagged": 0}
    rows += [known | {"epsilon": size / 255, "evaded": past, "bits": None} for size, past in ((1, 0), (4, 8))]
    rows += [known | {"epsilon": 4 / 255, "evaded": 4, "bits": 8}]
    made = document(write(tmp_path / "study", images=16, adaptive=rows))
    assert items(made)["Budget ratio"].rows == [
        ["joint, as they are", "2/255", "1/255", "–", "2.00"],
        ["joint, 8-bit files", "4/255", "2/255", "2/255", "2.00"],
    ]
    assert "joint at 4/255 got 100.0 %" in made.findings[0], "the plain attack does not know the detector"
    assert len(items(made)["Evasion by attacks that know the detector"].traces) == 4


@pytest.mark.parametrize("row", [{}, {"epsilon": "much"}, {"n": 0, "evaded": 0}, {"n": 4, "evaded": 9, "epsilon": 0.1}])
def test_adaptive_results_that_say_little_stop_nothing(tmp_path, row):
    assert "Adaptive attacks" in report.make(write(tmp_path / "study", images=16, adaptive=[row])).html


def test_without_sets_only_false_alarms_are_judged(tmp_path):
    made = document(write(tmp_path / "study", sets={}))
    assert [section.title for section in made.sections] == ["False alarms", "What was tested"]
    assert "Add --set" in made.warnings[0]
    assert made.findings[1].startswith("No adversarial example that fools the model was tested")
    assert made.findings[2].startswith("False alarms of stability as it was fitted, at a promised 5.0 %: clean ")


def test_a_set_that_fools_nobody_is_named(tmp_path):
    folder = write(tmp_path / "study", images=24)
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    quiet = [row | {"success": row["success"] and row["condition"] != "fgsm-4"} for row in rows]
    pq.write_table(pa.Table.from_pylist(quiet, schema=ROWS), folder / "rows.parquet")
    made = document(folder)
    assert made.warnings[0].startswith("No example of fgsm-4 fools the model")
    assert [row[0] for row in items(made)["AUROC by attack"].rows] == ["pgd-2", "pgd-4", "mean"]
    assert "fgsm-4" in report.make(folder).html


def test_undefined_suspicions_are_drawn_and_count_as_flagged(tmp_path):
    folder = write(tmp_path / "study", images=24)
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    nothing = [row | ({"suspicion": None, "is_attack": True} if row["image"] == "003.jpg" else {}) for row in rows]
    pq.write_table(pa.Table.from_pylist(nothing, schema=ROWS), folder / "rows.parquet")
    scores = read_found(open_study(folder)).fitted("stability")
    assert np.isposinf(scores.suspicion).sum() == 6, "clean, two changes and three attacks"
    assert report.make(folder).findings[1].startswith("stability, clean only: mean AUROC 0.")


def test_names_are_text(tmp_path):
    sets = {"<b>pgd</b>": SETS["pgd-2"]}
    html = report.make(write(tmp_path / "study", images=16, sets=sets)).html
    assert "<b>pgd" not in html
    assert "&lt;b&gt;pgd" in html


def test_damaged_tables_are_named(tmp_path):
    folder = write(tmp_path / "study", images=16)
    table = pq.read_table(folder / "rows.parquet")
    pq.write_table(table.drop_columns(["suspicion"]), folder / "rows.parquet")
    with pytest.raises(DataError, match="lacks the column suspicion"):
        report.make(folder)
    pq.write_table(table.slice(0, 0), folder / "rows.parquet")
    with pytest.raises(DataError, match="says nothing of detector stability, feature_squeezing, confidence"):
        report.make(folder)


def test_a_damaged_manifest_is_named(tmp_path):
    folder = edit(write(tmp_path / "study", images=16), detectors={"stability": {"kind": "stability"}})
    with pytest.raises(DataError, match=r"manifest.json is damaged at detectors.stability.name"):
        report.make(folder)


def test_the_same_study_gives_the_same_page(folder):
    first = report.make(folder)
    assert first.html == report.make(folder).html
    assert isinstance(items(document(folder))["Detectors"], Table)
