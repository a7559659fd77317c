"""Watches one forward pass: every module's output and every torch function, in order, on a tape."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

RESCALING = frozenset(  # functions after which a map is still the same layer's
    (
        *("batch_norm", "instance_norm", "group_norm", "layer_norm", "dropout", "dropout2d", "feature_dropout"),
        *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "rrelu", "rrelu_", "threshold", "threshold_"),
        *("elu", "elu_", "selu", "selu_", "celu", "celu_", "gelu", "silu", "mish", "softplus", "softsign"),
        *("hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "sigmoid", "sigmoid_", "tanh", "tanh_"),
        *("clamp", "clamp_", "clamp_min", "clamp_min_", "clip", "clip_"),
    )
)

TURNING = frozenset(  # functions that move, mirror or drop whole axes
    (
        *("permute", "transpose", "transpose_", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint"),
        *("flip", "fliplr", "flipud", "rot90", "unbind", "select"),
    )
)
PRIMES = (2, 3, 5, 7, 11, 13, 17)  # sizes of axes that cannot be taken for each other

KeywordArguments = dict[str, Any]  # of any module of any network, or of any function of torch
Key = tuple[int, int]  # id of a tensor and its version: in-place steps make a new version of the same tensor


def key_of(tensor: Tensor) -> Key:
    """Identity of a tensor's present content, as long as the tensor is alive."""
    return id(tensor), tensor._version  # noqa: SLF001


@dataclass(frozen=True)
class Step:
    """One torch function of the pass: what it read, what it made, and whether it wrote into what it read.

    `turn` tells, for a function of `TURNING`, where each axis of the result comes from (see `turn_of`).
    """

    name: str
    reads: tuple[Key, ...]
    makes: Key
    size: tuple[int, ...]
    turn: tuple[int, ...] = ()


@dataclass(frozen=True)
class Output:
    """One module call of the pass and the tensor it gave; `idle` if it only handed back what it was given."""

    module: str
    call: int
    makes: Key
    at: int
    idle: bool = False

    @property
    def name(self) -> str:
        """The module's name, with ``#2`` for its second call in one pass."""
        return self.module if self.call == 1 else f"{self.module}#{self.call}"


Gift = tuple[int, ...] | str  # what a module gave: the shape of a tensor, or the type of anything else


def gift_of(value: object) -> Gift:
    """What a module gave, as far as a path through the network is concerned."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


@dataclass
class Tape:
    """Everything one forward pass did, in order. Holds the tensors, so that their identities stay unique.

    `outputs` are those that may be maps, (n, channels, height, width); `path` is what every module gave, call by call;
    `given` the network's own arguments, `image` the first tensor among them, and `answers` the tensors it gave.
    """

    steps: list[Step] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    read_by: dict[Key, list[int]] = field(default_factory=dict)
    made_by: dict[Key, list[int]] = field(default_factory=dict)
    path: dict[str, tuple[Gift, ...]] = field(default_factory=dict)
    given: tuple[tuple[Any, ...], KeywordArguments] = ((), {})
    answers: tuple[Key, ...] = ()

    def add(self, step: Step) -> None:
        """Append a step and remember it with everything it read. One that hands back what it read is no step."""
        if step.makes in step.reads:
            return
        for key in step.reads:
            self.read_by.setdefault(key, []).append(len(self.steps))
        self.made_by.setdefault(step.makes, []).append(len(self.steps))
        self.steps.append(step)

    @property
    def image(self) -> Tensor | None:
        """The images that the network was given, normalised."""
        return next(iter(tensors_in(*self.given)), None)

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


class Recorder(TorchFunctionMode):
    """Writes every torch function that makes tensors onto a tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = tensors_in(args, kwargs)
        reads = tuple(key_of(tensor) for tensor in read)
        made, name = function(*args, **(kwargs or {})), getattr(function, "__name__", "")
        if name == "__get__":
            return made
        written = [tensor for tensor, key in zip(read, reads, strict=True) if key_of(tensor) != key]
        turn = turn_of(function, args, kwargs) if name in TURNING else ()
        for tensor in tensors_in([made], None) or written:  # ``maps[:, :4] = part`` makes nothing and writes
            self.tape.tensors.update((id(seen), seen) for seen in (*read, tensor))
            self.tape.add(Step(name, reads, key_of(tensor), tuple(tensor.shape), turn))
        return made


