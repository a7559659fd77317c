"""The numbers of the noisecam2023 page: AUC against scikit-learn, chance by simulation, rates by hand."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from gazeshift import report
from gazeshift.report.document import Table
from gazeshift.report.roc import auroc, roc
from gazeshift.report.study import open_study
from gazeshift.studies.noisecam2023.report.claims import claims
from gazeshift.studies.noisecam2023.report.numbers import NoisecamScores, chance, read_found
from gazeshift.studies.noisecam2023.report.page import page
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from helpers.noisecam_study import make_settings


def test_auc_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    for _ in range(50):
        positive, negative = (
            random.integers(0, 6, random.integers(1, 30)),
            random.integers(0, 5, random.integers(1, 30)),
        )
        truth = [1] * len(positive) + [0] * len(negative)
        scores = np.concatenate([positive, negative]).astype(float)
        assert auroc(positive.astype(float), negative.astype(float)) == pytest.approx(roc_auc_score(truth, scores))
        false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
        ours = roc(positive.astype(float), negative.astype(float))
        np.testing.assert_allclose(ours, [false, true])


def test_auc_without_one_side_is_undefined():
    assert np.isnan(auroc(np.array([]), np.array([1.0])))
    assert np.isnan(auroc(np.array([np.nan]), np.array([1.0])))


def test_chance_holds_what_it_says():
    random = np.random.default_rng(0)
    one = [auroc(random.normal(size=20), random.normal(size=40)) for _ in range(2000)]
    assert np.mean(np.array(one) > 0.5 + chance(20, 40)) == pytest.approx(0.025, abs=0.012)
    best = [max(one[at : at + 50]) for at in range(0, 2000, 50)]
    assert np.mean(np.array(best) > 0.5 + chance(20, 40, 50)) <= 0.15


def test_rates_by_hand():
    said = NoisecamScores(
        kind=np.array(["clean", "clean", "attacked", "attacked", "noise", "noise", "attacked"]),
        strength=np.array([0, 0, 1, 1, 1, 1, 1.0]),
        is_test=np.array([True] * 6 + [False]),
        score=np.array([0, 4, 9, 2, 1, 1, 99.0]),
        alarm=np.array([False, True, True, False, False, False, True]),
        share=np.zeros(7),
        peak=np.array([1, 2, 3, 4, 5, 6, 7.0]),
    )
    assert (said.rate("attacked", 1), said.rate("clean", 1), said.rate("noise", 1)) == (0.5, 0.5, 0)
    assert said.accuracy(1) == pytest.approx(4 / 6)
    assert said.auroc(1, ("clean",)) == pytest.approx(3 / 4)
    assert said.auroc(1, ("noise",)) == 1
    assert said.auroc(1, ("noise",), peak=True) == 0


def test_the_page_says_what_the_tables_hold(tmp_path):
    out = Noisecam2023(**make_settings(tmp_path)).run(tmp_path / "out")
    made, found = report.make(out), read_found(open_study(out))
    assert len(made.findings) == 5
    rows = pq.read_table(out / "images.parquet").to_pylist()
    tests = {row["image"] for row in pq.read_table(out / "verdicts.parquet").to_pylist() if row["part"] == "test"}
    own = [row for row in rows if row["image"] in tests and (row["kind"], row["strength"]) == ("attacked", 1.0)]
    scores = [1 - row["changed_confidence"] for row in own] + [1 - row["clean_confidence"] for row in own]
    assert found.doubt.auroc(1.0, ("clean",)) == pytest.approx(roc_auc_score([1] * len(own) + [0] * len(own), scores))
    assert f"NoiseCAM was tested on {found.tested} examples" in made.html
    assert {claim.held for claim in claims(found)} <= {"held", "did not hold", "partly", "not tested"} | {
        "not tested: fewer than 20 examples"
    }
    for item in ("Fig 1", "Fig 5", "Fig 6a", "Fig 6b", "Fig 7", "Fig 8a", "Fig 8b", "Fig 9a-f"):
        assert f">{item}<" in made.html
    assert made.html == report.make(out).html


def test_strengths_that_single_precision_does_not_have_are_counted(tmp_path):
    out = Noisecam2023(**make_settings(tmp_path) | {"strengths": "0.3,1"}).run(tmp_path / "out")
    (counted,) = (
        item
        for section in page(open_study(out)).sections
        for item in section.items
        if isinstance(item, Table) and item.name == "fooled"
    )
    rows = pq.read_table(out / "images.parquet").to_pylist()
    weak = [row["switched"] for row in rows if row["kind"] == "attacked" and row["strength"] < 0.5]
    assert counted.rows[0][:2] == ["30 %", f"{sum(weak)} of {len(weak)}"]
    assert weak
