"""The lists of a study's explorer: every order, every outcome, every version, and what each row says of itself."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift.errors import BoundsError
from gazeshift.serve.study_explorer.deviation import DeviationTables
from gazeshift.serve.study_explorer.scorecard import ScorecardTables
from gazeshift.serve.study_explorer.tables import Listed, Page
from helpers.gateways import Running
from helpers.scorecard_study import write as write_scorecard
from helpers.synthetic_study import HOSTILE, write_study

CONDITION = {"attack": "pgd", "strength": "1", "kind": "attacked"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), images=12, layers=5)


@pytest.fixture(scope="module")
def tables(folder: Path) -> Iterator[DeviationTables]:
    made = DeviationTables(folder)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """A scorecard's rows, with p-values and confidences that order them otherwise than the suspicion does."""
    study = write_scorecard(tmp_path_factory.mktemp("scorecard") / "study")
    rows = pq.read_table(study / "rows.parquet")
    random = np.random.default_rng(1)
    for name, kind in (("p_value", pa.float64()), ("confidence", pa.float32())):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(random.random(len(rows)), kind))
    pq.write_table(rows, study / "rows.parquet")
    return [{**row, "study": study} for row in rows.to_pylist()]


@pytest.fixture(scope="module")
def scorecard(verdicts: list[dict]) -> Iterator[ScorecardTables]:
    made = ScorecardTables(verdicts[0]["study"])
    yield made
    made.store.close()


def rows_of(folder: Path, **wanted: object) -> list[dict]:
    wanted = {"measure": "cosine"} | wanted
    return [row for row in pq.read_table(folder / "rows.parquet").to_pylist() if wanted.items() <= row.items()]


@pytest.mark.parametrize("column", ["margin", "psnr", "changed_confidence"])
def test_a_deviation_study_is_sorted_by_what_was_chosen(folder: Path, tables: DeviationTables, column: str) -> None:
    assert set(tables.sorts) == {"moved", "margin", "psnr", "changed_confidence", "image"}
    images = pq.read_table(folder / "images.parquet").to_pylist()
    wanted = [row for row in images if {**CONDITION, "strength": 1.0}.items() <= row.items()]
    for reverse in (False, True):
        names = [
            row["image"]
            for row in sorted(wanted, key=lambda row: (-row[column] if reverse else row[column], row["image"]))
        ]
        found = tables.listed(Page(chosen=CONDITION, sort=column, reverse=reverse))
        assert [row["image"] for row in found.rows] == names


def test_what_is_undefined_comes_last_either_way(tables: DeviationTables) -> None:
    chosen = {**CONDITION, "cam": "layer_cam", "layer": "head"}
    for reverse in (False, True):
        rows = tables.listed(Page(chosen=chosen, sort="moved", reverse=reverse)).rows
        assert rows[-1]["image"] == HOSTILE
        assert [row["value"] is None for row in rows] == [False] * 11 + [True]


def test_every_row_says_what_became_of_it(tables: DeviationTables) -> None:
    for outcome, word in (("fooled", "fooled"), ("held", "held"), ("wrong", "wrong before")):
        rows = tables.listed(Page(chosen={**CONDITION, "outcome": outcome})).rows
        assert rows
        assert {row["outcome"] for row in rows} == {word}
        assert all(row["image"] == tables.store.name(row["number"]) for row in rows)


def test_a_page_has_at_most_200_rows() -> None:
    assert Page(size=200).size == 200
    for size in (0, 201):
        with pytest.raises(BoundsError, match="a page has 1 to 200"):
            Page(size=size)


@pytest.mark.parametrize(
    ("sort", "falls"), [("suspicion", True), ("p_value", False), ("confidence", True), ("image", False)]
)
def test_a_scorecard_is_sorted_with_what_matters_first(
    verdicts: list[dict], scorecard: ScorecardTables, sort: str, falls: bool
) -> None:
    mine = [row for row in verdicts if (row["detector"], row["learned"]) == ("stability", "as fitted")]
    for reverse in (False, True):
        found = scorecard.listed(Page(chosen={"judge": "stability"}, sort=sort, reverse=reverse, size=200)).rows
        wanted = sorted((row[sort] for row in mine), reverse=falls != reverse)[:200]
        assert [row[sort] for row in found] == (wanted if sort == "image" else pytest.approx(wanted, rel=1e-5))


