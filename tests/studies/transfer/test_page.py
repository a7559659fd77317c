"""The page of the transfer study: its sentences and numbers from a table made by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift import report
from gazeshift.errors import DataError
from gazeshift.report.document import Chart, Document, Table
from gazeshift.report.statistics import wilson
from gazeshift.report.study import open_study
from gazeshift.studies.transfer.report.page import page as transfer
from gazeshift.studies.transfer.summary import paired
from helpers.transfer_study import ERRORS, MODELS, write


def document(folder: Path) -> Document:
    return transfer(open_study(folder))


def items(found: Document) -> dict[str, Chart | Table]:
    return {item.title: item for section in found.sections for item in section.items}  # type: ignore[misc]


def test_the_findings_are_the_tables(tmp_path: Path) -> None:
    said = document(write(tmp_path / "study")).findings
    assert said[0] == (
        "other is wrong on 10 % [2, 40] of 10 clean images, and attacked on lite0 (scaled to RMS 7/255) on "
        "80 % [49, 94] by aoa, 40 % [17, 69] by pgd."
    )
    assert said[1].startswith("lite2 is wrong on 10 % [2, 40]")
    assert said[2].startswith(
        "aoa against pgd, on the 2 other models: better on 1, not told apart on 1 (95 % intervals"
    )
    assert said[3] == "On lite0 itself, of the images that it got right, as made: aoa 100 %, pgd 100 % fooled."
    assert "standard error of up to 0.16" in said[4]
    assert len(said) == 5


def test_charts_and_tables_hold_every_number(tmp_path: Path) -> None:
    found = items(document(write(tmp_path / "study")))
    chart = found["Made on lite0, scaled to RMS 7/255"]
    assert isinstance(chart, Chart)
    assert [trace["name"] for trace in chart.traces] == ["clean", "aoa", "pgd"]
    assert chart.traces[1]["y"] == [1.0, 0.8, 0.3]
    assert chart.traces[1]["error_y"]["array"][1] == pytest.approx(wilson(8, 10)[1] - 0.8)
    assert chart.rows[1] == ["other", "10 % [2, 40]", "80 % [49, 94]", "40 % [17, 69]"]
    assert chart.rows[0][0] == "lite0 (attacked)"
    differences = found["Difference of the error rates in percentage points"]
    assert differences.rows[2][:5] == ["pgd", "lite0", "other", "scaled to RMS 7/255", "-40.0"]
    low, high = paired(0, 4, 10)
    assert differences.rows[2][5:] == [f"{100 * low:+.1f} to {100 * high:+.1f}", "0 / 4"]
    assert len(differences.rows) == 4, "two sizes and two models that were not attacked"
    changes = found["How much the attacks changed"]
    assert [row[3] for row in changes.rows] == ["7.00", "5.00", "7.00", "7.00"]


def test_several_sources_make_a_matrix(tmp_path: Path) -> None:
    found = items(document(write(tmp_path / "study", sources=2)))
    matrix = found["aoa, scaled to RMS 7/255: share wrong"]
    assert isinstance(matrix, Chart)
    assert matrix.rows == [["lite0", "1.00", "0.80", "0.30"], ["other", "1.00", "0.80", "0.30"]]


def test_attacks_of_different_size_are_warned_of(tmp_path: Path) -> None:
    assert not document(write(tmp_path / "scaled")).warnings
    (warning,) = document(write(tmp_path / "unlike", sizes=("as made",))).warnings
    assert "--rms" in warning


def test_an_attack_that_does_better_elsewhere_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ERRORS, "pgd", [2, 9, 3])
    (warning,) = document(write(tmp_path / "study")).warnings
    assert warning.startswith("pgd made on lite0 does worse there than on other: gradients of lite0 may be masked")


def test_without_an_image_the_page_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "study")
    pq.write_table(pa.Table.from_pylist([]), folder / "table.parquet")
    found = document(folder)
    assert "No image could be used" in found.warnings[0]
    assert (list(found.findings), list(found.sections)) == ([], [])
    assert "No image could be used" in report.make(folder).html


def renamed(folder: Path, name: str) -> Path:
    """The study with another name in place of lite2."""
    manifest, table = folder / "manifest.json", folder / "table.parquet"
    manifest.write_text(manifest.read_text().replace("lite2", name))
    lines = [one | {"victim": one["victim"].replace("lite2", name)} for one in pq.read_table(table).to_pylist()]
    pq.write_table(pa.Table.from_pylist(lines), table)
    return folder


def test_names_of_models_are_text(tmp_path: Path) -> None:
    html = report.make(renamed(write(tmp_path / "study"), "<b>lite2")).html
    assert "<b>lite2" not in html
    assert "&lt;b&gt;lite2" in html


def test_two_models_of_the_same_name_keep_their_paths(tmp_path: Path) -> None:
    folder = renamed(write(tmp_path / "study"), "module:/elsewhere.py:other")
    assert MODELS[1] in dict(document(folder).facts)["Shown to"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "study")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"settings": {"fit": 3}}))
    with pytest.raises(DataError, match=r"manifest.json is damaged at settings.fit"):
        document(folder)
    del manifest["sources"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest.json is damaged at sources"):
        document(folder)
