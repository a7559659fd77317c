"""The explorer of a finished study: what it lists is what the tables hold, and maps drawn anew are the study's own."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from gazeshift import cli
from gazeshift.errors import DataError, UnknownNameError
from gazeshift.manifest import StudyManifest
from gazeshift.serve.gateway.server import bound, config_of
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.study_explorer._replay import StudyReplay
from gazeshift.serve.study_explorer.app import create_study_app
from gazeshift.serve.study_explorer.deviation import DeviationTables
from gazeshift.serve.study_explorer.scorecard import ScorecardTables
from gazeshift.serve.study_explorer.tables import Page
from helpers.gateways import Running
from helpers.scorecard_study import write as write_scorecard
from helpers.small_study import make_images, make_network
from helpers.synthetic_study import write_study

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), images=12, layers=5)


@pytest.fixture(scope="module")
def scorecard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scorecard(tmp_path_factory.mktemp("scorecard") / "study")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A real study of a tiny network, and that network's name."""
    home = tmp_path_factory.mktemp("finished")
    model = make_network(home)
    settings = Deviation(
        images=make_images(home / "photos", 5),
        model=model,
        attack=("fgsm", "pgd:steps=3"),
        epsilon=16 / 255,
        strengths=(0.5, 1.0),
        cams=("grad_cam", "layer_cam"),
        gallery=1,
        batch_size=2,
        device="cpu",
        seed=3,
    )
    return settings.run(home / "study"), model


