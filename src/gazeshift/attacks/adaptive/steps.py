"""What an adaptive attack knows of its images as it goes, and which way it steps. Directions are downhill."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "n channels h w"]
EVADES = 2.0  # a merit; below 1: classified as labelled; from 1: misclassified, the higher the less suspicious
GROWTH, DECAY, LIMIT = 1.25, 0.8, 64.0  # of the suspicion's weight


@dataclass(frozen=True, kw_only=True)
class AttackState:
    """The best of each image so far, and the weight of its suspicion. Written into as the attack goes on.

    Args:
        best: images.
        merit: see `EVADES`.
        weight: of the suspicion against the misclassification, in gradients of equal size.
        slack: how far below the threshold the suspicion should be.
    """

    best: Images
    merit: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]
    slack: Float[Tensor, " n"]

    @classmethod
    def of(cls, images: Images, slack: float) -> "AttackState":
        """Before the first step."""
        zeros = torch.zeros(len(images), device=images.device)
        return cls(best=images.clone(), merit=zeros - 1, weight=zeros + 1, slack=zeros + slack)

    def note(self, at: Int[Tensor, " m"], images: Images, margin: Tensor, excess: Tensor) -> None:
        """Keep what is better than before; weigh suspicion more where it alone is missing, less where it is not.

        Args:
            at: which images.
            images: where they are now.
            margin: below 0 is misclassified.
            excess: suspicion above the threshold; inf where it is not known.
        """
        fooled = margin < 0
        merit = torch.where(
            fooled, 1 + torch.sigmoid(-excess.nan_to_num(nan=torch.inf)), torch.sigmoid(-margin)
        ).float()
        better = (merit > self.merit[at]) | ~images.isfinite().flatten(1).all(1)  # NaN is kept, to be refused
        self.merit[at] = torch.where(better, merit.clamp_max(1.99), self.merit[at])
        self.best[at[better]] = images[better]
        change = torch.where(fooled, torch.where(excess > 0, GROWTH, 1.0), DECAY)
        self.weight[at] = (self.weight[at] * change).clamp(1 / LIMIT, LIMIT)

    def evading(self, at: Int[Tensor, " m"], images: Images) -> None:
        """These got past fresh draws."""
        self.merit[at], self.best[at] = EVADES, images


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """Gradients at one point, each of unit size, and what is still wanted there.

    Args:
        margin: of the misclassification.
        suspicion: likewise.
        fooled: misclassified.
        unsure: at the image or at a view, the margin is not yet what it should be.
        loud: the suspicion is not yet as low as it should be.
        weight: of the suspicion.
    """

    margin: Images
    suspicion: Images
    fooled: Bool[Tensor, " n"]
    unsure: Bool[Tensor, " n"]
    loud: Bool[Tensor, " n"]
    weight: Float[Tensor, " n"]


def joint(slopes: Slopes) -> Images:
    """Both at once: of margin + weight * suspicion, each only while it is wanted."""
    return _as(slopes.unsure) * slopes.margin + _as(slopes.weight * slopes.loud) * slopes.suspicion


def orthogonal(slopes: Slopes) -> Images:
    """One at a time, and none against the other (Bryniarski et al. 2021): the margin until the image is misclassified.

    After that the suspicion, if it is wanted. Of either gradient the part along the other is taken away.
    """
    first = without(slopes.margin, slopes.suspicion)
    return torch.where(_as(slopes.fooled & slopes.loud) > 0, without(slopes.suspicion, slopes.margin), first)


COMBINED: Mapping[str, Callable[[Slopes], Images]] = {
    "joint": joint,
    "orthogonal": orthogonal,
    "expectation": lambda slopes: slopes.margin,
}


def unit(gradient: Images) -> Images:
    """The gradient over its mean absolute value, per image; 0 where it is zero throughout."""
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / size.masked_fill(size == 0, 1)


def without(gradient: Images, other: Images) -> Images:
    """The gradient less its part along the other; as it is where the other is zero."""
    length = other.square().sum((1, 2, 3), keepdim=True)
    share = (gradient * other).sum((1, 2, 3), keepdim=True) / length.masked_fill(length == 0, 1)
    return gradient - share * other


def _as(values: Tensor) -> Float[Tensor, "n 1 1 1"]:
    return values[:, None, None, None]
