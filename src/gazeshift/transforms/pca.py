"""An image without its least principal components."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from gazeshift.errors import BoundsError, UnknownNameError, did_you_mean
from gazeshift.precision import exact
from gazeshift.seeds import Generators
from gazeshift.transforms._straight_through import straight

__all__ = ["Pca"]

MODES = ("rows", "patch8", "joint_rows")
PATCH = 8


@dataclass(frozen=True, kw_only=True)
class Pca:
    """Keep the fewest principal components that together explain enough variance (Tan et al. 2023, step 1).

    Each image is its own data set: nothing is learned from others. What is taken away is mostly texture, not attack
    noise: on photographs some 5 to 7 grey levels, whether attacked or not. The result is not clipped. A matrix without
    variance, or with a NaN, comes back as it is. Computed in float64; nothing random.

    Args:
        mode: what a sample is. ``rows``: a row of one channel, each on its own; ``joint_rows``: a row of all
            channels; ``patch8``: 8 x 8 pixels of all channels (edges that fill no patch are continued for it).
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
        """The cleaned images, unclipped, and the components kept: per channel for ``rows``, else one number."""
        n, channels, height, width = images.shape
        values = exact(images)
        if self.mode == "rows":
            made, kept = _reduced(values, self.variance)
        elif self.mode == "joint_rows":
            joint, kept = _reduced(values.transpose(1, 2).reshape(n, 1, height, channels * width), self.variance)
            made = joint.reshape(n, height, channels, width).transpose(1, 2)
        else:
            patches, kept = _reduced(_patches(values), self.variance)
            made = _image(patches, images.shape)
        return made.to(images), kept.to(images.device)


def _reduced(
    matrices: Float[Tensor, "n m samples features"], variance: float
) -> tuple[Float[Tensor, "n m samples features"], Int[Tensor, "n m"]]:
    """Each matrix rebuilt from its first components, and their number: the least whose variance exceeds the share."""
    mean = matrices.mean(2, keepdim=True)
    centred = (matrices - mean).where(matrices.isfinite().all(3).all(2)[..., None, None], 0.0)
    left, sizes, right = torch.linalg.svd(centred.detach(), full_matrices=False)
    squares = sizes.square()
    total = squares.sum(2, keepdim=True)
    explained = squares.cumsum(2) / torch.where(total == 0, 1.0, total)
    kept = ((explained <= variance).sum(2) + 1).clamp_max(sizes.shape[2]) * (total[..., 0] > 0)
    first = torch.arange(sizes.shape[2], device=sizes.device) < kept[..., None]
    rebuilt = torch.matmul(left * (sizes * first)[:, :, None], right) + mean
    if matrices.requires_grad:
        rebuilt = straight(rebuilt, _projected(centred, kept) + mean)
    return torch.where(total[..., None] > 0, rebuilt, matrices), kept


def _projected(
    centred: Float[Tensor, "n m samples features"], kept: Int[Tensor, "n m"]
) -> Float[Tensor, "n m samples features"]:
    """The same from the projection onto the kept components, for its derivative.

    That of a single component is infinite where two are of one size, as of an image with a black border; that of the
    projection is not: to first order, a kept component turns towards one left out by their product in the scatter
    matrix over the difference of their variances.
    """
    _, sizes, right = torch.linalg.svd(centred.detach())
    features, axes = centred.shape[3], right.mT
    squares = pad(sizes.square(), (0, features - sizes.shape[2]))
    inside = torch.arange(features, device=sizes.device) < kept[..., None]
    gaps = squares[..., :, None] - squares[..., None, :]
    turns = inside[..., :, None] & ~inside[..., None, :] & (gaps > 0)
    turned = (centred @ axes).mT @ (centred @ axes) / gaps.where(turns, torch.inf)
    projection: Tensor = axes @ (torch.diag_embed(inside.to(turned)) + turned + turned.mT) @ axes.mT
    return centred @ projection


def _patches(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n 1 patches values"]:
    n, channels, height, width = images.shape
    whole = pad(images, (0, -width % PATCH, 0, -height % PATCH), mode="replicate")
    rows, columns = whole.shape[2] // PATCH, whole.shape[3] // PATCH
    tiles = whole.reshape(n, channels, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(n, 1, rows * columns, channels * PATCH * PATCH)


def _image(patches: Float[Tensor, "n 1 patches values"], shape: torch.Size) -> Float[Tensor, "n channels h w"]:
    n, channels, height, width = shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    tiles = patches.reshape(n, rows, columns, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(n, channels, rows * PATCH, columns * PATCH)[:, :, :height, :width]
