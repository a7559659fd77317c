"""A small shift."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from gazeshift.errors import BoundsError
from gazeshift.seeds import Generators, uniform

__all__ = ["Shift"]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Move each image by a whole number of pixels; edge pixels stand for what comes in from beyond the edge.

    Args:
        most: largest shift along each axis, in pixels, at least 1. Drawn evenly from ``-most ... most`` for each axis.
        least: smallest one; 1 leaves no axis where it was.
        right: with `down`, a shift that is always the same; `most` is not used.
        down: likewise.

    Raises:
        BoundsError: `most` is below 1, or `least` not from 0 to `most`.
    """

    most: int = 2
    least: int = 0
    right: int | None = None
    down: int | None = None

    def __post_init__(self) -> None:
        if self.most < 1:
            raise BoundsError(f"shift needs at least 1 pixel, got {self.most}.")
        if not 0 <= self.least <= self.most:
            raise BoundsError(f"shift needs a least shift from 0 to most={self.most} pixels, got {self.least}.")

    def __call__(
        self, images: Float[Tensor, "n channels h w"], *, generator: Generators | None = None
    ) -> Float[Tensor, "n channels h w"]:
        """The shifted images; with one generator per image the same in any batch.

        Raises:
            BoundsError: a shift as large as the image, or random ones without a generator.
        """
        moves = self._moves(len(images), generator)
        height, width = images.shape[2:]
        for right, down in moves:
            if abs(right) >= width or abs(down) >= height:
                raise BoundsError(
                    f"a shift by {right} and {down} pixels leaves nothing of images of {width} x {height}."
                )
        reach = max((abs(step) for move in moves for step in move), default=0)
        wide = pad(images, (reach,) * 4, mode="replicate")
        parts = [
            one[:, reach - down : reach - down + height, reach - right : reach - right + width]
            for one, (right, down) in zip(wide, moves, strict=True)
        ]
        return torch.stack(parts) if parts else images.clone()

    def _moves(self, n: int, generator: Generators | None) -> list[tuple[int, int]]:
        if self.right is not None or self.down is not None:
            return [(self.right or 0, self.down or 0)] * n
        if generator is None:
            raise BoundsError("shift draws at random and needs a generator; or give right= and down=.")
        steps = [step for step in range(-self.most, self.most + 1) if abs(step) >= self.least]
        drawn = (uniform((n, 2), generator, torch.device("cpu")) * len(steps)).long()
        return [(steps[right], steps[down]) for right, down in drawn.tolist()]
