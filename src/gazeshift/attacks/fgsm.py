"""The fast gradient sign method."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, finite, loss_gradient, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import steepest
from gazeshift.attacks._settings import check_size
from gazeshift.seeds import Generators

__all__ = ["Fgsm"]


@dataclass(frozen=True, kw_only=True)
class Fgsm:
    """One step of size epsilon along the sign of the loss gradient (Goodfellow et al. 2015, arXiv:1412.6572, sec. 4).

    ``clip(images + epsilon * sign(gradient of the cross-entropy of the labels), 0, 1)`` with sign(0) = 0. One forward
    and one backward pass. No value changes by more than epsilon, up to the rounding of one addition (6e-8 in float32).
    Images must be in [0, 1] and the model in eval mode; nothing of either is changed.

    Args:
        epsilon: largest change of a value, in [0, 1] units, above 0 and at most 1.

    Raises:
        BoundsError: epsilon out of range.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: ClassVar[str | None] = "linf"
    epsilon: float = 2 / 255

    def __post_init__(self) -> None:
        check_size("epsilon", self.epsilon)

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
        with torch.inference_mode(mode=False):
            images, labels = own(images), own(labels)
            direction = steepest(loss_gradient(model, images, labels), "linf")
            return finite(torch.add(images, direction, alpha=self.epsilon).clamp_(0, 1))
