"""Follows height and width of the images through a pass: on which axes of each tensor they lie.

A tensor is a map if they are its last two, in this order and not mirrored. Shapes alone cannot tell: where a block of
(n, h, w, c) tensors has h = w = c, or as many tokens as a map has rows, all readings fit.
"""

import math
from collections.abc import Collection, Sequence

from gazeshift.models._layers import TURNING, Step, Tape

Axes = tuple[int, ...]  # of height and width, ``~axis`` if mirrored; one axis that holds both; or none: mixed up
Size = tuple[int, ...]
UPRIGHT: Axes = (2, 3)
MIXED: Axes = ()

SPATIAL = ("conv", "pool", "interpolate", "upsample", "grid_sample", "pixel")  # of (n, channels, height, width)
RESHAPING = frozenset(
    (
        *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "view_as", "reshape_as"),
        *("squeeze_", "unsqueeze_"),
    )
)
PRODUCTS = frozenset(
    ("matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "einsum", "baddbmm", "addmm", "addbmm", "tensordot")
)


def axes_of(tape: Tape) -> dict[int, Axes]:
    """Where height and width lie in each tensor of a pass, by the tensor's id; unknown ones are left out."""
    image = tape.image
    if image is None or image.ndim != 4:
        return {}
    found, sizes = {id(image): UPRIGHT}, {id(image): tuple(image.shape)}
    grids = grids_of(tape)
    for step in tape.steps:
        read = [(found[of], sizes[of]) for of, _ in step.reads if of in found]
        axes = _after(step, read, grids)
        if axes is not None:
            found[step.makes[0]] = axes
            sizes[step.makes[0]] = step.size
    return found


def grids_of(tape: Tape) -> set[Size]:
    """Heights and widths that a convolution, pooling or resizing gave."""
    return {step.size[2:] for step in tape.steps if _is_spatial(step)}


def _is_spatial(step: Step) -> bool:
    return len(step.size) == 4 and any(kind in step.name for kind in SPATIAL)


def _after(step: Step, read: Sequence[tuple[Axes, Size]], grids: Collection[Size]) -> Axes | None:
    """Where height and width lie after a step, from where they lay in what it read; None if that is unknown."""
    if _is_spatial(step):
        return _spatial(read[0][0]) if read and len(read[0][1]) == 4 else UPRIGHT
    if not read:
        return None
    axes, before = read[0]
    if step.name in TURNING:
        return _turned(axes, step.turn)
    if step.name in RESHAPING:
        return _reshaped(axes, before, step.size, grids)
    if step.name == "linear" or step.name in PRODUCTS:
        return _multiplied(axes, before, step) if len(read) == 1 else MIXED
    return _inherited(step, read)


def _multiplied(axes: Axes, before: Size, step: Step) -> Axes | None:
    """What a product with weights over the last axis gives: of that axis nothing is known any more."""
    return axes if len(before) == len(step.size) and len(before) - 1 not in map(_plain, axes) else None


def _plain(axis: int) -> int:
    return axis if axis >= 0 else ~axis


def _spatial(axes: Axes) -> Axes:
    """What a convolution gives: it slides over the last two axes. Over others than height and width it mixes."""
    return axes if axes and {*map(_plain, axes)} <= {*UPRIGHT} else MIXED


def _turned(axes: Axes, turn: Sequence[int]) -> Axes | None:
    """Where axes went; one that is mirrored twice is not mirrored, and of one that was dropped nothing is known."""
    went = {came: at for at, came in enumerate(turn)} | {~came: ~at for at, came in enumerate(turn)}
    return tuple(went[axis] for axis in axes) if {*axes} <= {*went} else None


def _reshaped(axes: Axes, before: Size, after: Size, grids: Collection[Size]) -> Axes | None:
    """An axis outlives a reshape if as many elements lie before it as ever; two may become one, and one two."""
    starts = [math.prod(after[:at]) for at in range(len(after))]
    kept = [
        next((at for at, size in enumerate(after) if (starts[at], size) == _span(before, axis)), None) for axis in axes
    ]
    if axes and None not in kept:
        return tuple(at if axis >= 0 else ~at for at, axis in zip(kept, axes, strict=True) if at is not None)
    if len(axes) == 2 and axes[1] == axes[0] + 1 and axes[0] >= 0:
        whole = math.prod(before[: axes[0]]), before[axes[0]] * before[axes[1]]
        return next(((at,) for at, size in enumerate(after) if (starts[at], size) == whole), None)
    if len(axes) == 1:
        start, size = _span(before, axes[0])
        for at in range(len(after) - 1):
            if starts[at] == start and after[at] * after[at + 1] == size and after[at : at + 2] in grids:
                return (at, at + 1)
    return None


def _span(size: Size, axis: int) -> tuple[int, int]:
    """How many elements lie before an axis, and its size."""
    return math.prod(size[: _plain(axis)]), size[_plain(axis)]


def _inherited(step: Step, read: Sequence[tuple[Axes, Size]]) -> Axes | None:
    """A step that leaves pixels where they are: what it adds to its first tensor, or joins, must lie as that does."""
    alike = [axes for axes, size in read if size == step.size] or [
        axes for axes, size in read if len(size) == len(step.size)
    ]
    if not alike:
        return None
    if step.name.startswith("cat") or step.name == "concat":
        return alike[0] if len({*alike}) == 1 else MIXED
    return UPRIGHT if UPRIGHT in alike else next((axes for axes in alike if axes), MIXED)
