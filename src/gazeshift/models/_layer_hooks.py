"""Hands over the tensors of chosen layers while a forward pass goes by."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gazeshift.models._layers import RESCALING, Key, KeywordArguments, key_of, outputs_hooked, tensors_in
from gazeshift.records import Layer


class Tap(Protocol):
    """What is done with a layer's tensor."""

    def __call__(self, layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:
        """The tensor that the network goes on with.

        Args:
            layer: whose it is.
            tensor: where the layer ends, after its norm and activation.
            in_place: the network may go on with this very tensor even if another one is returned (``x.relu_()``, or
                a module that hands back what it was given).
        """


@contextmanager
def tapped(network: nn.Module, layers: Iterable[Layer], tap: Tap) -> Iterator[None]:
    """Call a tap where each layer ends, in every forward pass of this thread.

    Args:
        network: whose layers they are; afterwards, after an exception too, no hook is left on it.
        layers: some may begin at the same call of a module and end in different places.
        tap: called once a pass and layer, in the order of the pass.
    """
    wanted: dict[tuple[str, int], list[Layer]] = {}
    for layer in layers:
        wanted.setdefault((layer.module, layer.call), []).append(layer)
    follow, took = _Follow(tap), dict[str, list[Tensor]]()

    def begun(module: str, args: tuple[Any, ...], kwargs: KeywordArguments) -> None:
        took[module] = tensors_in(args, kwargs)

    def seen(module: str, call: int, output: Any) -> Any:
        in_place = any(output is given for given in took.pop(module, ()))
        for layer in wanted.get((module, call), ()):
            if layer.then:
                follow.start(layer, output)
            else:
                output = tap(layer, output, in_place=in_place)
        return output

    with ExitStack() as stack:
        stack.enter_context(outputs_hooked(network, (name for name, _ in wanted), seen, begun))
        if any(layer.then for some in wanted.values() for layer in some):
            stack.enter_context(follow)
        stack.callback(follow.pending.clear)  # a pass that was broken off leaves tensors
        yield


class _Follow(TorchFunctionMode):
    """Follows tensors through plain functions such as ``F.relu`` to where their layer ends."""

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self.tap = tap
        self.pending: dict[Key, tuple[Layer, int, Tensor]] = {}

    def start(self, layer: Layer, tensor: Tensor) -> None:
        self.pending[key_of(tensor)] = layer, layer.then, tensor

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.pending or function.__name__ not in RESCALING:
            return function(*args, **(kwargs or {}))
        key = next((key for key in map(key_of, tensors_in(args, kwargs)) if key in self.pending), None)
        made = function(*args, **(kwargs or {}))
        if key is None or key_of(made) == key:  # dropout hands back what it was given: no step
            return made
        layer, left, tensor = self.pending.pop(key)
        if left == 1:
            return self.tap(layer, made, in_place=made is tensor)
        self.pending[key_of(made)] = layer, left - 1, made
        return made
