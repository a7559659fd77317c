"""One forward and one backward pass that shows every asked layer's activations and gradients as it goes by.

The graph begins at the first asked layer: what lies before it runs without one, so that neither its activations are
kept nor its gradients computed, and no parameter gets a gradient. Each layer's activations and gradient are handed to
`draw` inside the backward pass and forgotten before the layer below is reached.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from gazeshift.errors import LayerError, ModelError
from gazeshift.models._classifier import Classifier
from gazeshift.models._edge import NO_GRADIENT, as_classes, backward_explained
from gazeshift.models._layer_hooks import tapped
from gazeshift.models._paths import check_reached_by_all, not_reached
from gazeshift.records import Layer

Drawn = TypeVar("Drawn")
Draw = Callable[[Layer, Tensor, Tensor], Drawn]
SCORES = ("logit", "prob")


def trace(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    layers: Sequence[Layer],
    draw: Draw[Drawn],
    *,
    classes: Int[Tensor, " n"] | None = None,
    score: str = "logit",
) -> tuple[Float[Tensor, "n c"], Int[Tensor, " n"], dict[str, Drawn]]:
    """Logits, explained classes, and what `draw` made of each layer's (activations, gradients).

    The gradient is that of each image's own score with respect to the layer, (n, k, hl, wl). In eval mode images do
    not influence each other, so one backward pass from the summed scores gives each image's gradient.

    Args:
        classifier: the model.
        images: in [0, 1].
        layers: which tensors to show; any subset of `classifier.layers()`, in any order.
        draw: called once per layer, in the order of the backward pass, under ``torch.no_grad``.
        classes: whose score is differentiated, per image; None takes each image's own top class.
        score: ``logit``, or ``prob`` for the softmax probability, whose gradient vanishes when the model is sure.

    Raises:
        LayerError: a layer was not reached, or does not lead to the score.
        ModelError: the model's answer is not (n, classes).
        BoundsError: `classes` is not one class index per image.
    """
    watch = _TraceHooks(layers, draw, len(images))
    with torch.inference_mode(mode=False), torch.enable_grad(), watch:
        with tapped(classifier.module, layers, watch.tap):
            logits = classifier(images.clone() if images.is_inference() else images.detach())
        explained = logits.detach().argmax(1) if classes is None else as_classes(classes, logits, "the target")
        watch.run_backward(scores_of(logits, explained, score).sum())
    return logits.detach(), explained, {layer.name: watch.drawn[layer.name] for layer in layers}


def scores_of(logits: Tensor, classes: Tensor, score: str) -> Tensor:
    """(n, 1): of each image the logit or the probability of its class; NaN, and so its maps, if any logit is."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values = exact.softmax(1) if score == "prob" else logits
    undefined = torch.zeros_like(values[:, :1]).masked_fill(logits.isnan().any(1, keepdim=True), torch.nan)
    return values.gather(1, classes[:, None]) * (1 + undefined)


class _TraceHooks(Generic[Drawn]):
    """State of one pass: what still waits for its gradient, and what was drawn. Forgets the graph when left."""

    def __init__(self, layers: Sequence[Layer], draw: Draw[Drawn], images: int) -> None:
        self.layers, self.draw, self.images = layers, draw, images
        self.leaves: list[Tensor] = []
        self.nodes: set[Node] = set()
        self.waiting: dict[str, Tensor] = {}
        self.drawn: dict[str, Drawn] = {}

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, *_: object) -> None:
        """Let go of the graph: its hooks refer back to this object, and that ring would wait for the collector."""
        for kept in (self.leaves, self.nodes, self.waiting):
            kept.clear()

    def tap(self, layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:
        """Keep a layer's activations for its gradient; start the graph here if no watched layer leads here."""
        check_reached_by_all(layer, tensor, self.images)
        shown = tensor if self.leads_to(tensor) else self.begun(tensor, in_place=in_place)
        activations = shown.detach()
        self.waiting[layer.name] = activations.clone() if layer.overwritten and in_place else activations
        self.nodes.add(get_gradient_edge(shown).node)
        shown.register_hook(lambda gradient: self.arrived(layer, gradient))  # type: ignore[no-untyped-call]
        if in_place:
            return tensor
        return shown.clone() if layer.overwritten else shown

    def begun(self, tensor: Tensor, *, in_place: bool) -> Tensor:
        """The same values as the beginning of a graph; written back into the tensor if that one will be used."""
        leaf = (tensor.detach().clone() if in_place else tensor.detach()).requires_grad_()
        self.leaves.append(leaf)
        if in_place:
            tensor.copy_(leaf)
        return leaf

    def leads_to(self, tensor: Tensor) -> bool:
        """Whether a watched layer lies before a tensor. Weights that ask for gradients make graphs of their own."""
        ahead = [tensor.grad_fn] if tensor.grad_fn else []
        passed: set[Node] = set()
        while ahead and ahead[-1] not in self.nodes:
            node = ahead.pop()
            passed.add(node)
            ahead.extend(before for before, _ in node.next_functions if before and before not in passed)
        return bool(ahead)

    def arrived(self, layer: Layer, gradient: Tensor) -> None:
        """Draw a layer. In full precision: the caller's autocast is not meant for maps."""
        with torch.no_grad(), torch.autocast(gradient.device.type, enabled=False):
            self.drawn[layer.name] = self.draw(layer, self.waiting.pop(layer.name), gradient)

    def run_backward(self, score: Tensor) -> None:
        missed = [layer.name for layer in self.layers if layer.name not in self.waiting]
        if missed:
            raise not_reached(missed[0])
        if self.leaves and not score.requires_grad:
            raise ModelError(
                f"a map follows the gradient from the class score to layer {next(iter(self.waiting))}, and this model "
                f"gives none. {NO_GRADIENT} A layer without influence on the score has no map: leave it out."
            )
        if self.leaves:
            with backward_explained():
                torch.autograd.grad(score, self.leaves, allow_unused=True)
        if self.waiting:
            raise LayerError(
                f"layer {next(iter(self.waiting))} has no influence on the class score, so it has no gradient and no "
                "map. Leave it out (gazeshift list layers --model ...)."
            )
