"""One perturbation for all images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, finite, loss_gradient, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import steepest
from gazeshift.attacks._settings import check_size, check_whole
from gazeshift.seeds import Generators, uniform

__all__ = ["Universal"]


@dataclass(frozen=True, kw_only=True)
class Universal:
    """One perturbation for all images, by stochastic gradient ascent (Shafahi et al. 2020, arXiv:1811.11304, alg. 1).

    Ascends on the mean over a mini-batch of ``min(cross-entropy, most)`` (eq. 4): cut off, because a few images that
    are wrong already would otherwise lead all others. Each step moves the perturbation along the sign of the gradient
    and clips it to epsilon. One pass over the images, in random order, is an epoch.

    Called as an attack, it is fitted to the images that it is given and added to them. So an image's result depends
    on the others of its batch, unlike any other attack's. To attack images that it has not seen, `fit` it on some and
    add the perturbation to others: ``(images + perturbation).clamp(0, 1)``.

    Args:
        epsilon: largest change of a value, in [0, 1] units; the paper's is 10/255 on ImageNet.
        step: change of a value in a step, in [0, 1] units; None takes epsilon / 10.
        epochs: passes over the images.
        batch_size: images in a step.
        most: cross-entropy beyond which an image no longer counts; the paper's is 9.

    Raises:
        BoundsError: a number out of range.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: ClassVar[str | None] = "linf"
    epsilon: float = 10 / 255
    step: float | None = None
    epochs: int = 20
    batch_size: int = 32
    most: float = 9.0

    def __post_init__(self) -> None:
        check_size("epsilon", self.epsilon)
        if self.step is not None:
            check_size("step", self.step)
        check_whole("epochs", self.epochs, least=1)
        check_whole("batch_size", self.batch_size, least=1)
        check_size("most", self.most, most=math.inf)

    @in_full_precision
    def __call__(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The images, all with the perturbation that was fitted to them."""
        with torch.inference_mode(mode=False):
            images = own(images)
            return (images + self.fit(model, images, labels, generator)).clamp_(0, 1)

    def fit(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], generator: Generators
    ) -> Float[Tensor, "channels h w"]:
        """The perturbation for these images; zero if there are none. Chance decides their order."""
        step = self.epsilon / 10 if self.step is None else self.step
        with torch.inference_mode(mode=False):
            images, labels = own(images), own(labels)
            perturbation = images.new_zeros((1, *images.shape[1:]))
            for _ in range(self.epochs):
                for chosen in self._batches(images, generator):
                    shown = (images[chosen] + perturbation).clamp_(0, 1)
                    gradient = loss_gradient(model, shown, labels[chosen], most=self.most)
                    finite(images.index_copy(0, chosen, gradient))  # its message then counts the images as given
                    upward = steepest(gradient.sum(0, keepdim=True), "linf")
                    perturbation = (perturbation + step * upward).clamp_(-self.epsilon, self.epsilon)
            return perturbation[0]

    def _batches(self, images: Tensor, generator: Generators) -> Iterator[Int[Tensor, " m"]]:
        """Every image's index once, in random order, `batch_size` at a time."""
        order = uniform((len(images),), generator, images.device).argsort()
        yield from (order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size))
