"""Projected gradient descent."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, finite, loss_gradient, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import project, random_start, steepest
from gazeshift.attacks._settings import check_ball, check_steps
from gazeshift.seeds import Generators

__all__ = ["Pgd"]


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """Steps up the loss gradient, projected back into the epsilon ball (Madry et al. 2018, arXiv:1706.06083, sec. 2.1).

    Each of exactly `steps` forward and backward passes moves by `step` along the steepest direction of the norm (the
    gradient's sign, or the gradient over its length) up the cross-entropy of the labels, then projects into the
    epsilon ball, then clips to [0, 1]. The last point is returned, whether it fools the model or not. An image whose
    gradient is exactly zero stays where it is.

    The result lies in the ball up to rounding: 6e-8 per value in L-inf, a millionth of epsilon in L2 (float32). Images
    must be in [0, 1] and the model in eval mode; nothing of either is changed.

    Args:
        norm: ``linf`` bounds every value's change, ``l2`` the Euclidean length of the whole change.
        epsilon: radius of the ball, in [0, 1] units. In L2 it grows with the image: 0.5 is usual at 32 x 32, 3 at
            224 x 224.
        step: length of a step in the same norm; None takes epsilon / 4, which is 2/255 at 8/255.
        steps: gradients to follow, 1 or more.
        random_start: start at a point drawn uniformly from the ball, else at the image.

    Raises:
        BoundsError: a number out of range.
        UnknownNameError: no such norm.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: str = "linf"
    epsilon: float = 8 / 255
    step: float | None = None
    steps: int = 10
    random_start: bool = True

    def __post_init__(self) -> None:
        check_ball(self.norm, self.epsilon, self.step)
        check_steps(self.steps)

    @in_full_precision
    def __call__(
        self,
        model: Model,
        images: Float[Tensor, "n channels h w"],
        labels: Int[Tensor, " n"],
        *,
        generator: Generators,
    ) -> Float[Tensor, "n channels h w"]:
        """The attacked images. With one generator per image, each image's result is the same in any batch."""
        step = self.epsilon / 4 if self.step is None else self.step
        with torch.inference_mode(mode=False):
            images, labels = own(images), own(labels)
            moved = random_start(images, self.epsilon, self.norm, generator) if self.random_start else images
            for _ in range(self.steps):
                direction = steepest(loss_gradient(model, moved, labels), self.norm)
                moved = project(torch.add(moved, direction, alpha=step), images, self.epsilon, self.norm)
            return finite(moved)
