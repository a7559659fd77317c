"""Gaussian noise with the mean and spread of a perturbation: the control that a deviation is measured against."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.precision import wide
from gazeshift.seeds import Generators, normal

__all__ = ["MatchedNoise"]


@dataclass(frozen=True, kw_only=True)
class MatchedNoise:
    """Independent normal noise with each image's own perturbation statistics (Renkhoff et al. 2022, eq. 2).

    Mean and population standard deviation are taken over all values of one image's perturbation. It is one draw per
    image, to be scaled by each strength afterwards. The noise is neither bounded nor clipped. A constant perturbation
    has no spread and gives its constant; a perturbation that is NaN gives NaN.

    Args:
        per_channel: match every channel on its own, instead of one mean and deviation for the image.
    """

    per_channel: bool = False

    def __call__(
        self, perturbation: Float[Tensor, "n channels h w"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The noise, of the perturbation's type; with one generator per image the same in any batch."""
        if not perturbation.numel():  # PyTorch warns of the spread of nothing
            return perturbation.clone()
        over = (2, 3) if self.per_channel else (1, 2, 3)
        std, mean = torch.std_mean(wide(perturbation), dim=over, correction=0, keepdim=True)
        drawn = normal(perturbation.shape, generator, perturbation.device).to(std.dtype)
        return drawn.mul_(std).add_(mean).to(perturbation.dtype)
