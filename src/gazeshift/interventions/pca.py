"""An image without its least principal components."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from gazeshift.errors import BoundsError, UnknownNameError, did_you_mean
from gazeshift.seeds import Generators

__all__ = ["Pca"]

MODES = ("rows", "patch8", "joint_rows")
PATCH = 8


@dataclass(frozen=True, kw_only=True)
class Pca:
    """Keep the fewest principal components that together explain enough variance (Tan et al. 2023, step 1).

    Each image is its own data set: nothing is learned from others. What is taken away is mostly texture, not attack
    noise: on photographs some 5 to 7 grey levels, whether attacked or not. The result is not clipped. A matrix without
    variance comes back as it is. Computed in float64; nothing random.

    Args:
        mode: what a sample is. ``rows``: a row of one colour, each colour on its own; ``joint_rows``: a row of all
            three; ``patch8``: a patch of 8 x 8 pixels of all three (edges that fill no patch are continued for it).
        variance: share of the variance to reach, above 0 and below 1.

    Raises:
        BoundsError: the share is out of range.
        UnknownNameError: no such mode.
    """

    mode: str = "rows"
    variance: float = 0.99

    def __post_init__(self) -> None:
        if not 0 < self.variance < 1:
            raise BoundsError(f"pca keeps a share of the variance above 0 and below 1, got {self.variance:g}.")
        if self.mode not in MODES:
            raise UnknownNameError(f"pca has no mode '{self.mode}'. {did_you_mean(str(self.mode), MODES)}")

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        *,
        generator: Generators | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The cleaned images, unclipped."""
        return self.cleaned(images)[0]

    def cleaned(
        self, images: Float[Tensor, "n channels h w"]
    ) -> tuple[Float[Tensor, "n channels h w"], Int[Tensor, "n m"]]:
        """The cleaned images, unclipped, and the components kept: per colour for ``rows``, else one number."""
        n, _, height, width = images.shape
        exact = images.double()
        if self.mode == "rows":
            made, kept = _reduced(exact, self.variance)
        elif self.mode == "joint_rows":
            joint, kept = _reduced(exact.transpose(1, 2).reshape(n, 1, height, 3 * width), self.variance)
            made = joint.reshape(n, height, 3, width).transpose(1, 2)
        else:
            patches, kept = _reduced(_patches(exact), self.variance)
            made = _image(patches, height, width)
        return made.to(images.dtype), kept


def _reduced(
    matrices: Float[Tensor, "n m samples features"], variance: float
) -> tuple[Float[Tensor, "n m samples features"], Int[Tensor, "n m"]]:
    """Each matrix rebuilt from its first components, and their number: the least whose variance exceeds the share."""
    mean = matrices.mean(2, keepdim=True)
    left, sizes, right = torch.linalg.svd(matrices - mean, full_matrices=False)
    squares = sizes.square()
    total = squares.sum(2, keepdim=True)
    explained = squares.cumsum(2) / torch.where(total == 0, 1.0, total)
    kept = ((explained <= variance).sum(2) + 1).clamp_max(sizes.shape[2]) * (total[..., 0] > 0)
    first = torch.arange(sizes.shape[2], device=sizes.device) < kept[..., None]
    rebuilt = torch.matmul(left * (sizes * first)[:, :, None], right) + mean
    return torch.where(total[..., None] > 0, rebuilt, matrices), kept


def _patches(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n 1 patches values"]:
    n, _, height, width = images.shape
    whole = pad(images, (0, -width % PATCH, 0, -height % PATCH), mode="replicate")
    rows, columns = whole.shape[2] // PATCH, whole.shape[3] // PATCH
    tiles = whole.reshape(n, 3, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(n, 1, rows * columns, 3 * PATCH * PATCH)


def _image(patches: Float[Tensor, "n 1 patches values"], height: int, width: int) -> Float[Tensor, "n channels h w"]:
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    tiles = patches.reshape(len(patches), rows, columns, 3, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(len(patches), 3, rows * PATCH, columns * PATCH)[:, :, :height, :width]