@pytest.mark.parametrize("condition", ["clean", "jpeg:quality=75", "pgd-2", "all attacks", "all"])
@pytest.mark.parametrize("outcome", ["all", "flagged", "passed", "missed", "false"])
def test_a_scorecard_lists_the_version_and_the_verdict_that_were_chosen(
    verdicts: list[dict], scorecard: ScorecardTables, condition: str, outcome: str
) -> None:
    def meets(row: dict) -> bool:
        attack = row["kind"] == "attack"
        return (row["detector"], row["learned"]) == ("stability", "as fitted") and (
            {"all": True, "all attacks": attack}.get(condition, row["condition"] == condition)
            and {
                "all": True,
                "flagged": row["is_attack"],
                "passed": not row["is_attack"],
                "missed": attack and row["success"] and not row["is_attack"],
                "false": not attack and row["is_attack"],
            }[outcome]
        )

    wanted = {(row["condition"], row["image"]) for row in verdicts if meets(row)}
    chosen = {"judge": "stability", "condition": condition, "outcome": outcome}
    pages = [scorecard.listed(Page(chosen=chosen, start=start, size=200)) for start in (0, 200, 400)]
    assert {page.total for page in pages} == {len(wanted)}
    assert {(row["condition"], row["image"]) for page in pages for row in page.rows} == wanted


def test_every_row_of_a_scorecard_says_what_the_model_and_the_detector_said(
    verdicts: list[dict], scorecard: ScorecardTables
) -> None:
    for told in scorecard.image("003.jpg").verdicts + scorecard.image("007.jpg").verdicts:
        key = ("detector", "condition", "image")
        (row,) = (
            row
            for row in verdicts
            if [row[one] for one in key] == [told[one] for one in key]
            and f"{row['learned']} {row['from_set']}".strip() == told["learned"]
        )
        assert told["verdict"] == ("attack" if row["is_attack"] else "clean")
        outcome = "right" if row["kind"] != "attack" else "fooled" if row["success"] else "held"
        assert told["fooled"] == (outcome if row["clean_correct"] else "wrong before")
        assert told["suspicion"] == pytest.approx(row["suspicion"], rel=1e-5)