def turn_of(function: Callable[..., Any], args: Sequence[Any], kwargs: KeywordArguments | None) -> tuple[int, ...]:
    """From which axis of its first tensor each axis of a function's result comes; ``~axis`` if it is mirrored.

    Found by calling the function on a tensor whose axes all differ in size and whose values tell their place. Empty
    if that cannot be done.

    >>> turn_of(torch.permute, (torch.ones(4, 4, 4, 4), (0, 2, 3, 1)), None)
    (0, 2, 3, 1)
    >>> turn_of(torch.flip, (torch.ones(4, 4), (1,)), None)
    (0, -2)
    """
    first = next(iter(tensors_in(args, kwargs)))
    sizes = PRIMES[: first.ndim]
    places = torch.arange(math.prod(sizes)).reshape(sizes) if first.ndim <= len(PRIMES) else first
    swapped = [places if value is first else value for value in args]
    try:
        made = function(
            *swapped, **{name: places if value is first else value for name, value in (kwargs or {}).items()}
        )
        result = made[0] if isinstance(made, tuple) else made
        axes = [sizes.index(size) for size in result.shape]
    except Exception:  # whatever a function says to sizes that are not its own: its turn stays unknown
        return ()
    corner = torch.unravel_index(result.flatten()[0], sizes)
    return tuple(~axis if corner[axis] else axis for axis in axes)


def tensors_in(args: Sequence[Any], kwargs: KeywordArguments | None) -> list[Tensor]:
    """Tensors among a call's arguments, one level into lists (``torch.cat([a, b])``)."""
    flat: list[Any] = []
    for value in (*args, *(kwargs or {}).values()):
        flat.extend(value if isinstance(value, list | tuple) else [value])
    return [value for value in flat if isinstance(value, Tensor)]


@contextmanager
def outputs_hooked(network: nn.Module, names: Iterable[str], seen: Any, begun: Any = None) -> Iterator[None]:
    """Call ``seen(name, call, output)`` after each call of these modules in this thread; what it returns replaces it.

    Calls count from 1 in every pass of the network. ``begun(name, args, kwargs)``, if given, is called before each.
    Other threads may use the modules meanwhile; the hooks are gone afterwards, after an exception too.
    """
    owner, calls = threading.get_ident(), Counter[str]()
    handles: list[RemovableHandle] = []

    def restart(*_: object) -> None:
        if threading.get_ident() == owner:
            calls.clear()

    def hook_for(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            if threading.get_ident() != owner:
                return None
            calls[name] += 1
            return seen(name, calls[name], output)

        return hook

    def hook_before(name: str) -> Any:
        return lambda _module, *given: begun(name, *given) if threading.get_ident() == owner else None

    try:
        handles.append(network.register_forward_pre_hook(restart))
        for name in dict.fromkeys(names):
            module = network.get_submodule(name)
            handles.append(module.register_forward_hook(hook_for(name)))
            if begun:
                handles.append(module.register_forward_pre_hook(hook_before(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def record(network: nn.Module, run: Callable[[], object], tape: Tape | None = None) -> Tape:
    """Tape of one forward pass, started by ``run()``; an empty one, if given, is kept up to where the pass fails.

    A childless module that hands back what it was given (`torch.nn.Identity`, dropout in eval mode) is idle, and left
    out if another module gave that.
    """
    tape = Tape() if tape is None else tape
    modules = {name: module for name, module in network.named_modules() if name}
    leaves = {name for name, module in modules.items() if next(module.children(), None) is None}
    given: set[Key] = set()
    took: dict[str, set[Key]] = {}

    def begun(name: str, args: tuple[Any, ...], kwargs: KeywordArguments) -> None:
        if not name:
            tape.given = args, kwargs
        took[name] = {key_of(tensor) for tensor in tensors_in(args, kwargs)} if name in leaves else set()

    def seen(name: str, call: int, output: Any) -> None:
        if not name:
            return
        tape.path[name] = (*tape.path.get(name, ()), gift_of(output))
        if not (isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point()):
            return
        key = key_of(output)
        idle = key in took[name]
        if not (idle and key in given):
            given.add(key)
            tape.tensors[id(output)] = output
            tape.outputs.append(Output(name, call, key, len(tape.steps), idle))

    with (
        torch.inference_mode(mode=False),
        torch.no_grad(),
        outputs_hooked(network, ("", *modules), seen, begun),
        Recorder(tape),
    ):
        answer = run()
        tape.answers = tuple(key_of(tensor) for tensor in tensors_in([answer], None))
    return tape
