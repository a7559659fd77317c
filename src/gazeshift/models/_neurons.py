"""Neurons as the coverage papers count them, all read in one forward pass.

A neuron is one output channel of one layer, and its activation is the mean over the other axes of that layer. Which
layers hold neurons is said in `_neuron_layers`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gazeshift.errors import LayerError, ModelError, check_known
from gazeshift.models._classifier import Classifier
from gazeshift.models._edge import as_logits
from gazeshift.models._layer_hooks import tapped
from gazeshift.models._neuron_layers import neuron_layers
from gazeshift.precision import exact, wide
from gazeshift.records import Layer
from gazeshift.summaries import Summary, plural, span

SCOPES = ("all", "conv_only")
Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NeuronActivations(Summary):
    """What one pass showed of all neurons, for a batch.

    Args:
        logits: (n, c), float32 at least.
        means: each neuron's raw mean activation, in the graph of the images if there is one.
        values: the same after each image's layer was scaled to [0, 1] by its own lowest and highest activation; 0
            throughout a layer that is constant. Without a graph.
    """

    logits: Float[Tensor, "n c"]
    means: Float[Tensor, "n neurons"]
    values: Float[Tensor, "n neurons"]

    def _says(self) -> Iterator[str]:
        yield f"{plural(self.means.shape[1], 'neuron')} for {plural(len(self.means), 'image')}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Neurons(Summary):
    """The neurons of a model, in the order of its forward pass.

    Args:
        model: takes images, gives logits.
        network: whose modules are watched; None if the model is a plain function, which shows its softmax alone.
        layers: where the neurons are; ``kinds`` is ``conv``, ``pool``, ``linear`` or ``softmax``, and the first number
            of ``shape`` counts the neurons. The softmax's alias is the module that gives the logits.
    """

    model: Model
    network: nn.Module | None
    layers: tuple[Layer, ...]

    def __len__(self) -> int:
        """How many there are."""
        return sum(layer.shape[0] for layer in self.layers)

    def _says(self) -> Iterator[str]:
        yield f"{plural(len(self), 'neuron')} in {span([layer.name for layer in self.layers])}"

    @cached_property
    def layer_of(self) -> Int[Tensor, " neurons"]:
        """Each neuron's place in `layers`."""
        sizes = torch.tensor([layer.shape[0] for layer in self.layers], dtype=torch.long)
        return torch.arange(len(self.layers)).repeat_interleave(sizes)

    def of_kinds(self, kinds: Iterable[str]) -> Bool[Tensor, " neurons"]:
        """Which neurons are in layers of these kinds."""
        wanted = set(kinds)
        marked = torch.tensor([bool(layer.kinds & wanted) for layer in self.layers], dtype=torch.bool)
        return marked[self.layer_of]

    @cached_property
    def incoming(self) -> Float[Tensor, " neurons"]:
        """Each neuron's mean incoming weight, over kernel and input channels, without bias; NaN in layers without."""
        found = [torch.full((layer.shape[0],), torch.nan, dtype=torch.float64) for layer in self.layers]
        for at, layer in enumerate(self.layers):
            weights = self._weights(layer)
            if weights is not None and len(weights) == layer.shape[0]:
                found[at] = weights.detach().flatten(1).cpu().double().mean(1)
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)

    def _weights(self, layer: Layer) -> Tensor | None:
        name = (layer.aliases[0] if layer.aliases else "") if "softmax" in layer.kinds else layer.name
        if self.network is None or not name:
            return None
        weights = getattr(self.network.get_submodule(name.split("#")[0]), "weight", None)
        return weights if isinstance(weights, Tensor) else None

    def read(self, images: Float[Tensor, "n channels h w"]) -> NeuronActivations:
        """All neurons of a batch in one forward pass; only means, lowest and highest outlive their layer.

        Raises:
            LayerError: the pass took another way than the one on which the neurons were found.
            ModelError: the model's answer is not (n, classes).
        """
        watch, inside = _NeuronHooks(), [layer for layer in self.layers if layer.module]
        with nullcontext() if self.network is None else tapped(self.network, inside, watch.tap):
            logits = wide(as_logits(self.model(images), len(images), "the model"))
        if self.layers and "softmax" in self.layers[-1].kinds:
            watch.tap(self.layers[-1], logits.softmax(1))
        missed = [layer.name for layer in self.layers if layer.name not in watch.means]
        if missed:
            raise LayerError(f"the forward pass did not reach layer {missed[0]}, where neurons were found before.")
        order = [layer.name for layer in self.layers]
        means = torch.cat([watch.means[name] for name in order], 1)
        low, high = (torch.stack([ends[name] for name in order], 1) for ends in (watch.lowest, watch.highest))
        return NeuronActivations(logits=logits, means=means, values=self._scaled(means.detach(), low, high))

    def _scaled(
        self, means: Float[Tensor, "n neurons"], low: Float[Tensor, "n layers"], high: Float[Tensor, "n layers"]
    ) -> Float[Tensor, "n neurons"]:
        """The mean of (activation - low) / (high - low) is that of the mean."""
        layer_of = self.layer_of.to(means.device)
        span = (high - low)[:, layer_of]
        return torch.where(span == 0, 0, (means - low[:, layer_of]) / span)


