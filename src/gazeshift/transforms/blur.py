"""Gaussian blur."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gazeshift.errors import BoundsError
from gazeshift.precision import wide
from gazeshift.seeds import Generators
from gazeshift.transforms._straight_through import straight

__all__ = ["Blur"]


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Convolve every channel with a Gaussian; its edge pixels stand for what lies beyond the edge.

    The kernel is cut off at four standard deviations, as ``scipy.ndimage.gaussian_filter(mode="nearest")`` does.
    Linear, so it can be differentiated; nothing random.

    Args:
        sigma: standard deviation in pixels, above 0. 1.5 is the blur of Tan et al. 2023, figure 1.

    Raises:
        BoundsError: sigma is not above 0.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < 100:
            raise BoundsError(f"blur needs a sigma above 0 and below 100 pixels, got {self.sigma:g}. 1 is usual.")

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        *,
        generator: Generators | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The blurred images."""
        exact, channels = wide(images), images.shape[1]
        reach = int(4 * self.sigma + 0.5)
        places = torch.arange(-reach, reach + 1, dtype=exact.dtype, device=images.device)
        weights = torch.exp(-0.5 * (places / self.sigma) ** 2)
        kernel = (weights / weights.sum()).expand(channels, 1, 1, -1)
        rows = conv2d(pad(exact, (reach, reach, 0, 0), mode="replicate"), kernel, groups=channels)
        both = conv2d(pad(rows, (0, 0, reach, reach), mode="replicate"), kernel.transpose(2, 3), groups=channels)
        return straight(both.clamp(0, 1), both).to(images.dtype)  # weights may sum to a little more than 1
