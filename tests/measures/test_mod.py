import subprocess
import sys

import numpy as np
import pytest

from gazeshift.errors import BoundsError
from gazeshift.measures.mod import Mod


def test_by_hand():
    nissim = np.array([[0.0, 0.1, 0.3], [0.0, 0.2, 0.5], [0.0, 0.3, 0.1]])
    np.testing.assert_allclose(Mod()(nissim), [0.0, 0.2, 0.3], rtol=1e-15)


def test_agrees_with_the_paper_sum_by_sum():
    """Chakraborty et al. 2022, eq. 2; the values of many images in float32 are summed in float64."""
    nissim = np.random.default_rng(0).random((20_000, 3)).astype(np.float32)
    wanted = [sum(float(value) for value in nissim[:, level]) / 20_000 for level in range(3)]
    np.testing.assert_allclose(Mod()(nissim), wanted, rtol=1e-13)


def test_a_nan_is_not_averaged_away():
    values = Mod()(np.array([[0.1, np.nan], [0.3, 0.2]]))
    assert values[0] == pytest.approx(0.2)
    assert np.isnan(values[1])


def test_no_images_give_nan_for_every_level():
    assert np.isnan(Mod()(np.zeros((0, 4)))).tolist() == [True] * 4


def test_a_list_of_values_is_no_table():
    with pytest.raises((BoundsError, TypeError), match=r"\(images, levels\), got shape \(3,\)|Type-check"):
        Mod()(np.zeros(3))


@pytest.mark.parametrize("name", ["mod", "vid"])
def test_reports_can_use_it_without_torch(name):
    code = f"import sys, gazeshift.measures.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
