"""What a classifier attends to for a class, as one number that can be differentiated down to the images."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, gradient_of
from gazeshift.errors import ModelError
from gazeshift.models import Classifier, live_pass
from gazeshift.precision import wide
from gazeshift.records import Layer

Gradients = Callable[[Tensor], Tensor]
MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient_input": lambda activations, gradients: (gradients * activations).sum(1),
    "grad_cam": lambda activations, gradients: (gradients.mean((2, 3), keepdim=True) * activations).sum(1),
    "layer_cam": lambda activations, gradients: (gradients.relu() * activations).sum(1),
}


def last_convolution(model: Model, images: Float[Tensor, "n channels h w"]) -> Layer:
    """The last layer of a classifier that is a convolution's result.

    Raises:
        ModelError: not a `Classifier`, whose layers are known.
    """
    layers = _classifier(model).layers((images.shape[2], images.shape[3]))
    return [layer for layer in layers if "conv" in layer.kinds][-1]


def attention_loss(
    model: Model,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"],
    *,
    attention: str,
    layer: Layer | None,
    attends: Bool[Tensor, " n"],
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Per image log mean(H_y) - log mean(H_s) + log p_y, in the graph of `images`; and whether a map was blank.

    H is the positive part of the map, s the most probable class other than y. An image with a blank map has no
    logarithm of its attention and is left with log p_y. NaN logits give a NaN loss.

    Args:
        model: gives logits.
        images: that ask for gradients.
        labels: y, per image.
        attention: a name in `MAPS`.
        layer: where the maps are drawn; None at the images themselves.
        attends: images whose attention counts; the others have log p_y alone.
    """
    activations, logits, gradients = _seen(model, images, layer)
    rivals = logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
    own, other = (
        MAPS[attention](activations, gradients(classes)).relu().to(logits.dtype).mean((1, 2))
        for classes in (labels, rivals)
    )
    blank = attends & ((own.detach() == 0) | (other.detach() == 0))
    counts = attends & ~blank
    ratio = torch.where(counts, own, 1).log() - torch.where(counts, other, 1).log()
    return ratio + logits.log_softmax(1).gather(1, labels[:, None])[:, 0], blank


def _seen(model: Model, images: Tensor, layer: Layer | None) -> tuple[Tensor, Tensor, Gradients]:
    """Activations, logits, and a function from classes to the gradients of their logits by those activations."""
    if layer is None:
        logits = wide(model(images))

        def at_the_images(classes: Tensor) -> Tensor:
            return gradient_of(logits.gather(1, classes[:, None]).sum(), images, create_graph=True)

        return images, logits, at_the_images
    live = live_pass(_classifier(model), images, [layer])
    return live.activations[layer.name], wide(live.logits), lambda classes: live.gradients(classes)[layer.name]


def _classifier(model: Model) -> Classifier:
    if isinstance(model, Classifier):
        return model
    raise ModelError(
        f"attention at the last convolution needs a classifier whose layers are known, got {type(model).__name__}. "
        "Wrap it: gazeshift.Classifier(network, name='mine'), or take attention='gradient_input'."
    )
