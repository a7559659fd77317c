"""A pass whose activations and gradients can be differentiated again, for attacks on what a map shows.

`trace` forgets the graph layer by layer and is made for looking. Here the graph stays, from the images to each asked
layer and on to the logits: whoever descends on a map needs the gradient of a gradient. Networks of piecewise linear
activations have one almost everywhere (it is zero between two kinks, and the map still changes with the activations).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gazeshift.errors import LayerError
from gazeshift.models._classifier import Classifier
from gazeshift.models._edge import as_classes, backward_explained
from gazeshift.models._layer_hooks import tapped
from gazeshift.models._paths import check_reached_by_all, not_reached
from gazeshift.models._trace import Draw, Drawn, scores_of
from gazeshift.records import Layer


@dataclass(frozen=True, kw_only=True)
class LivePass:
    """One forward pass with its graph.

    Args:
        logits: (n, c).
        activations: layer name to its activations (n, k, hl, wl), in the order asked for.
        edges: where the gradient of each layer is read, even if the network later wrote into the tensor.
    """

    logits: Float[Tensor, "n c"]
    activations: Mapping[str, Float[Tensor, "n k hl wl"]]
    edges: Mapping[str, GradientEdge]

    def gradients(
        self, classes: Int[Tensor, " n"], *, score: str = "logit", create_graph: bool = True
    ) -> dict[str, Float[Tensor, "n k hl wl"]]:
        """Gradient of each image's score of its class with respect to every layer; may be asked for several times.

        Args:
            classes: whose score, per image.
            score: ``logit``, or ``prob`` for the softmax probability.
            create_graph: False if the gradients themselves will not be differentiated; cheaper.

        Raises:
            LayerError: a layer has no influence on the score.
            BoundsError: `classes` is not one class index per image.
        """
        edges = tuple(self.edges.values())
        with torch.inference_mode(mode=False), torch.enable_grad(), backward_explained():
            total = scores_of(self.logits, as_classes(classes, self.logits, "the target"), score).sum()
            found = torch.autograd.grad(total, edges, create_graph=create_graph, retain_graph=True, allow_unused=True)
        for name, gradient in zip(self.edges, found, strict=True):
            if gradient is None:
                raise LayerError(
                    f"layer {name} has no influence on the class score, so it has no gradient. Leave it out."
                )
        return dict(zip(self.edges, found, strict=True))


def live_pass(classifier: Classifier, images: Float[Tensor, "n channels h w"], layers: Sequence[Layer]) -> LivePass:
    """Run a batch forward, keeping the graph from the images to each layer and the logits.

    Args:
        classifier: the model; found and left as it is.
        images: in [0, 1]. If they ask for gradients, or come from tensors that do, the graph begins there.
        layers: which tensors to show; any subset of `classifier.layers()`.

    Raises:
        LayerError: a layer was not reached.
        ModelError: the model's answer is not (n, classes).
    """
    activations: dict[str, Tensor] = {}
    edges: dict[str, GradientEdge] = {}

    def tap(layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:  # noqa: ARG001
        check_reached_by_all(layer, tensor, len(images))
        activations[layer.name] = tensor.clone() if layer.overwritten else tensor
        edges[layer.name] = get_gradient_edge(tensor)
        return tensor

    with torch.inference_mode(mode=False), torch.enable_grad():
        begun = images if images.requires_grad else images.clone().requires_grad_()
        with tapped(classifier.module, layers, tap):
            logits = classifier(begun)
    missed = [layer.name for layer in layers if layer.name not in activations]
    if missed:
        raise not_reached(missed[0])
    names = [layer.name for layer in layers]
    return LivePass(
        logits=logits,
        activations={name: activations[name] for name in names},
        edges={name: edges[name] for name in names},
    )


def trace_live(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    layers: Sequence[Layer],
    draw: Draw[Drawn],
    *,
    classes: Int[Tensor, " n"] | None = None,
    score: str = "logit",
) -> tuple[Float[Tensor, "n c"], Int[Tensor, " n"], dict[str, Drawn]]:
    """What `trace` gives, with everything still in the graph of the images, which takes several times the memory.

    Arguments and errors are those of `trace`; `draw` is called with gradients enabled.
    """
    live = live_pass(classifier, images, layers)
    explained = live.logits.detach().argmax(1) if classes is None else as_classes(classes, live.logits, "the target")
    gradients = live.gradients(explained, score=score)
    with torch.inference_mode(mode=False), torch.enable_grad():
        drawn = {layer.name: draw(layer, live.activations[layer.name], gradients[layer.name]) for layer in layers}
    return live.logits, explained, drawn
