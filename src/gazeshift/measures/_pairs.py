"""What the measures that compare two batches share: the check of the pair."""

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.precision import wide


def matched(first: Tensor, second: Tensor, shape: str) -> tuple[Tensor, Tensor]:
    """Both batches in one float type, float32 or wider; images have any number of channels.

    Args:
        first: one batch.
        second: the other, of the same shape; broadcasting would pair images that do not belong together.
        shape: how the message writes the shape wanted: ``(n, h, w)`` or ``(n, channels, h, w)``.

    Raises:
        BoundsError: not two float batches of one shape, or images without pixels.
    """
    fits = first.shape == second.shape and first.ndim == shape.count(",") + 1
    if not (fits and first.shape[1:].numel() and first.is_floating_point() and second.is_floating_point()):
        raise BoundsError(
            f"a measure compares two float batches {shape} of one shape, got {_seen(first)} and {_seen(second)}. "
            "Resize the one to the size of the other; a single one becomes a batch with [None]."
        )
    dtype = torch.promote_types(first.dtype, second.dtype)
    return wide(first.to(dtype)), wide(second.to(dtype))


def rectified(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """Raw maps without their negative values, divided by their maximum; a map that is not finite somewhere has NaN."""
    maps = maps.masked_fill(maps.isneginf(), torch.nan)  # which relu would hide
    peak = maps.amax((1, 2), keepdim=True)
    return (maps / torch.where(peak > 0, peak, 1.0)).relu_()


def own_size(maps: Tensor) -> tuple[int, int]:
    """Height and width of maps; of anything else some size, since `matched` refuses it."""
    return (maps.shape[1], maps.shape[2]) if maps.ndim == 3 else (1, 1)


def _seen(batch: Tensor) -> str:
    return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
