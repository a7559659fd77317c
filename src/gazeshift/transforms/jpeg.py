"""JPEG compression, computed with tensors: batched, on any device, and with a gradient."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from gazeshift.errors import BoundsError
from gazeshift.precision import wide
from gazeshift.seeds import Generators
from gazeshift.transforms._straight_through import straight

__all__ = ["Jpeg"]

# Annex K of the standard (ITU-T T.81), for quality 50.
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, *[99] * 6, *[99] * 32),
)
# RGB to luminance and two colour differences (JFIF).
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """What JPEG keeps of an image: colours at half resolution, and cosine coefficients of 8 x 8 pixels in coarse steps.

    Three channels are colours. One is a grey picture, and of any other number each is a grey picture by itself.
    Every plane is rounded to 8 bit on the way, as an encoder and a decoder do. From a file of libjpeg it differs by
    rounding alone: about one grey level in the mean. The gradient passes through the rounding as if there were
    none. Nothing random.

    Args:
        quality: 1 to 100, as libjpeg scales the standard's tables.
        subsample: colours at half resolution (4:2:0), as nearly every encoder does.

    Raises:
        BoundsError: quality out of range.
    """

    quality: int = 75
    subsample: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise BoundsError(f"jpeg needs a quality from 1 to 100, got {self.quality}. 75 is usual.")

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        *,
        generator: Generators | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The images as they come back from the file."""
        _, channels, height, width = images.shape
        side = 16 if channels == 3 and self.subsample else 8
        levels = _rounded(wide(images) * 255)  # half types have no 256 levels
        whole = pad(levels, (0, -width % side, 0, -height % side), mode="replicate")
        back = self._colour(whole) if channels == 3 else self._grey(whole)
        return (_rounded(back.clamp(0, 255))[:, :, :height, :width] / 255).to(images.dtype)

    def _grey(self, levels: Tensor) -> Tensor:
        return self._coded(levels - 128, LUMINANCE) + 128

    def _colour(self, levels: Tensor) -> Tensor:
        matrix = torch.tensor(TO_YCC, dtype=levels.dtype, device=levels.device)
        seen = _rounded(torch.einsum("dc,nchw->ndhw", matrix, levels))
        luminance, colours = self._grey(seen[:, :1]), seen[:, 1:]
        if self.subsample:
            small = self._coded(_rounded(avg_pool2d(colours, 2)), CHROMINANCE)
            colours = interpolate(small, scale_factor=2, mode="bilinear")
        else:
            colours = self._coded(colours, CHROMINANCE)
        return torch.einsum("cd,ndhw->nchw", matrix.inverse(), torch.cat([luminance, colours], 1))

    def _coded(self, plane: Tensor, table: tuple[int, ...]) -> Tensor:
        """One plane after its blocks' coefficients were rounded to multiples of their steps."""
        steps, basis = self._steps(table).to(plane), _cosines().to(plane)
        n, channels, height, width = plane.shape
        blocks = plane.reshape(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
        kept = _rounded(basis @ blocks @ basis.T / steps) * steps
        return _rounded((basis.T @ kept @ basis).transpose(3, 4).reshape(plane.shape)).clamp(-128, 127)

    def _steps(self, table: tuple[int, ...]) -> Tensor:
        scale = 5000 // self.quality if self.quality < 50 else 200 - 2 * self.quality
        return ((torch.tensor(table).reshape(8, 8) * scale + 50) // 100).clamp(1, 255)


def _rounded(values: Tensor) -> Tensor:
    return straight(values.round(), values)


def _cosines() -> Float[Tensor, "8 8"]:
    """The orthonormal discrete cosine transform of eight values: a row for each frequency."""
    places = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * (places + 0.5) * places[:, None]) / 2
    return torch.cat([basis[:1] / math.sqrt(2), basis[1:]])
