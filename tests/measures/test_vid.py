import math

import numpy as np
import pytest

from gazeshift.errors import BoundsError
from gazeshift.measures.vid import Vid


def plain(levels: list[float]) -> float:
    """Chakraborty et al. 2022, eqs. 3 and 4, for one image; `eps` there is the number of levels."""
    mean = sum(levels) / len(levels)
    return math.sqrt(sum((value - mean) ** 2 for value in levels) / len(levels))


def test_check_16_by_hand():
    values = Vid()(np.array([[0.1, 0.3], [0.7, 0.7], [0.0, 1.0]]))
    np.testing.assert_allclose(values, [0.1, 0.0, 0.5], rtol=1e-15)


@pytest.mark.parametrize("level", [0.1, 0.3, 1 / 3])
def test_check_16_the_same_at_every_level_is_exactly_0(level):
    assert Vid()(np.full((2, 7), level)).tolist() == [0.0, 0.0]


def test_it_is_the_standard_deviation_and_not_the_variance_the_text_names():
    """One level at 0.4 and three at 0: mean 0.1, variance 0.03."""
    assert Vid()(np.array([[0.4, 0.0, 0.0, 0.0]]))[0] == pytest.approx(math.sqrt(0.03))


def test_agrees_with_the_paper_image_by_image():
    nissim = np.random.default_rng(0).random((50, 4))
    np.testing.assert_allclose(Vid()(nissim), [plain(image.tolist()) for image in nissim], rtol=1e-12)


def test_a_level_of_epsilon_0_inflates_it():
    attacked = np.array([[0.28, 0.30, 0.29, 0.31]])
    assert Vid()(np.pad(attacked, ((0, 0), (1, 0))))[0] > 5 * Vid()(attacked)[0]


def test_a_nan_is_not_left_out():
    values = Vid()(np.array([[np.nan, 0.2, 0.3], [0.1, 0.2, 0.3]]))
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(math.sqrt(0.02 / 3))


def test_no_levels_give_nan_for_every_image():
    assert np.isnan(Vid()(np.zeros((3, 0)))).tolist() == [True] * 3


def test_a_list_of_values_is_no_table():
    with pytest.raises((BoundsError, TypeError), match=r"\(images, levels\), got shape \(3,\)|Type-check"):
        Vid()(np.zeros(3))
