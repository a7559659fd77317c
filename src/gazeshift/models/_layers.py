"""Finds the layers of any network by watching one forward pass.

A layer is a tensor, not a module: the result of a convolution *after* its batch norm and activation, whether those
are modules, in-place, shared between calls, or plain functions such as ``F.relu``. The pass records every module's
output and every torch function in order; from a module's output we follow the steps that only rescale it
(`RESCALING`) to the tensor that the rest of the network reads. All modules on that way are names of one layer.
"""

import fnmatch
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gazeshift.errors import ModelError, UnknownNameError, did_you_mean
from gazeshift.models._blocks import blocks_of, convolutions, with_kinds, with_paper_names
from gazeshift.records import Layer

RESCALING = frozenset(
    "batch_norm instance_norm group_norm layer_norm relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ "
    "selu selu_ celu celu_ gelu silu mish hardswish hardsigmoid sigmoid sigmoid_ tanh tanh_ prelu rrelu rrelu_ softplus "
    "softsign threshold threshold_ clamp clamp_ clamp_min clamp_min_ clip clip_ dropout dropout2d feature_dropout".split()
)
SELECTORS = ("convs", "blocks", "trunk")

Key = tuple[int, int]  # id of a tensor and its version: in-place steps make a new version of the same tensor


def key_of(tensor: Tensor) -> Key:
    """Identity of a tensor's present content, as long as the tensor is alive."""
    return id(tensor), tensor._version  # noqa: SLF001


def is_map(value: object) -> bool:
    """Whether a value is a batch of feature maps with more than one pixel."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


@dataclass(frozen=True)
class Step:
    """One torch function of the pass: what it read, what it made, and whether it wrote into what it read."""

    name: str
    reads: tuple[Key, ...]
    makes: Key
    size: tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """One module call of the pass and the tensor it gave."""

    module: str
    call: int
    makes: Key
    at: int

    @property
    def name(self) -> str:
        """The module's name, with ``#2`` for its second call in one pass."""
        return self.module if self.call == 1 else f"{self.module}#{self.call}"


@dataclass
class Tape:
    """Everything one forward pass did, in order. Holds the tensors, so that their identities stay unique."""

    steps: list[Step] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    read_by: dict[Key, list[int]] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Append a step and remember it with everything it read. One that hands back what it read is no step."""
        if step.makes in step.reads:
            return
        for key in step.reads:
            self.read_by.setdefault(key, []).append(len(self.steps))
        self.steps.append(step)

    def readers(self, key: Key) -> list[tuple[int, Step]]:
        """Steps that read a tensor's content, in order, with their positions."""
        return [(at, self.steps[at]) for at in self.read_by.get(key, ())]

    def rest(self, key: Key) -> tuple[Key, int, int]:
        """The tensor at the end of the rescaling steps, how many there were, and the position of the last."""
        followed, last = 0, -1
        while True:
            readers = self.readers(key)
            in_place = bool(readers) and readers[0][1].makes[0] == key[0]
            if not readers or readers[0][1].name not in RESCALING or not (in_place or len(readers) == 1):
                return key, followed, last
            last, step = readers[0]
            key, followed = step.makes, followed + 1


class _Recorder(TorchFunctionMode):
    """Writes every torch function that makes a tensor onto a tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401, ARG002
        read = tensors_in(args, kwargs)
        reads = tuple(key_of(tensor) for tensor in read)
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and function.__name__ != "__get__":
            self.tape.tensors.update((id(tensor), tensor) for tensor in (*read, made))
            self.tape.add(Step(function.__name__, reads, key_of(made), tuple(made.shape)))
        return made


def tensors_in(args: Sequence[Any], kwargs: dict[str, Any] | None) -> list[Tensor]:
    """Tensors among a call's arguments, one level into lists (``torch.cat([a, b])``)."""
    flat: list[Any] = []
    for value in (*args, *(kwargs or {}).values()):
        flat.extend(value if isinstance(value, list | tuple) else [value])
    return [value for value in flat if isinstance(value, Tensor)]


@contextmanager
def outputs_hooked(modules: dict[str, nn.Module], seen: Any) -> Iterator[None]:  # noqa: ANN401
    """Call ``seen(name, call, output)`` after each call of the modules in this thread; what it returns replaces it.

    Other threads may use the modules meanwhile; the hooks are gone afterwards, after an exception too.
    """
    owner, calls, handles = threading.get_ident(), dict.fromkeys(modules, 0), []

    def hook_for(name: str) -> Any:  # noqa: ANN401
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:  # noqa: ANN401
            if threading.get_ident() != owner:
                return None
            calls[name] += 1
            return seen(name, calls[name], output)

        return hook

    try:
        handles.extend(module.register_forward_hook(hook_for(name)) for name, module in modules.items())
        yield
    finally:
        for handle in handles:
            handle.remove()


