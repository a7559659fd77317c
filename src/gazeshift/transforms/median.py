"""Median filter."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from gazeshift.errors import BoundsError
from gazeshift.seeds import Generators

__all__ = ["Median"]


@dataclass(frozen=True, kw_only=True)
class Median:
    """Replace each value by the median of the square around it, channel by channel (feature squeezing, Xu et al. 2018).

    Edge pixels stand for what lies beyond the edge, as in ``scipy.ndimage.median_filter(mode="nearest")``. The
    gradient goes to the pixel that the median is. Nothing random.

    Args:
        size: side of the square in pixels, odd.

    Raises:
        BoundsError: the size is not odd, or below 3.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 3 or not self.size % 2:
            raise BoundsError(f"median needs an odd size of at least 3 pixels, got {self.size}. 3 is usual.")

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        *,
        generator: Generators | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The filtered images."""
        reach = self.size // 2
        squares = pad(images, (reach,) * 4, mode="replicate").unfold(2, self.size, 1).unfold(3, self.size, 1)
        return squares.flatten(4).median(4).values
