"""Which pixels of a map count as points before they are clustered."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

Map = Float[np.ndarray, "h w"]
BINS = 256


def above_share(values: Map, share: float) -> Bool[np.ndarray, "h w"]:
    """Pixels above a share of the map's range, from its minimum (0) to its maximum (1); none if it is constant."""
    low, high = values.min(), values.max()
    return (values - low) > share * (high - low) if high > low else np.zeros(values.shape, dtype=bool)


def above_otsu(values: Map, _: float = 0.0) -> Bool[np.ndarray, "h w"]:
    """Pixels above Otsu's threshold (1979) over 256 bins of the map's range; none if it is constant."""
    low, high = values.min(), values.max()
    if not high > low:
        return np.zeros(values.shape, dtype=bool)
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    before, after = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    weighted = counts * middles
    first = np.cumsum(weighted)[:-1] / np.maximum(before, 1)
    second = np.cumsum(weighted[::-1])[::-1][1:] / np.maximum(after, 1)
    return np.asarray(values > middles[np.argmax(before * after * (first - second) ** 2)])


def above_spread(values: Map, k: float) -> Bool[np.ndarray, "h w"]:
    """Pixels more than k standard deviations above the map's mean."""
    return np.asarray(values > values.mean() + k * values.std())


def above_zero(values: Map, _: float = 0.0) -> Bool[np.ndarray, "h w"]:
    """Pixels above zero."""
    return values > 0


def above_level(values: Map, level: float) -> Bool[np.ndarray, "h w"]:
    """Pixels above a level in the map's own unit."""
    return values > level


MARKS: dict[str, Callable[[Map, float], Bool[np.ndarray, "h w"]]] = {
    "gate": above_share,
    "otsu": above_otsu,
    "mean_plus_k_std": above_spread,
    "positive": above_zero,
    "absolute": above_level,
}