def record(network: nn.Module, run: Callable[[], object]) -> Tape:
    """Tape of one forward pass, started by ``run()``."""
    tape, modules = Tape(), {name: module for name, module in network.named_modules() if name}

    def seen(name: str, call: int, output: Any) -> None:  # noqa: ANN401
        if is_map(output):
            tape.tensors[id(output)] = output
            tape.outputs.append(Output(name, call, key_of(output), len(tape.steps)))

    with torch.inference_mode(mode=False), torch.no_grad(), outputs_hooked(modules, seen), _Recorder(tape):
        run()
    return tape


def discover(network: nn.Module, run: Callable[[], object], what: str) -> tuple[Layer, ...]:
    """Every layer of a network, in the order in which its pass completes them.

    Raises:
        ModelError: the pass fails, or nothing in it has the shape of a feature map.
    """
    try:
        tape = record(network, run)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as cause:
        raise ModelError(f"{what} cannot be run on one grey image: {cause}") from cause
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()) or not tape.outputs:
        raise ModelError(f"{what} has no convolution that gives a map, so there is no gaze to see. Is it a CNN?")
    found = sorted((_layer(tape, group, network) for group in _groups(tape)), key=itemgetter(0))
    blocks = [name for name in blocks_of(network) if any(output.module == name for output in tape.outputs)]
    layers = with_kinds([layer for _, layer in found], blocks)
    return tuple(with_paper_names(layers, blocks, _main_convs(network, blocks)))


def _main_convs(network: nn.Module, blocks: list[str]) -> int:
    """Convolutions that every block has as children of its own named conv1, conv2, ..."""
    counts = {sum(f"conv{n}" in dict(network.get_submodule(name).named_children()) for n in range(1, 9)) for name in blocks}
    return counts.pop() if len(counts) == 1 else 0


def _groups(tape: Tape) -> list[list[Output]]:
    groups: dict[Key, list[Output]] = {}
    for output in tape.outputs:
        groups.setdefault(tape.rest(output.makes)[0], []).append(output)
    return list(groups.values())


def _layer(tape: Tape, group: list[Output], network: nn.Module) -> tuple[tuple[int, int], Layer]:
    """One layer from all module outputs that lead to its tensor, after the moment in the pass when it is complete."""
    final, _, last = tape.rest(group[0].makes)
    reached = [output for output in group if output.makes == final and output.at > last]
    whole = [output for output in reached if convolutions(network.get_submodule(output.module)) < 2]
    anchor = reached[0] if reached else group[-1]
    named = whole[-1] if whole else reached[0] if reached else group[0]
    tensor = tape.tensors[final[0]]
    is_conv = any(isinstance(network.get_submodule(output.module), nn.Conv2d) for output in group)
    moment = max(last + 1, anchor.at), tape.outputs.index(anchor)
    return moment, Layer(
        name=named.name,
        kinds=frozenset({"conv"} if is_conv else ()),
        shape=(tensor.shape[1], tensor.shape[2], tensor.shape[3]),
        aliases=tuple(dict.fromkeys(output.name for output in group if output is not named)),
        followed_by=_followed_by(tape, final, tensor.shape[2]),
        module=anchor.module,
        call=anchor.call,
        then=tape.rest(anchor.makes)[1],
        overwritten=key_of(tensor) != final,
    )


def _followed_by(tape: Tape, key: Key, height: int) -> str:
    """Whether the next step pools or strides; padding in between does not count."""
    for _, step in tape.readers(key):
        if step.name == "pad":
            return _followed_by(tape, step.makes, height)
        if len(step.size) == 4 and 1 < step.size[2] <= 0.75 * height:
            return "stride" if "conv" in step.name else "pool"
    return ""


def select(layers: Sequence[Layer], wanted: str | Sequence[str], what: str) -> tuple[Layer, ...]:
    """The layers that a selector means, each once, in the order of the forward pass.

    Args:
        layers: all of a network's.
        wanted: ``convs``, ``blocks``, ``trunk``, a glob, a name or alias; or several of these, also with commas.
        what: name of the network, for the message.

    Raises:
        UnknownNameError: something in `wanted` matches nothing; names the nearest.
    """
    asked = [part.strip() for text in ([wanted] if isinstance(wanted, str) else wanted) for part in text.split(",")]
    chosen: set[str] = set()
    for ask in asked:
        found = {layer.name for layer in layers if _matches(layer, ask)}
        if not found:
            known = [name for layer in layers for name in layer.names]
            raise UnknownNameError(f"{what} has no layer '{ask}'. {did_you_mean(ask, [*SELECTORS, *known])}")
        chosen |= found
    return tuple(layer for layer in layers if layer.name in chosen)


def _matches(layer: Layer, ask: str) -> bool:
    if ask in SELECTORS:
        return ask.removesuffix("s") in layer.kinds
    names = [name for own in layer.names for name in (own, own.removesuffix("#1"))]
    exact = ask.removesuffix("#1")
    return exact in names or any(fnmatch.fnmatchcase(name, ask) for name in names)
