"""An image with a perturbation, or noise, at several strengths."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import BoundsError, UnknownNameError, did_you_mean
from gazeshift.precision import wide

__all__ = ["Strengths"]

ARITHMETIC = ("default", "released")
EIGHT_BIT = ("none", "round", "truncate")
SLACK = 1e-3  # grey levels by which a level read from an 8-bit file may have lost a whole number to rounding


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Scale a perturbation, and noise matched to it, by several strengths (Renkhoff et al. 2022, strengths 25-400 %).

    ``default``: ``clip(images + strength * change, 0, 1)``, for perturbation and noise alike.

    ``released``: what the published code computed, to show where its curves come from. Its loop overwrites the
    attacked image and takes the whole perturbation off that one before the next strength, so that strength s_i gives

        attacked: images + c_i * perturbation                  c_i = b_i + s_i
        noisy:    images + b_i * perturbation + s_i * noise    b_i = c_(i-1) - 1, and c_0 = 1

    and strengths 0.5 and 1 push *away* from the attack. The result depends on the order of the strengths.

    Args:
        values: the strengths, finite and above 0, in order.
        arithmetic: ``default`` or ``released``.
        eight_bit: what becomes of a result in an 8-bit file: ``none`` keeps it as it is, ``round`` takes the nearest
            of 256 levels, ``truncate`` the level below, as the published code did. At DLFuzz's size most of a
            perturbation is then truncation: of Laplace-shaped noise with a root mean square of 0.125 levels, 0.71 is
            left.

    Raises:
        BoundsError: a strength out of range, or none.
        UnknownNameError: no such arithmetic, or no such way to 8 bits.
    """

    values: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    arithmetic: str = "default"
    eight_bit: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eight_bit", self.eight_bit or "none")  # a written ``eight_bit=none`` arrives as None
        if not self.values or not all(math.isfinite(value) and value > 0 for value in self.values):
            raise BoundsError(
                f"strengths must be finite and above 0, got {self.values}. 1 is the attack as it was made."
            )
        if self.arithmetic not in ARITHMETIC:
            raise UnknownNameError(
                f"no strength arithmetic named '{self.arithmetic}'. {did_you_mean(str(self.arithmetic), ARITHMETIC)}"
            )
        if self.eight_bit not in EIGHT_BIT:
            raise UnknownNameError(f"no eight_bit named '{self.eight_bit}'. {did_you_mean(self.eight_bit, EIGHT_BIT)}")

    @property
    def coefficients(self) -> tuple[float, ...]:
        """How much of the perturbation each attacked image holds: the strengths, if the arithmetic is right."""
        return tuple(base + value for base, value in zip(self.bases, self.values, strict=True))

    @property
    def bases(self) -> tuple[float, ...]:
        """How much of the perturbation lies under each noisy image: none, if the arithmetic is right."""
        if self.arithmetic == "default":
            return (0.0,) * len(self.values)
        return tuple(accumulate(self.values[:-1], lambda base, value: base + value - 1, initial=0.0))

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        perturbation: Float[Tensor, "n channels h w"],
        noise: Float[Tensor, "n channels h w"],
    ) -> Iterator[tuple[float, Float[Tensor, "n channels h w"], Float[Tensor, "n channels h w"]]]:
        """Strength, attacked and noisy images, one strength at a time."""
        pairs = zip(self.attacked(images, perturbation), self.noisy(images, perturbation, noise), strict=True)
        for (value, attacked), (_, noisy) in pairs:
            yield value, attacked, noisy

    def attacked(
        self, images: Float[Tensor, "n channels h w"], perturbation: Float[Tensor, "n channels h w"]
    ) -> Iterator[tuple[float, Float[Tensor, "n channels h w"]]]:
        """Strength and images with that much of the perturbation, clipped to [0, 1]."""
        for value, coefficient in zip(self.values, self.coefficients, strict=True):
            yield value, self._stored(torch.add(wide(images), wide(perturbation), alpha=coefficient), images.dtype)

    def noisy(
        self,
        images: Float[Tensor, "n channels h w"],
        perturbation: Float[Tensor, "n channels h w"],
        noise: Float[Tensor, "n channels h w"],
    ) -> Iterator[tuple[float, Float[Tensor, "n channels h w"]]]:
        """Strength and images with that much noise, clipped to [0, 1]."""
        for value, base in zip(self.values, self.bases, strict=True):
            under = torch.add(wide(images), wide(perturbation), alpha=base)
            yield value, self._stored(under.add_(wide(noise), alpha=value), images.dtype)

    def _stored(self, images: Float[Tensor, "n channels h w"], dtype: torch.dtype) -> Float[Tensor, "n channels h w"]:
        images = images.clamp_(0, 1)
        if self.eight_bit != "none":
            levels = images * 255
            images = (levels.round() if self.eight_bit == "round" else (levels + SLACK).floor()) / 255
        return images.to(dtype)
