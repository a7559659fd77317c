"""Cells and whiskers that several pages share."""

import math

import pytest

from gazeshift.report.cells import Estimate, table, with_whiskers
from gazeshift.report.charts import bars
from gazeshift.report.statistics import wilson


def test_a_counted_share_has_the_interval_of_wilson():
    assert Estimate.counted(1, 20) == (0.05, *wilson(1, 20))
    assert Estimate.counted(1, 20).percent(1) == "5.0 % [0.9, 23.6]"
    nothing = Estimate.counted(0, 0)
    assert math.isnan(nothing.value)
    assert (nothing.percent(), nothing.decimals()) == ("–", "–")


def test_whiskers_reach_from_the_value_to_both_ends_and_nothing_has_none():
    estimates = [Estimate(0.5, 0.4, 0.75), Estimate.counted(0, 0)]
    chart = with_whiskers(bars("rates", ["a", "b"], {"one": [0.5, None]}), [estimates])
    (trace,) = chart.traces
    assert trace["error_y"]["array"] == [0.25, 0.0]
    assert trace["error_y"]["arrayminus"] == pytest.approx([0.1, 0.0])


def test_a_table_has_a_row_for_each_thing_and_a_column_for_each_question():
    made = table("squares", [2, 3], {"number": str, "square": lambda n: str(n * n)}, about="of whole numbers")
    assert (made.head, made.rows) == (["number", "square"], [["2", "4"], ["3", "9"]])
    assert (made.title, made.about) == ("squares", "of whole numbers")
