"""The momentum iterative fast gradient sign method."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, finite, loss_gradient, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import project, steepest
from gazeshift.attacks._settings import check_ball, check_number, check_steps
from gazeshift.errors import BoundsError
from gazeshift.seeds import Generators

__all__ = ["MiFgsm"]


@dataclass(frozen=True, kw_only=True)
class MiFgsm:
    """Steps along a running sum of gradients, which transfers better than PGD (Dong et al. 2018, arXiv:1710.06081).

    ``g = decay * g + gradient / |gradient|_1`` (eq. 6), then a step along the steepest direction of g in the norm
    (eq. 7: its sign), from the image itself, projected into the epsilon ball and clipped to [0, 1]. Exactly `steps`
    forward and backward passes; the last point is returned. A gradient of exactly zero adds nothing.

    Args:
        norm: ``linf`` bounds every value's change, ``l2`` the Euclidean length of the whole change.
        epsilon: radius of the ball, in [0, 1] units; in L2 it grows with the image: 3 is usual at 224 x 224.
        step: length of a step in the same norm; None takes epsilon / steps, as the paper does.
        steps: gradients to follow, 1 or more.
        decay: how much of the running sum each step keeps, from 0 (the basic iterative method); 1 is the paper's.

    Raises:
        BoundsError: a number out of range.
        UnknownNameError: no such norm.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: str = "linf"
    epsilon: float = 8 / 255
    step: float | None = None
    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_ball(self.norm, self.epsilon, self.step)
        check_steps(self.steps)
        if not 0 <= check_number("decay", self.decay) < float("inf"):
            raise BoundsError(f"decay must be 0 or more and finite, got {self.decay:g}. The paper's is 1.")

    @in_full_precision
    def __call__(
        self,
        model: Model,
        images: Float[Tensor, "n channels h w"],
        labels: Int[Tensor, " n"],
        *,
        generator: Generators,  # noqa: ARG002
    ) -> Float[Tensor, "n channels h w"]:
        """The attacked images; nothing is drawn from `generator`."""
        step = self.epsilon / self.steps if self.step is None else self.step
        with torch.inference_mode(mode=False):
            images, labels = own(images), own(labels)
            moved, running = images, torch.zeros((), device=images.device)
            for _ in range(self.steps):
                running = self.decay * running + _to_length_1(loss_gradient(model, moved, labels))
                stepped = torch.add(moved, steepest(running, self.norm).to(images.dtype), alpha=step)
                moved = project(stepped, images, self.epsilon, self.norm)
            return finite(moved)


def _to_length_1(gradient: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
    """The gradient over the sum of its absolute values; 0 where it is 0. In float32 at least: the sum is large."""
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    length = wide.abs().sum((1, 2, 3), keepdim=True)
    return wide / length.masked_fill(length == 0, 1)
