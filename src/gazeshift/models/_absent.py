"""Why a module of a network has no map to look at."""

from collections.abc import Collection, Sequence

from torch import nn

from gazeshift.models._axes import UPRIGHT, Axes
from gazeshift.models._layers import Gift, Tape
from gazeshift.records import Layer


def absent(
    tape: Tape, network: nn.Module, layers: Collection[Layer], pixels: Sequence[Layer], axes: dict[int, Axes]
) -> dict[str, str]:
    """Names that no layer has, and the reason of each, as what follows ``has no map at 'head': ``.

    Args:
        tape: of the pass that showed the layers.
        network: whose modules are named.
        layers: those that have maps.
        pixels: those whose map is a single pixel.
        axes: where height and width lie in each tensor.
    """
    known = {name for layer in layers for name in layer.names}
    images, size = (1, (0, 0)) if tape.image is None else (len(tape.image), tape.image.shape[2:])
    pixel = f"its map is one pixel (1 x 1) for images of {' x '.join(map(str, size))}; give larger images"
    turned = {output.module for output in tape.outputs if axes.get(output.makes[0], UPRIGHT) != UPRIGHT}
    found = {name: pixel for layer in pixels for name in layer.names if name not in known}
    first: dict[int, str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        twin, gifts = first.setdefault(id(module), name), tape.path.get(name, ())
        if not name or name in known:
            continue
        if name != twin:
            reason = f"it is the same module as '{twin}'; ask for that"
        elif called(tape, name):
            reason = pixel if _is_pixel(gifts[0], images) and name not in turned else _reason(gifts[0], images)
        elif can_run(module):
            reason = "the network does not call it for a grey image, with which its layers are found"
        else:
            reason = "it only holds other modules; ask for one of them"
        found.setdefault(name, reason)
    return found


def _is_pixel(gift: Gift, images: int) -> bool:
    return len(gift) == 4 and gift[0] == images and gift[2:] == (1, 1)


def _reason(gift: Gift, images: int) -> str:
    if isinstance(gift, str):
        return f"it gives a {gift}, not a tensor; ask for a module inside it"
    if len(gift) != 4:
        return f"it gives {gift}, which has no height and width"
    if gift[0] != images:
        count = "one image" if images == 1 else f"{images} images"
        return f"it gives {gift} for {count}: crops or windows of an image as a batch of their own"
    return f"it gives {gift}, whose last two axes are not the image's height and width"


def called(tape: Tape, name: str) -> bool:
    """Whether a module was given an image; some networks send an empty batch where no image goes."""
    return any(gift[:1] != (0,) for gift in tape.path.get(name, ()))


def can_run(module: nn.Module) -> bool:
    """Whether a module has a forward pass of its own; lists of modules have none."""
    return type(module).forward is not nn.Module.forward
