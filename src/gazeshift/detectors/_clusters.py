"""How many clusters DBSCAN finds among marked pixels; on a grid, its neighbours need no search."""

from math import isqrt

import numpy as np
from jaxtyping import Bool, Int
from scipy.ndimage import label

RADIUS = 2  # pixels, Tan et al. 2023
NEAR = tuple((down, isqrt(RADIUS**2 - down**2)) for down in range(-RADIUS, RADIUS + 1))  # rows of the disk


def count_clusters(marked: Bool[np.ndarray, "h w"], min_samples: int = 3) -> int:
    """Number of clusters of DBSCAN (Ester et al. 1996) over the marked pixels within 2 pixels, noise left out.

    A pixel is core if it and its marked neighbours are at least `min_samples`; core neighbours share a cluster. All
    other points join a cluster or are noise, and make none: the number is that of scikit-learn's DBSCAN.

    >>> count_clusters(np.array([[True, True, True, False, False, False, True, True]]))
    1
    """
    if not marked.any():
        return 0
    core = marked & (_neighbours(marked) >= min_samples)
    # Neighbours two pixels apart in a row or column are joined through the pixel between them. Whatever else touches
    # that one is within two pixels of either end, so that nothing is joined that is not connected.
    joined = core.copy()
    joined[:, 1:-1] |= core[:, :-2] & core[:, 2:]
    joined[1:-1] |= core[:-2] & core[2:]
    return int(label(joined, structure=np.ones((3, 3)))[1])


def _neighbours(marked: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Marked pixels within the radius of each, itself among them."""
    height, width = marked.shape
    wide = np.pad(marked.astype(np.uint8), RADIUS)
    total = np.zeros(marked.shape, dtype=np.uint8)
    for down, reach in NEAR:
        for right in range(-reach, reach + 1):
            top, left = RADIUS + down, RADIUS + right
            total += wide[top : top + height, left : left + width]
    return total
