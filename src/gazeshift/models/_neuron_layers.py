"""Which layers of a network hold neurons, as the coverage papers count them.

A neuron is one output channel of one layer; its activation is the mean over the layer's other axes. Keras counts every
layer but flattenings and inputs, and its layers hold their activation. For a PyTorch network the rule is:

* every `nn.Conv2d`, *after* the batch norm and activation that belong to it (the tensors of `Classifier.layers()`, and
  convolutions of 1 x 1 maps too), and every `nn.Linear`, after its activation; the last axis of a linear layer's
  output holds its neurons;
* every pooling module (a class with ``pool`` in its name that holds no other module). An adaptive pooling that leaves
  the size as it is does nothing and is not counted, as in torchvision's VGG at 224 pixels;
* the softmax of the logits, in place of the layer that gives the logits.

Each call of a module counts. Left out are normalisations and activations as such, additions, concatenations, pooling
and linear maps written as plain functions, and outputs whose first axis is not the batch (windows of attention).
VGG-16 at 224 pixels has 4224 neurons in convolutions and 14888 in all, as under Keras.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.models._edge import as_logits
from gazeshift.models._layers import Key, Output, Recorder, Tape, key_of, outputs_hooked
from gazeshift.records import Layer


def neuron_layers(network: nn.Module | None, run: Callable[[], Tensor]) -> tuple[Layer, ...]:
    """The layers in the order of one pass, started by ``run()``, the softmax last; see the rule above.

    ``kinds`` is ``conv``, ``pool``, ``linear`` or ``softmax``; the first number of ``shape`` counts the neurons; the
    softmax's alias is the module that gives the logits.

    Raises:
        ModelError: the answer is not one row of logits.
    """
    tape, logits = _recorded(network, run)
    shape = (as_logits(logits, 1, "the model").shape[1], 1, 1)
    answer, layers, heads = key_of(logits), [], []
    taken: set[Key] = set()
    for output in tape.outputs:
        kind = _kind(network.get_submodule(output.module)) if network is not None else ""
        end = output.makes if kind == "pool" else tape.rest(output.makes)[0]
        if answer in (output.makes, end):
            heads += [output.module] if kind in ("conv", "linear") else []
        elif kind and end not in taken and _counts(tape, output, network):
            taken.add(end)
            layers.append(_layer(tape, output, kind, end))
    softmax = Layer(name="softmax", kinds=frozenset({"softmax"}), shape=shape, aliases=tuple(heads[:1]), module="")
    return (*layers, softmax)


def _recorded(network: nn.Module | None, run: Callable[[], Tensor]) -> tuple[Tape, Tensor]:
    """Tape of one pass with the outputs of all modules, whatever their shape, and the logits."""
    tape = Tape()

    def seen(name: str, call: int, output: Any) -> None:
        if isinstance(output, Tensor):
            tape.tensors[id(output)] = output
            tape.outputs.append(Output(name, call, key_of(output), len(tape.steps)))

    names = [name for name, _ in network.named_modules() if name] if network is not None else []
    hooked = outputs_hooked(network, names, seen) if network is not None else nullcontext()
    with torch.inference_mode(mode=False), torch.no_grad(), hooked, Recorder(tape):
        return tape, run()


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        return "conv"
    if isinstance(module, nn.Linear):
        return "linear"
    return "pool" if "pool" in type(module).__name__.lower() and not list(module.children()) else ""


def _counts(tape: Tape, output: Output, network: nn.Module | None) -> bool:
    """Whether the first axis is the batch, and the layer does anything."""
    shape = tape.tensors[output.makes[0]].shape
    adaptive = network is not None and isinstance(
        network.get_submodule(output.module), nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d
    )
    made_from = [step.reads[0][0] for step in tape.steps if step.makes == output.makes and step.reads]
    idle = adaptive and all(tape.tensors[read].shape == shape for read in made_from)
    return len(shape) >= 2 and shape[0] == 1 and not idle


def _layer(tape: Tape, output: Output, kind: str, end: Key) -> Layer:
    """The layer that a module begins, anchored at the module output next to its end."""
    last = -1 if kind == "pool" else tape.rest(output.makes)[2]
    group = [output] if kind == "pool" else [other for other in tape.outputs if tape.rest(other.makes)[0] == end]
    reached = [other for other in group if other.makes == end and other.at > last]
    anchor = reached[0] if reached else group[-1]
    size = tuple(tape.tensors[end[0]].shape[1:])
    channels, height, width = (*((size[-1], *size[:-1]) if kind == "linear" else size), 1, 1)[:3]
    return Layer(
        name=output.name,
        kinds=frozenset({kind}),
        shape=(channels, height, width),
        module=anchor.module,
        call=anchor.call,
        then=0 if kind == "pool" else tape.rest(anchor.makes)[1],
    )
