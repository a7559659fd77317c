"""Finds the layers of any network by watching one forward pass, and picks those that a selector means.

A layer is a tensor, not a module: the result of a convolution *after* its batch norm and activation, whether those
are modules, in-place, shared between calls, or plain functions such as ``F.relu``. From a module's output we follow
the steps that only rescale it (`RESCALING`) to the tensor that the rest of the network reads. All modules on that way
are names of one layer.
"""

import copy
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Self

from torch import nn
from torch.nn import functional

from gazeshift.errors import (
    GazeshiftError,
    LayerError,
    ModelError,
    NoMapsError,
    UnknownNameError,
    did_you_mean,
)
from gazeshift.models._absent import absent, called, can_run
from gazeshift.models._axes import UPRIGHT, Axes, axes_of, grids_of
from gazeshift.models._blocks import BlockOutput, blocks_of, with_kinds, with_paper_names
from gazeshift.models._layers import Gift, Key, Output, Tape, key_of, record
from gazeshift.models._unseen import unseen, weighted
from gazeshift.records import Layer

SELECTORS = ("convs", "blocks", "trunk")
MAX_UNSEEN = 0.5  # share of a network's layers of weights that may lie behind its last map
ATTACK_IT = "It can be attacked all the same (gs.attack, gazeshift attack)."


class Layers(tuple[Layer, ...]):
    """A network's layers at one size of images, in the order in which its pass completes them.

    Attributes:
        absent: names of modules that have no map, and those of maps of a single pixel, with the reason.
        path: what each module gave in the pass, call by call: the shape of a tensor, else a type's name.
        uncalled: modules that the pass did not call: aux heads of training, or paths that other images take.
        unseen: share of the network's layers of weights that work on tokens behind the last map, 0 to 0.5.
    """

    absent: Mapping[str, str]
    path: Mapping[str, tuple[Gift, ...]]
    uncalled: tuple[str, ...]
    unseen: float

    def __new__(
        cls,
        layers: Sequence[Layer] = (),
        *,
        absent: Mapping[str, str] = MappingProxyType({}),
        path: Mapping[str, tuple[Gift, ...]] = MappingProxyType({}),
        uncalled: Sequence[str] = (),
        unseen: float = 0.0,
    ) -> Self:
        """Layers and what else their pass told."""
        made = super().__new__(cls, layers)
        made.absent, made.path, made.uncalled, made.unseen = dict(absent), dict(path), tuple(uncalled), unseen
        return made


def discover(network: nn.Module, run: Callable[[], object], what: str, images: str = "one grey image") -> Layers:
    """Every layer of a network, in the order in which its pass completes them.

    Args:
        network: whose modules are watched.
        run: sends images through it, of one height and width; gives its answer.
        what: its name, for the messages.
        images: what `run` sends, for the messages.

    Raises:
        NoMapsError: no convolution in it gives a map, or most of the network works on tokens, which are no maps.
        LayerError: some of the images take another path than the others.
        ModelError: the pass fails.
    """
    try:
        tape = record(network, run)
    except GazeshiftError:
        raise
    except Exception as cause:  # a network of the user's own may raise anything
        reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        raise ModelError(f"{what} cannot be run on {images}: {reason}") from cause
    axes = axes_of(tape)
    _refuse_parts(tape, axes, what)
    upright = _upright(tape, axes, network)
    maps = replace(tape, outputs=[output for output in upright if _pixels(tape, output) > 1])
    layers = _layers(maps, network)
    pixels = [layer for layer in _layers(replace(tape, outputs=upright), network) if layer.shape[1:] == (1, 1)]
    if not any("conv" in layer.kinds for layer in layers):
        raise NoMapsError(f"{what} has no convolution that gives a map{_no_maps(tape, pixels, axes)} {ATTACK_IT}")
    return Layers(
        layers,
        absent=absent(tape, network, layers, pixels, axes),
        path=tape.path,
        uncalled=[
            name for name, module in network.named_modules() if name and can_run(module) and not called(tape, name)
        ],
        unseen=_unseen(maps, layers, what),
    )


