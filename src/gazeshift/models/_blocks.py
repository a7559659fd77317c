"""Which modules are a network's blocks, and what papers call its layers."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from torch import nn

from gazeshift.models._layers import Key
from gazeshift.records import Layer

CHAINS = (nn.Sequential.forward, nn.Module.forward)  # run their children one after the other, or nothing at all


@dataclass(frozen=True, kw_only=True)
class BlockOutput:
    """What modules showed in one forward pass.

    Args:
        gives: module name to the maps it returned.
        convs: names of the convolutions that returned maps.
        ends: maps that are a convolution's result, after its norm and activation.
    """

    gives: Mapping[str, AbstractSet[Key]]
    convs: frozenset[str]
    ends: frozenset[Key]

    def inside(self, name: str) -> int:
        """How many of the convolutions a module holds, itself included."""
        return sum(conv == name or conv.startswith(f"{name}.") for conv in self.convs)


def blocks_of(network: nn.Module, shown: BlockOutput) -> list[str]:
    """Names of the outermost modules of their own class that work on maps with more than one layer of weights.

    ResNet's bottlenecks, Inception's mixed modules, MobileNet's inverted residuals. What merely holds blocks is opened:
    a stage, whose result is its last block's, and whatever holds most of the network, such as a wrapped backbone. A
    module of a block's class with a single convolution is a block too. Empty for a plain chain such as VGG.
    """
    modules = {name: module for name, module in network.named_modules() if name in shown.gives}
    inside = {name: shown.inside(name) for name, module in modules.items() if type(module).forward not in CHAINS}
    worth = [name for name, convs in inside.items() if convs and convs + _linears(modules[name]) > 1]
    closed = [
        name
        for name in worth
        if 2 * inside[name] <= len(shown.convs)
        and not any(_holds(name, inner) and shown.gives[name] & shown.gives[inner] for inner in worth)
    ]
    outermost = [name for name in closed if not any(_holds(outer, name) for outer in closed)]
    kinds = {type(modules[name]) for name in outermost}
    return [
        name
        for name in modules
        if name in outermost
        or (type(modules[name]) in kinds and inside[name] == 1 and not any(_holds(outer, name) for outer in outermost))
    ]


def _holds(outer: str, inner: str) -> bool:
    return inner.startswith(f"{outer}.")


def _linears(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Linear) for part in module.modules())


def with_kinds(layers: list[Layer], blocks: list[str]) -> list[Layer]:
    """Mark blocks and trunk. In a plain network the last convolution of each resolution ends a block."""
    if not blocks:
        ends = _stage_ends([layer for layer in layers if "conv" in layer.kinds])
        return [replace(layer, kinds=layer.kinds | _plain_kinds(layer, ends)) for layer in layers]
    inside = tuple(f"{name}." for name in blocks)
    marked = []
    for layer in layers:
        kinds = set(layer.kinds)
        block = next((name for name in layer.names if name.split("#")[0] in blocks), None)
        if block:
            kinds |= {"block", "trunk"}
            others = tuple(name for name in layer.names if name != block)
            layer = replace(layer, name=block, aliases=others)  # noqa: PLW2901
        elif "conv" in kinds and not all(name.startswith(inside) for name in layer.names):
            kinds.add("trunk")
        marked.append(replace(layer, kinds=frozenset(kinds)))
    return marked


def _plain_kinds(layer: Layer, ends: set[str]) -> frozenset[str]:
    return frozenset({"trunk", "block"} if layer.name in ends else {"trunk"} if "conv" in layer.kinds else ())


def _stage_ends(convs: list[Layer]) -> set[str]:
    following = [*convs, None][1:]
    return {
        layer.name
        for layer, after in zip(convs, following, strict=True)
        if after is None or after.shape[1:] != layer.shape[1:]
    }


def with_paper_names(layers: list[Layer], blocks: list[str], network: nn.Module) -> list[Layer]:
    """Add the papers' names, which are Keras's: ``block4_conv1`` and ``4-1``, ``activation_35``, ``mixed10``."""
    if not blocks:
        names = _chain_names(layers)
    elif all(re.search(r"Mixed_\d\w$", block) for block in blocks):
        names = {block: [f"mixed{at}"] for at, block in enumerate(blocks)}
    elif {"conv3", "conv4", "block12"} <= set(blocks):  # timm's Xception
        names = {"conv3": ["block14_sepconv1_act"], "conv4": ["block14_sepconv2_act"]}
    elif all(_is_bottleneck(network, block) for block in blocks):
        names = _bottleneck_names(layers, blocks)
    else:
        names = {}
    return [
        replace(layer, aliases=layer.aliases + tuple(alias for name in layer.names for alias in names.get(name, ())))
        for layer in layers
    ]


def _chain_names(layers: list[Layer]) -> dict[str, list[str]]:
    """VGG: a block is a run of convolutions of one size, and the first pooling after it belongs to it."""
    names: dict[str, list[str]] = {}
    stage, conv, size = 0, 0, (0, 0)
    for layer in layers:
        if "conv" in layer.kinds:
            if conv == 0 or layer.shape[1:] != size:
                stage, conv, size = stage + 1, 0, layer.shape[1:]
            conv += 1
            names[layer.name] = [f"block{stage}_conv{conv}", f"{stage}-{conv}"]
        elif conv and layer.shape[1] < size[0]:
            names[layer.name] = [f"block{stage}_pool"]
            conv = 0
    return names if sum("conv" in layer.kinds for layer in layers) > 1 else {}


def _is_bottleneck(network: nn.Module, block: str) -> bool:
    """Whether a block is a ResNet's, called as torchvision and timm do, with three convolutions."""
    convs = sum(re.fullmatch(r"conv\d", name) is not None for name, _ in network.get_submodule(block).named_children())
    return convs == 3 and re.search(r"layer\d\.\d+$", block) is not None


def _bottleneck_names(layers: list[Layer], blocks: list[str]) -> dict[str, list[str]]:
    """ResNet-50 and kin: activation_1 is the stem, then three for each block (SPEC of Ding 2022: Keras's numbering)."""
    first = next(at for at, layer in enumerate(layers) if layer.name.startswith(f"{blocks[0]}."))
    names = {layer.name: ["activation_1"] for layer in layers[:first] if "conv" in layer.kinds}
    names = dict([names.popitem()]) if names else {}
    for q, block in enumerate(blocks):
        for r, part in enumerate((f"{block}.conv1", f"{block}.conv2", block)):
            names.setdefault(part, []).append(f"activation_{3 * q + r + 2}")
        stage = re.search(r"layer(\d)\.(\d+)$", block)
        if stage:
            names[block].append(f"conv{int(stage[1]) + 1}_block{int(stage[2]) + 1}_out")
    return names
