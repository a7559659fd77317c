"""Fewer levels of grey."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.precision import wide
from gazeshift.seeds import Generators
from gazeshift.transforms._straight_through import straight

__all__ = ["BitDepth"]


@dataclass(frozen=True, kw_only=True)
class BitDepth:
    """Round every value to one of 2^bits levels from 0 to 1 (feature squeezing, Xu et al. 2018).

    Rounding has a gradient of zero; here it is passed through as if nothing had been rounded, which is how attackers
    get around it (Athalye et al. 2018). Nothing random.

    Args:
        bits: 1 to 8 per colour.

    Raises:
        BoundsError: bits out of range.
    """

    bits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise BoundsError(f"bit_depth wants 1 to 8 bits per colour, got {self.bits}. 4 is usual.")

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        *,
        generator: Generators | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The rounded images."""
        steps = 2**self.bits - 1
        exact = wide(images)  # half types have no 256 levels
        return straight((exact * steps).round() / steps, exact).to(images.dtype)
