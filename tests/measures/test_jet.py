"""The jet space of the cosine: how pictures of heatmaps look alike when the heatmaps do not (SPEC check 11)."""

import numpy as np
import pytest
import torch

from gazeshift.errors import SettingsError
from gazeshift.measures._jet import jet_picture
from gazeshift.measures.cosine import Cosine


def blob(row: float, column: float, sigma: float, size: int = 56) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))[None]


def by_hand(maps: torch.Tensor) -> np.ndarray:
    """matplotlib's jet with 256 levels, from its corner table, in float64 and pixel by pixel."""
    red = [(0, 0), (0.35, 0), (0.66, 1), (0.89, 1), (1, 0.5)]
    green = [(0, 0), (0.125, 0), (0.375, 1), (0.64, 1), (0.91, 0), (1, 0)]
    blue = [(0, 0.5), (0.11, 1), (0.34, 1), (0.65, 0), (1, 0)]
    values = maps.numpy().astype(np.float64).clip(0)
    levels = np.floor(values / values.max() * 255) / 255
    return np.stack([np.interp(levels, *np.transpose(curve)) for curve in (red, green, blue)], -1)


def test_colours_are_those_of_jet():
    maps = torch.linspace(0, 1, 1024).reshape(1, 32, 32)
    got = jet_picture(maps).reshape(1, 32, 32, 3).numpy()
    assert np.abs(got - by_hand(maps)).max() < 2e-6


@pytest.mark.parametrize(("sigma", "wanted"), [(2, 0.94), (5, 0.74), (10, 0.49)])
def test_disjoint_blobs_look_alike(sigma, wanted):
    first, second = blob(14, 14, sigma), blob(42, 42, sigma)
    raw, jet = Cosine()(first, second).item(), Cosine(space="jet")(first, second).item()
    assert raw < 0.15
    assert jet == pytest.approx(wanted, abs=0.06)
    if sigma == 2:
        assert jet > 0.9


def test_jet_matches_the_plain_computation():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 1, 20, 20, generator=generator)
    one, two = by_hand(first).ravel(), by_hand(second).ravel()
    wanted = one @ two / np.sqrt((one @ one) * (two @ two))
    assert Cosine(space="jet")(first, second).item() == pytest.approx(wanted, abs=1e-6)


def test_a_spoiled_map_is_nan_and_a_blank_one_is_blue():
    maps = torch.zeros(2, 4, 4)
    maps[1, 0, 0] = torch.nan
    got = jet_picture(maps)
    assert got[0].reshape(4, 4, 3)[0, 0].tolist() == [0.0, 0.0, 0.5]
    assert got[1].isnan().all()


def test_unknown_space_is_refused():
    with pytest.raises(SettingsError, match="Did you mean 'jet'"):
        Cosine(space="jett")