def _refuse_parts(tape: Tape, axes: Mapping[int, Axes], what: str) -> None:
    """Refuse a batch of which a module gets a part alone: its layers would belong to some of the images only."""
    images = 1 if tape.image is None else len(tape.image)
    for output in tape.outputs:
        part = len(tape.tensors[output.makes[0]])
        if 0 < part < images and axes.get(output.makes[0]) == UPRIGHT:
            raise LayerError(
                f"{what} sends {part} of {images} images through {output.name}: their paths differ, or it takes a "
                "batch in parts. Look at one image at a time."
            )


def _upright(tape: Tape, axes: Mapping[int, Axes], network: nn.Module) -> list[Output]:
    """Outputs whose last two axes are height and width, one map for each image.

    Left out are attention matrices, windows, channels-last, transposed and mirrored tensors. Where the tape does not
    tell how the axes lie, and the shape fits two readings, a pass with another size decides; what that does not reach
    is left out.
    """
    grids, images = grids_of(tape), 1 if tape.image is None else len(tape.image)
    shapes = {output: tuple(tape.tensors[output.makes[0]].shape) for output in tape.outputs}
    fits = [output for output, shape in shapes.items() if shape[0] == images and shape[2:] in grids]
    doubtful = {output for output in fits if output.makes[0] not in axes and shapes[output][1:3] in grids}
    shown = _shown_at_another_size(tape, network) if doubtful else set()
    return [
        output
        for output in fits
        if axes.get(output.makes[0], UPRIGHT) == UPRIGHT
        and (output not in doubtful or (output.name, shapes[output][1]) in shown)
    ]


