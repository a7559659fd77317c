"""Gaussian noise, the control of every attack."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._settings import check_number, check_size
from gazeshift.errors import BoundsError
from gazeshift.seeds import Generators, normal

__all__ = ["Gaussian"]


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Independent normal noise on every value, blind to the model: a control, not an attack.

    ``clip(images + mean + std * noise, 0, 1)``; no value is bounded but by [0, 1], and none is redrawn, so near black
    and white the clipping makes the change smaller than `std`. No pass through the model.

    Args:
        std: standard deviation of the noise, in [0, 1] units, above 0 and at most 1.
        mean: of the noise, -1 to 1.

    Raises:
        BoundsError: a number out of range.
    """

    norm: ClassVar[str | None] = None
    std: float = 2 / 255
    mean: float = 0.0

    def __post_init__(self) -> None:
        check_size("std", self.std)
        if not -1 <= check_number("mean", self.mean) <= 1:
            raise BoundsError(f"mean must be in [-1, 1], got {self.mean:g}. Images are in [0, 1]; 0 is usual.")

    @in_full_precision
    def __call__(
        self,
        model: Model,  # noqa: ARG002
        images: Float[Tensor, "n channels h w"],
        labels: Int[Tensor, " n"],  # noqa: ARG002
        *,
        generator: Generators,
    ) -> Float[Tensor, "n channels h w"]:
        """The noisy images; model and labels are not looked at."""
        noise = normal(images.shape, generator, images.device).mul_(self.std).add_(self.mean)
        return (own(images) + noise.to(images.dtype)).clamp_(0, 1)