def find_neurons(model: Model, example: Float[Tensor, "1 3 h w"], *, scope: str = "all") -> Neurons:
    """The neurons of a model, found by running one image through it; the pass is not counted.

    Args:
        model: a `Classifier`, any module, or a function.
        example: one image of the size, type and device of those to come.
        scope: ``all``, or ``conv_only`` for convolutions alone.

    Raises:
        UnknownNameError: no such scope.
        ModelError: it has no neuron in that scope, or its answer is not (n, classes).
    """
    check_known(scope, SCOPES, f"no scope of neurons named '{scope}'")
    network = model.module if isinstance(model, Classifier) else model if isinstance(model, nn.Module) else None
    with model.uncounted() if isinstance(model, Classifier) else nullcontext():
        layers = neuron_layers(network, lambda: model(example))
    if scope == "conv_only":
        layers = tuple(layer for layer in layers if "conv" in layer.kinds)
    if not layers:
        raise ModelError("this model shows no convolution, so scope conv_only has no neurons. Take scope 'all'.")
    return Neurons(model=model, network=network, layers=layers)


def coverage_curve(
    covered: Bool[Tensor, "n neurons"], before: Bool[Tensor, " neurons"] | None = None
) -> Float[Tensor, " n"]:
    """Share of the neurons that are covered after the first, second... row, float64, 0 to 1.

    Args:
        covered: what each row covers by itself.
        before: covered from the start.

    >>> coverage_curve(torch.tensor([[True, False, False, False], [True, True, False, False]])).tolist()
    [0.25, 0.5]
    """
    rows, neurons = covered.shape
    started = torch.zeros(neurons, dtype=torch.bool) if before is None else before
    if rows == 0:
        return exact(torch.zeros(0, device=covered.device))
    first = covered.to(torch.uint8).argmax(0)
    counts = covered.any(0) & ~started.to(covered.device)
    new = torch.bincount(first[counts], minlength=rows).cumsum(0)
    return exact(new + started.sum().to(new.device)) / neurons


class _NeuronHooks:
    """Reduces each layer to three numbers per image and neuron when it passes by."""

    def __init__(self) -> None:
        self.means: dict[str, Tensor] = {}
        self.lowest: dict[str, Tensor] = {}
        self.highest: dict[str, Tensor] = {}

    def tap(self, layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:  # noqa: ARG002
        """Reduce a layer; the network goes on with the tensor itself."""
        axes = tuple(range(1, tensor.ndim - 1)) if "linear" in layer.kinds else tuple(range(2, tensor.ndim))
        wide, size = torch.promote_types(tensor.dtype, torch.float32), math.prod(tensor.shape[axis] for axis in axes)
        # A sum, because the gradient of a mean is divided pixel by pixel; and not aminmax, which is 20 times slower.
        self.means[layer.name] = tensor.sum(axes, dtype=wide) / size if axes else tensor.to(wide)
        seen, everything = tensor.detach(), tuple(range(1, tensor.ndim))
        self.lowest[layer.name], self.highest[layer.name] = (
            seen.amin(everything).to(wide),
            seen.amax(everything).to(wide),
        )
        return tensor
