"""Finds the layers of any network by watching one forward pass, and picks those that a selector means.

A layer is a tensor, not a module: the result of a convolution *after* its batch norm and activation, whether those
are modules, in-place, shared between calls, or plain functions such as ``F.relu``. From a module's output we follow
the steps that only rescale it (`RESCALING`) to the tensor that the rest of the network reads. All modules on that way
are names of one layer.
"""

import fnmatch
from collections.abc import Callable, Sequence
from operator import itemgetter

from torch import nn

from gazeshift.errors import ModelError, UnknownNameError, did_you_mean
from gazeshift.models._blocks import Shown, blocks_of, with_kinds, with_paper_names
from gazeshift.models._layers import Key, Output, Tape, key_of, record
from gazeshift.records import Layer

SELECTORS = ("convs", "blocks", "trunk")
SPATIAL = ("conv", "pool", "interpolate")  # functions of maps: what they give is (n, channels, height, width)


def discover(network: nn.Module, run: Callable[[], object], what: str) -> tuple[Layer, ...]:
    """Every layer of a network, in the order in which its pass completes them.

    Args:
        network: whose modules are watched.
        run: sends one image through it.
        what: its name, for the messages.

    Raises:
        ModelError: the pass fails, or no convolution in it gives a map.
    """
    try:
        tape = record(network, run)
    except Exception as cause:  # a network of the user's own may raise anything
        reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        raise ModelError(f"{what} cannot be run on one grey image: {reason}") from cause
    _keep_maps(tape)
    shown = _shown(tape, network)
    if not shown.convs:
        raise ModelError(f"{what} has no convolution that gives a map, so there is no gaze to see. Is it a CNN?")
    found = sorted((_layer(tape, group, shown) for group in _groups(tape)), key=itemgetter(0))
    blocks = blocks_of(network, shown)
    return tuple(with_paper_names(with_kinds([layer for _, layer in found], blocks), blocks, network))


def _keep_maps(tape: Tape) -> None:
    """Forget outputs whose last two axes are not height and width: attention matrices, windows, channels-last tensors.

    A map has the batch size of the images and a height and width that a convolution, pooling or resizing gave.
    """
    sizes = {step.size[2:] for step in tape.steps if any(kind in step.name for kind in SPATIAL)}
    shapes = {output.makes: tape.tensors[output.makes[0]].shape for output in tape.outputs}
    tape.outputs[:] = [
        output for output in tape.outputs if shapes[output.makes][0] == 1 and shapes[output.makes][2:] in sizes
    ]


def _shown(tape: Tape, network: nn.Module) -> Shown:
    """What each module gave, and which are convolutions: those of torch, and the innermost one around ``conv2d``."""
    steps = [step.makes for step in tape.steps if step.name == "conv2d"]
    waiting = {key: at for at, made in enumerate(steps) for key in (made, tape.rest(made)[0])}
    convs, claimed = set(), set()
    gives: dict[str, set[Key]] = {}
    for output in tape.outputs:
        gives.setdefault(output.module, set()).add(output.makes)
        at = waiting.get(output.makes)
        if isinstance(network.get_submodule(output.module), nn.Conv2d) or (at is not None and at not in claimed):
            convs.add(output.module)
            claimed.add(at)
    return Shown(gives=gives, convs=frozenset(convs), ends=frozenset(tape.rest(made)[0] for made in steps))


def _groups(tape: Tape) -> list[list[Output]]:
    groups: dict[Key, list[Output]] = {}
    for output in tape.outputs:
        groups.setdefault(tape.rest(output.makes)[0], []).append(output)
    return list(groups.values())


def _layer(tape: Tape, group: list[Output], shown: Shown) -> tuple[tuple[int, int], Layer]:
    """One layer from all module outputs that lead to its tensor, after the moment in the pass when it is complete."""
    final, _, last = tape.rest(group[0].makes)
    reached = [output for output in group if output.makes == final and output.at > last]
    anchor = reached[0] if reached else group[-1]
    working = [output for output in group if not output.idle] or group
    named = _named(working, [output for output in reached if output in working], shown)
    tensor = tape.tensors[final[0]]
    is_conv = final in shown.ends or any(output.module in shown.convs for output in group)
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


def _named(working: list[Output], reached: list[Output], shown: Shown) -> Output:
    """Whose name a layer has: the last that is no more than this layer, or the first that ends or begins it."""
    whole = [output for output in reached if shown.inside(output.module) < 2]
    return whole[-1] if whole else (reached or working)[0]


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
    given = [wanted] if isinstance(wanted, str) else wanted
    asked = [part.strip() for text in given for part in text.split(",") if part.strip()]
    chosen = {layer.name for ask in asked or [""] for layer in _found(layers, ask, what)}
    return tuple(layer for layer in layers if layer.name in chosen)


def _found(layers: Sequence[Layer], ask: str, what: str) -> list[Layer]:
    found = [layer for layer in layers if _matches(layer, ask)]
    if not found:
        known = [name for layer in layers for name in layer.names]
        choices = [selector for selector in SELECTORS if any(_matches(layer, selector) for layer in layers)]
        raise UnknownNameError(f"{what} has no layer '{ask}'. {did_you_mean(ask, dict.fromkeys([*choices, *known]))}")
    return found


def _matches(layer: Layer, ask: str) -> bool:
    if ask in SELECTORS:
        return ask.removesuffix("s") in layer.kinds
    names = [name for own in layer.names for name in (own, own.removesuffix("#1"))]
    exact = ask.removesuffix("#1")
    return exact in names or any(fnmatch.fnmatchcase(name, ask) for name in names)
