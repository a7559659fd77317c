"""One mutation of DLFuzz: the objective, its gradient, and the step along it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import gradient_of
from gazeshift.attacks.dlfuzz.settings import DLFuzzSettings
from gazeshift.models import NeuronActivations
from gazeshift.seeds import normal

RUNNERS_UP = 4
GREY_LEVELS = 255  # eps_norm is written for gradients per grey level, ours are per unit of [0, 1]


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The gradient of the objective, and the root mean squares of its two terms' where they were taken apart (n).

    Both in units of the objective per unit of [0, 1].
    """

    gradient: Float[Tensor, "n channels h w"]
    classes: Float[Tensor, " n"] | None
    coverage: Float[Tensor, " n"] | None


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """predict_weight (c2 + c3 + c4 + c5) - c1 + coverage_weight sum of a_n, and a step up its gradient.

    c1 to c5 are scores of the five classes that were best when the item was popped, a_n the raw mean activations of
    the chosen neurons (Guo et al. 2018, arXiv:1808.09413, eq. 1; Renkhoff et al. 2022, eq. 8).
    """

    asked: DLFuzzSettings

    def leading(self, logits: Float[Tensor, "n c"]) -> Int[Tensor, "n k"]:
        """The best classes, best first: five, or as many as there are."""
        return logits.detach().topk(min(1 + RUNNERS_UP, logits.shape[1])).indices

    def ascent(
        self,
        images: Float[Tensor, "n channels h w"],
        reading: NeuronActivations,
        leading: Int[Tensor, "n k"],
        signs: Float[Tensor, "n neurons"],
        *,
        apart: bool,
    ) -> Ascent:
        """Gradient of the objective; the graph of `reading` is used up.

        Args:
            images: the leaf of the graph.
            reading: what the pass from `images` showed.
            leading: classes c1 to c5 per image.
            signs: +1, -1 or 0 per neuron.
            apart: take the two gradients one by one, which costs a second backward pass, and tell their sizes.

        Raises:
            ModelError: the logits do not depend on the images in a way that can be differentiated.
        """
        scores = reading.logits.softmax(1) if self.asked.class_score == "prob" else reading.logits
        chosen = scores.gather(1, leading)
        classes = (self.asked.predict_weight * chosen[:, 1:].sum(1) - chosen[:, 0]).sum()
        coverage = self.asked.coverage_weight * (reading.means * signs.to(reading.means)).sum()
        if not apart and self.asked.balance == "none":
            return Ascent(gradient=gradient_of(classes + coverage, images), classes=None, coverage=None)
        covering = _gradient_kept(coverage, images)
        changing = gradient_of(classes, images)
        sizes = rms(changing), rms(covering)
        if self.asked.balance == "rms":
            changing, covering = self._direction(changing, sizes[0]), self._direction(covering, sizes[1])
        return Ascent(gradient=changing + covering, classes=sizes[0].flatten(), coverage=sizes[1].flatten())

    def __call__(
        self,
        images: Float[Tensor, "n channels h w"],
        gradient: Float[Tensor, "n channels h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "n channels h w"]:
        """The images after one step of `step` root mean square, clipped to [0, 1].

        ``gaussian`` takes, in place of each image's step, normal noise of the same mean and standard deviation.
        """
        change = self._direction(gradient, rms(gradient)).mul_(self.asked.step)
        if self.asked.mutation == "gaussian":
            mean, std = change.mean((1, 2, 3), keepdim=True), change.std((1, 2, 3), correction=0, keepdim=True)
            change = normal(change.shape, generators, change.device).to(change) * std + mean
        return (images + change).clamp_(0, 1).to(images.dtype)

    def _direction(self, gradient: Tensor, size: Tensor) -> Tensor:
        return gradient / (size + GREY_LEVELS * self.asked.eps_norm)


def _gradient_kept(
    total: Float[Tensor, ""], images: Float[Tensor, "n channels h w"]
) -> Float[Tensor, "n channels h w"]:
    """Gradient of a number, 0 if it does not depend on the images; the graph can be gone through again."""
    if not total.requires_grad:
        return torch.zeros_like(images)
    return torch.autograd.grad(total, images, retain_graph=True, allow_unused=True, materialize_grads=True)[0]


def rms(change: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n 1 1 1"]:
    """Root mean square per image, at any scale: the squares of float32 numbers below 1e-23 vanish, so it is scaled."""
    wide = change.to(torch.promote_types(change.dtype, torch.float32))
    largest = wide.abs().amax((1, 2, 3), keepdim=True)
    scaled = wide / largest.masked_fill(largest == 0, 1)
    return largest * scaled.square().mean((1, 2, 3), keepdim=True).sqrt()
