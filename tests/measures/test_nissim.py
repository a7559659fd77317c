import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn.functional import interpolate

from gazeshift.errors import BoundsError, SettingsError
from gazeshift.measures.mod import Mod
from gazeshift.measures.nissim import Nissim
from gazeshift.measures.vid import Vid


def raw_maps(*, n: int = 6, size: int = 32, seed: int = 0, lift: float = -0.3) -> torch.Tensor:
    """Signed maps as a CAM gives them, 7 x 7 and enlarged."""
    coarse = torch.rand((n, 1, 7, 7), generator=torch.Generator().manual_seed(seed)) + lift
    return interpolate(coarse, (size, size), mode="bilinear")[:, 0]


def plain(first: torch.Tensor, second: torch.Tensor, window: str) -> list[float]:
    """Chakraborty et al. 2022, eq. 1, with scikit-image's SSIM of maps in [0, 1], one pair at a time."""
    more = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if window == "gaussian" else {}

    def unit(raw: torch.Tensor) -> np.ndarray:
        positive = np.maximum(raw.double().numpy(), 0)
        return positive / positive.max() if positive.max() > 0 else positive

    pairs = [(unit(one), unit(two)) for one, two in zip(first, second, strict=True)]
    return [(1 - structural_similarity(one, two, data_range=1.0, **more)) / 2 for one, two in pairs]


@pytest.mark.parametrize("window", ["uniform", "gaussian"])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_agrees_with_the_formula_and_scikit_image(window, scale):
    first, second = raw_maps(seed=0), raw_maps(seed=1)
    second[1] = -1.0
    got = Nissim(window=window)(first * scale, second)
    np.testing.assert_allclose(got, plain(first, second, window), rtol=0, atol=1e-6)


def test_check_16_same_maps_symmetry_and_epsilon_0():
    first, second = raw_maps(seed=0), raw_maps(seed=1)
    assert Nissim()(first, first).tolist() == [0.0] * 6
    assert torch.equal(Nissim()(first, second), Nissim()(second, first))
    table = torch.stack([Nissim()(first, first), Nissim()(first, second)], 1).double().numpy()
    assert Mod()(table)[0] == 0
    assert Mod()(table)[1] == pytest.approx(Nissim()(first, second).mean().item())
    assert Vid()(table) == pytest.approx(table[:, 1] / 2)


def test_the_scale_of_a_map_and_what_is_below_0_do_not_count():
    first, second = raw_maps(seed=0), raw_maps(seed=1)
    torch.testing.assert_close(Nissim()(first * 8, second / 4), Nissim()(first, second))
    deeper = torch.where(first < 0, first * 100, first)
    assert torch.equal(Nissim()(deeper, second), Nissim()(first, second))


def test_blank_maps():
    """A map without a positive value is blank: equal to another blank, and compared as zeros with the rest."""
    other = raw_maps(n=1)
    zero, negative = torch.zeros_like(other), -torch.rand(other.shape, generator=torch.Generator().manual_seed(0))
    assert Nissim()(zero, negative).item() == 0
    assert Nissim()(negative, negative).item() == 0
    np.testing.assert_allclose(Nissim()(negative, other), plain(zero, other, "uniform"), rtol=0, atol=1e-6)
    assert 0.1 < Nissim()(zero, other).item() < 0.5


def test_a_nan_in_a_blank_map_is_not_blank():
    broken = -torch.ones(1, 8, 8)
    broken[0, 3, 3] = torch.nan
    assert Nissim()(broken, torch.zeros(1, 8, 8)).isnan().all()


def test_how_the_scale_is_to_be_read():
    """The figures of the docstring: unrelated maps near 0.3, negatives above 0.5, and only a checkerboard near 1."""
    first, second = (raw_maps(n=32, size=224, seed=seed, lift=0.0) for seed in (0, 1))
    peak = first.amax((1, 2), keepdim=True)
    assert Nissim()(first, second).mean().item() == pytest.approx(0.32, abs=0.02)
    assert Nissim()(first, peak - first).mean().item() == pytest.approx(0.52, abs=0.02)
    rows = torch.arange(224.0)
    spots = [torch.exp(-((rows[:, None] - place) ** 2 + (rows - place) ** 2) / (2 * 16**2)) for place in (60, 160)]
    assert Nissim()(spots[0][None], spots[1][None]).item() == pytest.approx(0.16, abs=5e-3)
    board = ((rows[:, None] + rows) % 2)[None]
    assert Nissim()(board, 1 - board).item() == pytest.approx(0.998, abs=5e-4)


def test_refusals_come_early():
    with pytest.raises(SettingsError, match="Did you mean 'uniform'"):
        Nissim(window="uniforn")
    with pytest.raises(SettingsError, match="k2 above 0"):
        Nissim(k2=0.0)
    with pytest.raises(BoundsError, match="11 x 11 pixels, got maps of 10 x 12"):
        Nissim(window="gaussian")(torch.ones(1, 10, 12), torch.ones(1, 10, 12))
