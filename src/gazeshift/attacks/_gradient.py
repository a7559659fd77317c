"""The gradient that the attacks climb, taken so that nothing of the caller's is touched."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from gazeshift.errors import ModelError
from gazeshift.models import NO_GRADIENT, backward_explained
from gazeshift.precision import wide

Model = Callable[[Tensor], Tensor]


def own(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The tensor without its history; copied if it was made in inference mode, where autograd may not use it."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def loss_gradient(
    model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, most: float = math.inf
) -> Float[Tensor, "n channels h w"]:
    """Gradient of the cross-entropy of `labels` with respect to each image; one forward and one backward pass.

    The loss is summed over the batch, so each image's gradient is the same in any batch. It is computed in float32
    at least, since half precision has no small probabilities. Gradients of parameters are not computed.

    Args:
        model: gives logits.
        images: in [0, 1].
        labels: a class per image, of any whole type.
        most: an image's loss is cut off here: above it, its gradient is 0.

    Raises:
        ModelError: the logits do not depend on the images in a way that can be differentiated.
    """
    with torch.enable_grad():
        seen = images.detach().requires_grad_()
        logits = wide(model(seen))
        losses = cross_entropy(logits, labels.long(), reduction="none")
        scale = lift(logits.detach().softmax(1).scatter(1, labels.long()[:, None], 0).amax(1))
        # Not clamp(), whose gradient for NaN is 0.
        total = (scale * torch.where(losses > most, most, losses)).sum()
        return gradient_of(total, seen) / scale[:, None, None, None]


def lift(sizes: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Powers of two that bring sizes to [0.5, 1); 1 for 0 and NaN.

    A backward pass that begins with gradients so scaled loses none of them on its way through a network in float16,
    and dividing its result gives the same bits as without in float32.
    """
    exponents = torch.frexp(sizes.nan_to_num(nan=0, posinf=0)).exponent.clamp(-100, 100)
    return torch.ldexp(torch.ones_like(sizes), -exponents)


def gradient_of(
    total: Float[Tensor, ""],
    images: Float[Tensor, "n channels h w"],
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Float[Tensor, "n channels h w"]:
    """Gradient of a number that the images led to.

    Raises:
        ModelError: it does not depend on the images in a way that can be differentiated.
    """
    gradient = None
    if total.requires_grad:
        with backward_explained():
            gradient = torch.autograd.grad(
                total, images, create_graph=create_graph, retain_graph=retain_graph, allow_unused=True
            )[0]
    if gradient is None:
        raise ModelError(
            f"an attack follows the gradient from the logits to the images, and this model gives none. {NO_GRADIENT}"
        )
    return gradient


def finite(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
    """The images as they are; refuse what a gradient of NaN made of them, which a classifier would call a success.

    Raises:
        ModelError: says how many images, and the first.
    """
    broken = (~images.isfinite()).flatten(1).any(1)
    if broken.any():
        raise ModelError(
            f"an attack needs finite images and gradients, got NaN or infinity for {int(broken.sum())} of "
            f"{len(images)} images, first at index {int(broken.nonzero()[0, 0])}. Leave them out, or run the model "
            "in float32 if its logits overflow."
        )
    return images