def _shown_at_another_size(tape: Tape, network: nn.Module) -> set[tuple[str, int]]:
    """Names and channels of the maps of a pass with images that are wider than high, as far as the network takes them.

    A copy of the network is used, which shares its weights: some networks keep what they computed for a size.
    """
    image = tape.image
    if image is None:
        return set()
    side = 32 * (max(image.shape[2:]) // 32 + 1)
    wide = functional.interpolate(image, (side, side + 64))
    args, kwargs = tape.given
    wider = [wide if value is image else value for value in args]
    wider_kwargs = {name: wide if value is image else value for name, value in kwargs.items()}
    second = Tape()
    with suppress(Exception):  # a network of one size alone may raise anything
        kept = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
        twin = copy.deepcopy(network, kept)
        record(twin, lambda: twin(*wider, **wider_kwargs), second)
    grids = {(height, width) for height, width in grids_of(second) if height < width}
    outputs = [(output.name, second.tensors[output.makes[0]].shape) for output in second.outputs]
    return {(name, shape[1]) for name, shape in outputs if shape[0] == len(image) and tuple(shape[2:]) in grids}


def _pixels(tape: Tape, output: Output) -> int:
    return tape.tensors[output.makes[0]][0, 0].numel()


def _layers(tape: Tape, network: nn.Module) -> list[Layer]:
    """Layers of a tape that has outputs of maps alone, with their kinds and the papers' names."""
    shown = _shown(tape, network)
    found = sorted((_layer(tape, group, shown) for group in _groups(tape)), key=itemgetter(0))
    blocks = blocks_of(network, shown)
    return with_paper_names(with_kinds([layer for _, layer in found], blocks), blocks, network)


def _no_maps(tape: Tape, pixels: Sequence[Layer], axes: Mapping[int, Axes]) -> str:
    """The reason, for what follows ``has no convolution that gives a map``, as far as the tape knows it."""
    images, size = (1, ()) if tape.image is None else (len(tape.image), tuple(tape.image.shape[2:]))
    convs = [step for step in tape.steps if step.name.startswith("conv")]
    if any("conv" in layer.kinds for layer in pixels):
        return f": each is one pixel (1 x 1) for images of {' x '.join(map(str, size))}. Give larger images."
    if not convs:
        return f", and its weights work on {'tokens' if weighted(tape) else 'whole images'}: no map is drawn of these."
    if all(len(step.size) != 4 for step in convs):
        return ": they are not over height and width."
    if all(step.size[0] > images for step in convs):
        return (
            f": they take crops or windows of an image as a batch of their own ({convs[0].size[0]} for {images}), and "
            "no map belongs to a whole image. Give the network that takes one crop."
        )
    if all(axes.get(step.makes[0]) != UPRIGHT for step in convs):
        return ": they do not see height and width of the image on the last two axes."
    return ": none is the result of a module. Make each convolution a module of the network."


def _unseen(tape: Tape, layers: Sequence[Layer], what: str) -> float:
    """Share of the layers of weights behind the last map.

    Raises:
        NoMapsError: it is most of the network.
    """
    maps = {key for output in tape.outputs for key in (output.makes, tape.rest(output.makes)[0])}
    every = {*weighted(tape)}
    behind = every & unseen(tape, maps)
    share = len(behind) / len(every) if every else 0.0
    if share > MAX_UNSEEN:
        raise NoMapsError(
            f"{what} works on tokens, as transformers and MLP-Mixers do: {len(behind)} of its {len(every)} layers of "
            f"weights lie behind or beside its maps (the last is {layers[-1].name}), and what tokens show is not drawn "
            f"yet. Look at a convolutional network instead. {ATTACK_IT}"
        )
    return share


def _shown(tape: Tape, network: nn.Module) -> BlockOutput:
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
    return BlockOutput(gives=gives, convs=frozenset(convs), ends=frozenset(tape.rest(made)[0] for made in steps))


def _groups(tape: Tape) -> list[list[Output]]:
    groups: dict[Key, list[Output]] = {}
    for output in tape.outputs:
        groups.setdefault(tape.rest(output.makes)[0], []).append(output)
    return list(groups.values())


def _layer(tape: Tape, group: list[Output], shown: BlockOutput) -> tuple[tuple[int, int], Layer]:
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


def _named(working: list[Output], reached: list[Output], shown: BlockOutput) -> Output:
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
        LayerError: something in `wanted` is a module that has no map; says why.
        UnknownNameError: something in `wanted` matches nothing; names the nearest.
    """
    given = [wanted] if isinstance(wanted, str) else wanted
    asked = [part.strip() for text in given for part in text.split(",") if part.strip()]
    chosen = {layer.name for ask in asked or [""] for layer in _found(layers, ask, what)}
    return tuple(layer for layer in layers if layer.name in chosen)


def _found(layers: Sequence[Layer], ask: str, what: str) -> list[Layer]:
    found = [layer for layer in layers if _matches(layer, ask)]
    if not found:
        _refuse_absent(layers, ask, what)
        known = [name for layer in layers for name in layer.names]
        choices = [selector for selector in SELECTORS if any(_matches(layer, selector) for layer in layers)]
        raise UnknownNameError(f"{what} has no layer '{ask}'. {did_you_mean(ask, dict.fromkeys([*choices, *known]))}")
    return found


def _refuse_absent(layers: Sequence[Layer], ask: str, what: str) -> None:
    """Say why what is asked for has no map, if it is a part of the network at all."""
    reasons = layers.absent if isinstance(layers, Layers) and ask not in SELECTORS else {}
    meant = [name for name in reasons if name in (ask, ask.removesuffix("#1")) or fnmatch.fnmatchcase(name, ask)]
    if meant:
        others = f" ({meant[0]} and {len(meant) - 1} more)" if len(meant) > 1 else ""
        raise LayerError(f"{what} has no map at '{ask}'{others}: {reasons[meant[0]]}.")


def _matches(layer: Layer, ask: str) -> bool:
    if ask in SELECTORS:
        return ask.removesuffix("s") in layer.kinds
    names = [name for own in layer.names for name in (own, own.removesuffix("#1"))]
    exact = ask.removesuffix("#1")
    return exact in names or any(fnmatch.fnmatchcase(name, ask) for name in names)