def test_the_command_answers_no_other_name_than_this_machines(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gazeshift", "explore", str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        served = Running(port=int(found[1]))
        assert served.ask("/explorer/study", Host="localhost").status == 200
        answer = served.ask("/explorer/study", Host="attacker.example")
        assert (answer.status, answer.code) == (403, "wrong_host")
        part = served.ask("/page/main.js")
        assert part.headers["x-content-type-options"] == "nosniff"
        assert "connect-src 'self'" in part.headers["content-security-policy"]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_the_list_has_the_mean_similarity_of_every_image_sorted(folder: Path, tables: DeviationTables) -> None:
    chosen = {"attack": "pgd", "strength": "2", "kind": "attacked", "target": "reference", "cam": "layer_cam"}
    found = tables.listed(Page(chosen=chosen, sort="moved"))
    rows = rows_of(folder, attack="pgd", strength=2.0, kind="attacked", target="reference", cam="layer_cam")
    wanted: dict[str, list[float]] = {}
    for row in rows:
        if row["blank"] == 0 and not np.isnan(row["value"]):
            wanted.setdefault(row["image"], []).append(row["value"])
    means = {name: float(np.mean(values)) for name, values in wanted.items()}
    assert found.total == len(found.rows) == 12
    assert [row["image"] for row in found.rows] == sorted(means, key=means.get)
    for row in found.rows:
        assert row["value"] == pytest.approx(means[row["image"]], abs=1e-5)
        assert row["undefined"] == (row["image"] == HOSTILE), "a map that is undefined is left out and counted"


def test_one_layer_and_the_other_way_round(folder: Path, tables: DeviationTables) -> None:
    chosen = {"attack": "fgsm", "strength": "0.25", "kind": "noise", "layer": "blocks.1"}
    found = tables.listed(Page(chosen=chosen, sort="moved", reverse=True))
    rows = rows_of(
        folder, attack="fgsm", strength=0.25, kind="noise", layer="blocks.1", cam="grad_cam", target="predicted"
    )
    wanted = sorted(rows, key=lambda row: -row["value"])
    assert [row["image"] for row in found.rows] == [row["image"] for row in wanted]


@pytest.mark.parametrize("outcome", ["fooled", "held", "wrong", "switched"])
def test_outcomes_are_those_of_the_table(folder: Path, tables: DeviationTables, outcome: str) -> None:
    def meets(row: dict) -> bool:
        return {
            "fooled": row["success"],
            "held": row["clean_correct"] and not row["success"],
            "wrong": not row["clean_correct"],
            "switched": row["switched"],
        }[outcome]

    found = tables.listed(Page(chosen={"attack": "pgd", "strength": "1", "kind": "attacked", "outcome": outcome}))
    images = pq.read_table(folder / "images.parquet").to_pylist()
    condition = {"attack": "pgd", "strength": 1.0, "kind": "attacked"}
    wanted = {row["image"] for row in images if condition.items() <= row.items() and meets(row)}
    assert {row["image"] for row in found.rows} == wanted
    assert found.total == len(wanted)


def test_pages_follow_each_other_and_names_can_be_searched(tables: DeviationTables) -> None:
    whole = [row["image"] for row in tables.listed(Page(sort="image")).rows]
    pieces = [tables.listed(Page(sort="image", start=start, size=5)) for start in (0, 5, 10)]
    assert [row["image"] for piece in pieces for row in piece.rows] == whole
    assert {piece.total for piece in pieces} == {12}
    found = tables.listed(Page(search="ANIMALS/000"))
    assert found.total == 9
    for hostile in ("' OR 1=1 --", "%", "{0}", '"; DROP VIEW study_rows; --', "$attack"):
        assert tables.listed(Page(search=hostile)) == Listed(total=0, rows=[])


def test_a_condition_that_was_let_go_is_read_again(
    folder: Path, tables: DeviationTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazeshift.serve.study_explorer.deviation.MAX_CONDITIONS", 2)
    asked = [
        Page(chosen={"attack": attack, "kind": kind}) for attack in ("pgd", "fgsm") for kind in ("attacked", "noise")
    ]
    first = [tables.listed(page) for page in asked]
    assert [tables.listed(page) for page in asked] == first


def test_an_image_has_all_its_similarities(folder: Path, tables: DeviationTables) -> None:
    found = tables.image("animals/0003.jpg")
    assert len(found.conditions) == 2 * 5 * 2
    rows = rows_of(folder, image="animals/0003.jpg", attack="pgd", strength=1.0, kind="noise", target="predicted")
    wanted = [row["value"] for row in rows if row["cam"] == "grad_cam"]
    assert found.moved["pgd|1|noise|predicted|grad_cam|cosine"] == pytest.approx(wanted, abs=1e-5)
    assert len(found.moved) == 2 * 5 * 2 * 2 * 2 * 2
    assert None in tables.image(HOSTILE).moved["pgd|1|attacked|predicted|layer_cam|cosine"], "undefined is not 0"
    json.dumps(found.as_dict(), allow_nan=False)


def test_kept_pictures_and_maps_come_from_the_study(folder: Path, tables: DeviationTables) -> None:
    assert tables.pictured() == {HOSTILE, "animals/0001.jpg"}
    kept = tables.kept("animals/0001.jpg", "pgd", 1.0)
    assert set(kept) == {"clean", "attacked", "noise", "perturbation"}
    assert set(kept["attacked"].maps["predicted"]) == {"grad_cam", "layer_cam"}
    assert len(kept["attacked"].maps["predicted"]["grad_cam"]) == 5
    assert set(tables.kept("animals/0001.jpg", "pgd", 2.0)) == {"clean"}, "kept at one strength only"
    assert tables.kept("animals/0005.jpg", "pgd", 1.0) == {}
