"""What the measures over several levels of attack share: the check of the table. Imports no torch."""

import numpy as np
from jaxtyping import Float

from gazeshift.errors import BoundsError


def table(nissim: Float[np.ndarray, "n levels"]) -> Float[np.ndarray, "n levels"]:
    """The values in float64.

    Raises:
        BoundsError: not a table of images x levels.
    """
    if nissim.ndim != 2:
        raise BoundsError(
            f"NISSIM values must be an array (images, levels), got shape {nissim.shape}. "
            "One image: nissim[None]; one level: nissim[:, None]."
        )
    wide: Float[np.ndarray, "n levels"] = nissim.astype(np.float64)
    return wide
