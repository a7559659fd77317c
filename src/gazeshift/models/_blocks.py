"""Which modules are a network's blocks, and what papers call its layers."""

import re
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from gazeshift.records import Layer

PLAIN = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks_of(network: nn.Module) -> list[str]:
    """Names of the outermost modules of their own class that hold two convolutions or more.

    ResNet's bottlenecks, Inception's mixed modules, MobileNet's inverted residuals. A module that holds most of the
    network (a wrapped backbone) is opened and its own blocks are taken. Empty for a plain chain such as VGG.
    """
    root, prefix = network, ""
    while True:
        blocks = list(_outermost(root, prefix))
        large = [(name, block) for name, block in blocks if 2 * convolutions(block) > convolutions(root)]
        if not large:
            return [name for name, _ in blocks]
        prefix, root = large[0][0] + ".", large[0][1]


def _outermost(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child) not in PLAIN and convolutions(child) >= 2 and list(child.children()):
            yield prefix + name, child
        else:
            yield from _outermost(child, f"{prefix}{name}.")


def convolutions(module: nn.Module) -> int:
    """How many convolutions a module holds, itself included."""
    return sum(isinstance(part, nn.Conv2d) for part in module.modules())


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
        elif "conv" in kinds and not any(name.startswith(inside) for name in layer.names):
            kinds.add("trunk")
        marked.append(replace(layer, kinds=frozenset(kinds)))
    return marked


def _plain_kinds(layer: Layer, ends: set[str]) -> frozenset[str]:
    return frozenset({"trunk", "block"} if layer.name in ends else {"trunk"} if "conv" in layer.kinds else ())


def _stage_ends(convs: list[Layer]) -> set[str]:
    following = [*convs[1:], None]
    return {
        layer.name
        for layer, after in zip(convs, following, strict=True)
        if after is None or after.shape[1:] != layer.shape[1:]
    }


def with_paper_names(layers: list[Layer], blocks: list[str], convs_per_block: int) -> list[Layer]:
    """Add the names that papers use, which are Keras's: ``block4_conv1`` and ``4-1``, ``activation_35``, ``mixed10``."""
    if not blocks:
        names = _chain_names(layers)
    elif all(re.search(r"Mixed_\d\w$", block) for block in blocks):
        names = {block: [f"mixed{at}"] for at, block in enumerate(blocks)}
    elif {"conv3", "conv4", "block12"} <= set(blocks):  # timm's Xception
        names = {"conv3": ["block14_sepconv1_act"], "conv4": ["block14_sepconv2_act"]}
    elif convs_per_block == 3:
        names = _bottleneck_names(layers, blocks)
    else:
        names = {}
    return [
        replace(layer, aliases=layer.aliases + tuple(alias for name in layer.names for alias in names.get(name, ())))
        for layer in layers
    ]


def _chain_names(layers: list[Layer]) -> dict[str, list[str]]:
    """VGG: a block is a run of convolutions of one size, and the pooling after it belongs to it."""
    names: dict[str, list[str]] = {}
    stage, conv, size = 0, 0, (0, 0)
    for layer in layers:
        if "conv" in layer.kinds:
            if layer.shape[1:] != size:
                stage, conv, size = stage + 1, 0, layer.shape[1:]
            conv += 1
            names[layer.name] = [f"block{stage}_conv{conv}", f"{stage}-{conv}"]
        elif stage and layer.shape[1] < size[0]:
            names.setdefault(layer.name, [f"block{stage}_pool"])
            size = layer.shape[1:] if layer.shape[1:] == size else size
    return names


def _bottleneck_names(layers: list[Layer], blocks: list[str]) -> dict[str, list[str]]:
    """ResNet-50 and kin: activation_1 is the stem, then three for each block (SPEC of Ding 2022: Keras's numbering)."""
    stem = next(layer.name for layer in layers if "conv" in layer.kinds)
    names = {stem: ["activation_1"]}
    for q, block in enumerate(blocks):
        for r, part in enumerate((f"{block}.conv1", f"{block}.conv2", block)):
            names.setdefault(part, []).append(f"activation_{3 * q + r + 2}")
        stage = re.search(r"layer(\d)\.(\d+)$", block)
        if stage:
            names[block].append(f"conv{int(stage[1]) + 1}_block{int(stage[2]) + 1}_out")
    return names