def serve(app) -> Iterator[Running]:
    settings = ServeSettings(port=0)
    sock = bound(settings)
    server = uvicorn.Server(config_of(settings, app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield Running(port=sock.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()


@pytest.fixture(scope="module")
def opened(finished: tuple[Path, str]) -> Iterator[Running]:
    yield from serve(create_study_app(finished[0], model=finished[1], hosts=("127.0.0.1", "localhost")))


def test_a_folders_name_is_no_pattern(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a[1]*? study"
    shutil.copytree(folder, odd)
    made = DeviationTables(odd)
    assert made.listed(Page()).total == 12
    made.store.close()


def test_columns_that_json_has_no_word_for_are_left_out(folder: Path, scorecard: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    odd = {
        "bytes": b"\xff",
        "time": now.replace(tzinfo=None),
        "zone": now,
        "list": [float("nan")],
        "nested": {"a": 1},
        "price": Decimal("1.5"),
        'a "quoted" name': 7,
    }
    for made, study, table in (("deviation", folder, "images"), ("scorecard", scorecard, "rows")):
        copied = shutil.copytree(study, tmp_path / made)
        found = pq.read_table(copied / f"{table}.parquet")
        for name, value in odd.items():
            found = found.append_column(name, pa.array([value] * len(found)))
        pq.write_table(found, copied / f"{table}.parquet")
        for server in serve(create_study_app(copied)):
            answers = [server.ask(f"/explorer/study/images{place}") for place in ("", "/0")]
            assert [answer.status for answer in answers] == [200, 200]
            row = answers[0].json["rows"][0]
            assert row['a "quoted" name'] == 7
            assert not {"bytes", "time", "zone", "list", "nested", "price"} & set(row)


def test_maps_drawn_anew_are_those_of_the_study(finished: tuple[Path, str], opened: Running) -> None:
    study, _ = finished
    drawn = opened.ask("/explorer/study/images/4/maps?attack=fgsm&strength=1&anew=true").json["sides"]
    again = opened.ask("/explorer/study/images/4/maps?attack=fgsm&strength=1&anew=true").json["sides"]
    assert drawn == again
    kept = opened.ask("/explorer/study/images/0/maps?attack=fgsm&strength=1").json["sides"]
    anew = opened.ask("/explorer/study/images/0/maps?attack=fgsm&strength=1&anew=true").json["sides"]
    assert set(kept) == {"clean", "attacked", "noise", "perturbation"}
    for kind in ("clean", "attacked", "noise"):
        assert kept[kind]["maps"]["predicted"] == anew[kind]["maps"]["predicted"], kind
    images = pq.read_table(study / "images.parquet").to_pylist()
    wanted = {"image": "004.png", "attack": "fgsm", "strength": 1.0}
    for row in (row for row in images if wanted.items() <= row.items()):
        best = drawn[row["kind"]]["answers"][0]
        assert best["class"] == row["changed_class"]
        assert best["confidence"] == pytest.approx(row["changed_confidence"], abs=1e-4)


def test_pictures_come_from_the_studys_images(opened: Running) -> None:
    for number in range(5):
        answer = opened.ask(f"/explorer/study/images/{number}/picture")
        assert answer.status == 200
        assert answer.body[8:12] == b"WEBP"


def test_code_runs_only_if_it_is_named(finished: tuple[Path, str]) -> None:
    study, model = finished
    manifest = json.loads((study / "manifest.json").read_text())
    closed = StudyReplay(manifest=StudyManifest.model_validate(manifest))
    assert "open the study with --model module:" in closed.hindrance()
    with pytest.raises(DataError, match="runs only if you say so"):
        _ = closed.classifier
    assert StudyReplay(manifest=StudyManifest.model_validate(manifest), model=model).hindrance() == ""


def test_another_models_maps_are_not_shown_as_the_studys(finished: tuple[Path, str], tmp_path: Path) -> None:
    other = make_network(tmp_path)
    (tmp_path / "tiny_network.py").write_text(
        (tmp_path / "tiny_network.py").read_text().replace("manual_seed(0)", "manual_seed(1)")
    )
    manifest = json.loads((finished[0] / "manifest.json").read_text())
    with pytest.raises(DataError, match="other weights now"):
        _ = StudyReplay(manifest=StudyManifest.model_validate(manifest), model=other).classifier


def test_images_that_are_gone_leave_the_numbers(finished: tuple[Path, str], tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    manifest = json.loads((study / "manifest.json").read_text())
    manifest["settings"]["images"] = str(tmp_path / "gone")
    (study / "manifest.json").write_text(json.dumps(manifest))
    for server in serve(create_study_app(study, model=finished[1])):
        about = server.ask("/explorer/study").json
        assert "gone" in about["hindrance"]
        listed = server.ask("/explorer/study/images?sort=image").json
        assert listed["total"] == 5
        kept = [server.ask(f"/explorer/study/images/{row['number']}/picture").status == 200 for row in listed["rows"]]
        assert [row["pictured"] for row in listed["rows"]] == kept
        assert set(kept) == {True, False}
        assert server.ask("/explorer/study/images/0/picture").status == 200, "this one was kept"
        assert server.ask("/explorer/study/images/4/picture").code == "no_picture"
        assert server.ask("/explorer/study/images/4/maps?attack=fgsm&anew=true").code == "study"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/explorer/study/images?attack=none", 422),
        ("/explorer/study/images?layer=../../etc/passwd", 422),
        ("/explorer/study/images?size=100000", 422),
        ("/explorer/study/images?start=-1", 422),
        ("/explorer/study/images?start=2147483648", 200),
        ("/explorer/study/images?start=2147483649", 422),
        ("/explorer/study/images?start=9223372036854775808", 422),
        (f"/explorer/study/images?start={'9' * 5000}", 422),
        ("/explorer/study/images?start=soon", 422),
        ("/explorer/study/images/99", 422),
        ("/explorer/study/images/-1", 422),
        ("/explorer/study/images/..%2f..%2fmanifest.json/picture", 404),
        ("/explorer/study/images/..%2fmanifest.json", 404),
        ("/explorer/study/images/0/maps?attack=cw&anew=true", 422),
        ("/explorer/study/images/0/maps?attack=fgsm&strength=nan&anew=true", 422),
        ("/explorer/study/images/0/maps?attack=fgsm&strength=1e9", 200),
        ("/page/../_page.py", 404),
        ("/manifest.json", 404),
        ("/explorer/study/", 404),
        ("/rows.parquet", 404),
    ],
)
def test_wrong_requests_get_one_sentence(opened: Running, path: str, status: int) -> None:
    answer = opened.ask(path)
    assert answer.status == status
    assert status == 200 or answer.code
    assert b"/docs" not in answer.body, "it has none"


def test_other_sites_pages_cannot_read_it(opened: Running) -> None:
    assert opened.ask("/explorer/study", Host="127.0.0.1").status == 200
    for host in ("attacker.example", "[", "a b"):
        answer = opened.ask("/explorer/study", Host=host)
        assert (answer.status, answer.code) == (403, "wrong_host")


def test_a_scorecard_lists_verdicts(scorecard: Path) -> None:
    tables = ScorecardTables(scorecard)
    rows = [row for row in pq.read_table(scorecard / "rows.parquet").to_pylist() if row["learned"] == "as fitted"]
    for judge in ("stability", "confidence"):
        mine = [row for row in rows if row["detector"] == judge]
        found = tables.listed(Page(chosen={"judge": judge}, size=200))
        assert found.total == len(mine)
        wanted = sorted((row["suspicion"] for row in mine), reverse=True)[:200]
        assert [row["suspicion"] for row in found.rows] == pytest.approx(wanted, rel=1e-5)
        missed = tables.listed(Page(chosen={"judge": judge, "outcome": "missed"}))
        assert missed.total == sum(row["success"] and not row["is_attack"] for row in mine)
        false = tables.listed(Page(chosen={"judge": judge, "outcome": "false"}))
        assert false.total == sum(row["kind"] != "attack" and row["is_attack"] for row in mine)
    one = tables.image(tables.store.images[0])
    assert {row["detector"] for row in one.verdicts} >= {"stability", "confidence"}
    kinds = [row["kind"] for row in one.verdicts]
    assert kinds == sorted(kinds, key=("clean", "benign", "attack").index)
    tables.store.close()


def test_a_scorecards_detectors_come_in_the_order_they_were_given(scorecard: Path) -> None:
    tables = ScorecardTables(scorecard, order=("stability", "confidence"))
    ways = [(judge.learned, judge.detector) for judge in tables.judges.values()]
    assert ways[:3] == [("as fitted", name) for name in ("stability", "confidence", "feature_squeezing")]
    assert all(learned != "as fitted" for learned, _ in ways[3:])
    tables.store.close()


def test_only_studies_with_an_explorer_are_opened(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        create_study_app(tmp_path)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "manifest.json").write_text(json.dumps({"schema": 1, "study": "ding2022"}))
    with pytest.raises(DataError, match=r"holds 'ding2022'. Its page is report.html"):
        create_study_app(strange)
    torn = tmp_path / "torn"
    shutil.copytree(folder, torn)
    content = (torn / "rows.parquet").read_bytes()
    (torn / "rows.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        create_study_app(torn)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gazeshift", "explore", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        with urllib.request.urlopen(found[0]) as answer:  # noqa: S310
            assert 'data-mode="study"' in answer.read().decode()
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == "", "it ends without a word"
    with pytest.raises(SystemExit) as ended:
        cli.main(["explore", str(folder / "none")])
    assert ended.value.code == 2
    assert "no manifest.json" in capsys.readouterr().err


def test_a_model_that_is_named_and_cannot_be_used_is_told_at_the_start(finished):
    with pytest.raises(UnknownNameError, match="no models named 'nosuch'"):
        create_study_app(finished[0], model="nosuch")
    with pytest.raises(DataError, match="has other weights now than when the study ran"):
        create_study_app(finished[0], model="torchvision:squeezenet1_1", weights="random")
