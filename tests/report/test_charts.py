"""Charts from numbers: bands where values are missing."""

import pytest

from gazeshift.report.charts import filled

NAN = float("nan")


@pytest.mark.parametrize(
    ("x", "low", "high", "across", "up"),
    [
        ([0, 1], [1, 2], [3, 4], [0, 1, 1, 0], [1, 2, 4, 3]),
        ([0, 1, 2, 3], [1, 2, NAN, 5], [3, 4, 9, 6], [0, 1, 1, 0, None, 2.88, 3.12, 3.12, 2.88], None),
        (["a", "b", "c"], [1, None, 3], [2, 5, 4], ["a", "a", None, "c", "c"], [1, 2, None, 3, 4]),
        ([0], [NAN], [1], [], []),
    ],
)
def test_a_band_is_broken_where_a_value_is_undefined(x, low, high, across, up):
    band = filled(x, low, high, "--noise")
    assert band["x"] == across
    assert band["y"] == (up if up is not None else [1, 2, 4, 3, None, 5, 5, 6, 6])
    assert band["fillcolor"] == "--noise"
