"""What the page of ding2022 claims of its trainings: held, did not hold, or too small to tell."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gazeshift import report
from gazeshift.errors import DataError
from gazeshift.manifest import AttackEntry
from gazeshift.studies.ding2022.manifest import DingSetEntry
from gazeshift.studies.ding2022.report import claims
from gazeshift.studies.ding2022.report.numbers import DetectorEpoch, Epoch, SetNumbers
from gazeshift.studies.ding2022.report.power import balanced, conclusion, difference

GUESSING = math.log(2)


def trained(before: tuple[int, int], after: tuple[int, int], *, n: int, size: int, loss: float = 1.0) -> list[Epoch]:
    """Epochs of two training sets; (clean, adversarial) images right of n, before and after the larger one."""
    first, second = ([right / n for right in pair] for pair in (before, after))
    return [
        epoch
        for own, last in ((size // 2, first), (size, second))
        for epoch in (Epoch(own, 0, None, *first, n, False), Epoch(own, 1, loss, *last, n, True))
    ]


def detected(right: tuple[int, int], *, n: int, learned: int, loss: float = 0.1) -> dict[str, Any]:
    """A detector that gets so many of n clean and of n adversarial images right."""
    scores = {
        ("attacked", kind): np.array([kind == "attacked"] * count + [kind == "clean"] * (n - count), dtype=float)
        for kind, count in zip(("clean", "attacked"), right, strict=True)
    }
    epoch = DetectorEpoch(trained_on="attacked", train=learned // 2, loss=loss, kept=True)
    return {"detector": [epoch], "scores": scores}


def one_set(**numbers: Any) -> SetNumbers:
    told = DingSetEntry.model_construct(name="pgd", attack=AttackEntry(name="pgd"))
    return SetNumbers(told=told, classes=1000, **{"histograms": {}, "scores": {}} | numbers)


@pytest.mark.parametrize(
    ("rows", "rise", "clean"),
    [
        (trained((880, 0), (920, 200), n=1000, size=2000), "held", "held"),
        (trained((880, 0), (500, 2), n=1000, size=2000), "did not hold", "did not hold"),
        (trained((880, 0), (500, 2), n=1000, size=999), "not tested", "not tested"),  # a no after few examples
        (trained((880, 0), (500, 200), n=1000, size=999), "held", "not tested"),  # a yes may come from few
        (trained((88, 0), (20, 60), n=99, size=2000), "not tested", "not tested"),  # few to judge on
        (trained((88, 0), (87, 2), n=100, size=2000), "not tested", "not tested"),  # up to 7 %: both answers are open
        (trained((880, 0), (5, 1), n=1000, size=2000, loss=3.5), "not tested", "not tested"),  # guessing has 6.9
        (trained((880, 0), (5, 1), n=1000, size=2000, loss=math.nan), "not tested", "not tested"),
        ([], "not tested", "not tested"),
    ],
)
def test_a_training_too_small_to_tell_is_not_held_against_the_paper(rows, rise, clean):
    sets = [one_set(training=rows)]
    assert (claims._trained(sets).held, claims._clean(sets).held) == (rise, clean)


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        (detected((980, 985), n=1000, learned=2000), "held"),
        (detected((980, 985), n=1000, learned=200), "held"),
        (detected((500, 510), n=1000, learned=2000), "did not hold"),
        (detected((500, 510), n=1000, learned=200), "not tested"),
        (detected((955, 955), n=1000, learned=2000), "not tested"),  # 94.1 to 96.3 %
        (detected((99, 99), n=99, learned=2000), "not tested"),
        (detected((500, 510), n=1000, learned=2000, loss=0.51 * GUESSING), "not tested"),
        ({}, "not tested"),
    ],
)
def test_a_detector_that_learned_nothing_tests_nothing(rows, held):
    assert claims._detected([one_set(**rows)]).held == held


def test_one_set_that_tells_is_enough():
    small, large = one_set(), one_set(training=trained((880, 0), (920, 200), n=1000, size=2000))
    assert claims._trained([small, large]).held == "held"


def test_more_examples_that_make_it_worse_do_not_hold():
    rows = trained((880, 0), (880, 200), n=1000, size=2000)
    rows = [replace(row, attacked_accuracy=0.3) if row.size == 1000 and row.kept else row for row in rows]
    assert claims._trained([one_set(training=rows)]).held == "did not hold"


def test_intervals_of_differences_hold_the_truth_in_19_of_20_cases():
    random = np.random.default_rng(0)
    right = random.binomial(140, [0.88, 0.74], (4000, 2))
    bounds = [difference((int(after), 140), (int(before), 140)) for before, after in right]
    inside = np.mean([low <= -0.14 <= high for low, high in bounds])
    assert 0.94 <= inside <= 0.97
    hits = random.binomial(200, [0.97, 0.9], (4000, 2)) / 200
    inside = np.mean([low <= 0.935 <= high for low, high in (balanced(*pair, 200) for pair in hits)])
    assert 0.94 <= inside <= 0.97


def test_the_edges_of_the_rule():
    told = SimpleNamespace(judged=100, learned=1000, loss=0.5 * GUESSING, classes=2)
    assert conclusion((0.51, 0.6), 0.5, **vars(told)) is True
    assert conclusion((0.4, 0.49), 0.5, **vars(told)) is False
    assert conclusion((0.4, 0.49), 0.5, **vars(told) | {"learned": 999}) is None
    assert conclusion((0.51, 0.6), 0.5, **vars(told) | {"judged": 99}) is None


def test_a_damaged_manifest_is_named(tmp_path):
    manifest = {"schema": 1, "study": "ding2022", "status": "finished", "settings": {"pixels": "many"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest.json is damaged at sets"):
        report.make(tmp_path)
