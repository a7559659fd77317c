"""Pixels drawn inside, or outside, the region that a class activation map marks, and painted over."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.precision import wide
from gazeshift.seeds import Generators, uniform

__all__ = ["RoiPixels"]


@dataclass(frozen=True, kw_only=True)
class RoiPixels:
    """Set random pixels of the region of interest to one value in all channels (Ding et al. 2022, Tables 2 and 3).

    The region is where the map, enlarged to the image and then brought to [0, 1], reaches `level`: the red area of a
    picture in jet colours. A region of fewer than `count` pixels gives way to the `count` highest ones.

    Args:
        count: pixels to draw, without replacement.
        level: of the region; 0.774 is where jet's green falls below one half.

    Raises:
        BoundsError: a number out of range.
    """

    count: int = 100
    level: float = 0.774

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.level <= 1:
            raise BoundsError(f"at least 1 pixel and a level in [0, 1] are needed, got {self.count} and {self.level}.")

    def __call__(
        self, images: Float[Tensor, "n channels h w"], positions: Int[Tensor, "n p"], value: float
    ) -> Float[Tensor, "n channels h w"]:
        """The images with the pixels at these places set to `value`, in [0, 1], in all channels."""
        places = positions[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).scatter(2, places, value).view_as(images)

    def region(self, maps: Float[Tensor, "n hl wl"], size: tuple[int, int]) -> Bool[Tensor, "n h w"]:
        """The region of interest of raw signed maps, at least `count` pixels of it.

        Raises:
            BoundsError: the image has fewer pixels than are to be drawn.
        """
        scaled = enlarged(maps, size)
        if size[0] * size[1] < self.count:
            raise BoundsError(f"{self.count} pixels cannot be drawn from an image of {size[0]} x {size[1]}.")
        highest = torch.zeros_like(scaled, dtype=torch.bool).flatten(1)
        highest.scatter_(1, scaled.flatten(1).topk(self.count).indices, value=True)
        red = scaled >= self.level
        enough = red.sum((1, 2)) >= self.count
        return torch.where(enough[:, None, None], red, highest.view_as(red))

    def positions(self, region: Bool[Tensor, "n h w"], *, generator: Generators) -> Int[Tensor, "n p"]:
        """Places of `count` pixels of each region, in the flattened image; of fewer, what lacks is drawn outside."""
        order = uniform(region.flatten(1).shape, generator, region.device) + region.flatten(1)
        return order.topk(self.count).indices


def enlarged(maps: Float[Tensor, "n hl wl"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Raw signed maps at the image's size (bilinear, corners not aligned), each brought to [0, 1]; a flat one is 0."""
    grown = torch.nn.functional.interpolate(wide(maps)[:, None], size=size, mode="bilinear")[:, 0]
    low, high = grown.amin((1, 2), keepdim=True), grown.amax((1, 2), keepdim=True)
    return (grown - low) / (high - low).where(high > low, 1)
