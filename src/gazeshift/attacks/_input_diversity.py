"""Copies of an image that a transferable attack averages its gradient over, and the smoothing of that gradient."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

# Images to what the gradient is taken by, and what the model is shown.
Copy = Callable[[Tensor], tuple[Tensor, Tensor]]
DIVERSE = 4  # copies that the released code of AoA adds for input diversity
SMALLEST = 0.9  # of a diverse copy, as a share of the image
TAPS = 15  # width of the smoothing kernel in pixels


def scaled(share: float) -> Copy:
    """The images times `share`; the gradient is taken by the darker copy (Lin et al. 2020, arXiv:1908.06281)."""

    def copy(images: Tensor) -> tuple[Tensor, Tensor]:
        shown = (images.detach() * share).requires_grad_()
        return shown, shown

    return copy


def diverse(draws: Float[Tensor, "n 3"]) -> Copy:
    """Each image shrunk to 90 to 100 % and put at a random place on black (Xie et al. 2019, arXiv:1803.06978).

    The gradient is taken by the image through the shrinking, so that it lies where it belongs.

    Args:
        draws: three numbers from [0, 1) per image: size, row, column.
    """

    def copy(images: Tensor) -> tuple[Tensor, Tensor]:
        begun = images.detach().clone().requires_grad_()
        placed = [_placed(image[None], *map(float, draw)) for image, draw in zip(begun, draws, strict=True)]
        return begun, torch.cat(placed)

    return copy


def _placed(image: Tensor, share: float, row: float, column: float) -> Tensor:
    height, width = image.shape[2:]
    share = SMALLEST + (1 - SMALLEST) * share
    small = interpolate(image, (round(height * share), round(width * share)), mode="bilinear")
    free_height, free_width = height - small.shape[2], width - small.shape[3]
    top, left = int(row * (free_height + 1)), int(column * (free_width + 1))
    return pad(small, (left, free_width - left, top, free_height - top))


def smoothed(gradient: Float[Tensor, "n channels h w"], sigma: float) -> Float[Tensor, "n channels h w"]:
    """The gradient under a Gaussian of 15 x 15 pixels, zeros outside (Dong et al. 2019, arXiv:1904.02884)."""
    place = torch.arange(TAPS, device=gradient.device, dtype=gradient.dtype) - TAPS // 2
    line = (-place.square() / (2 * sigma**2)).exp()
    kernel = torch.outer(line, line) / line.sum() ** 2
    channels = gradient.shape[1]
    return conv2d(gradient, kernel.expand(channels, 1, TAPS, TAPS), padding=TAPS // 2, groups=channels)
