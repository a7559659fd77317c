"""Whether images take the path through a network that a grey one took, with which its layers were found."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.errors import LayerError
from gazeshift.models._layers import Gift, gift_of, outputs_hooked
from gazeshift.records import Layer

Path = Mapping[str, tuple[Gift, ...]]  # module to what it gave, call by call


def path_of(network: nn.Module, run: Callable[[], object]) -> Path:
    """What each module of a network gives in a pass started by ``run()``."""
    path: dict[str, tuple[Gift, ...]] = {}

    def seen(name: str, _call: int, output: Any) -> None:
        path[name] = (*path.get(name, ()), gift_of(output))

    names = [name for name, _ in network.named_modules() if name]
    with torch.inference_mode(mode=False), torch.no_grad(), outputs_hooked(network, names, seen):
        run()
    return path


def path_change(grey: Path, other: Path) -> str:
    """How the path of one image differs from that of a grey one of its size; empty if it does not.

    >>> path_change({"early": ((1, 10),)}, {"early": ((1, 10),), "deep": ((1, 8, 4, 4),), "late": ((1, 10),)})
    'it reaches deep and 1 more'
    """
    changes = {
        "it reaches": [name for name in other if name not in grey],
        "it does not reach": [name for name in grey if name not in other],
        "it calls or fills in another way": [name for name in grey if name in other and grey[name] != other[name]],
    }
    return "; ".join(
        f"{how} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for how, names in changes.items()
        if names
    )


@contextmanager
def modules_reached(network: nn.Module, names: Sequence[str]) -> Iterator[set[str]]:
    """The modules among `names` that images of this thread's passes reach meanwhile; without names, without a cost."""
    reached: set[str] = set()

    def seen(name: str, _call: int, output: Any) -> None:
        if gift_of(output)[:1] != (0,):  # an empty batch goes where no image does
            reached.add(name)

    if not names:
        yield reached
        return
    with outputs_hooked(network, names, seen):
        yield reached


def check_reached_by_all(layer: Layer, tensor: Tensor, images: int) -> None:
    """Refuse a layer that did not get all images of a batch, or not as the grey image that it was found with.

    Raises:
        LayerError: says what the layer gave instead.
    """
    if tensor.ndim != 4 or tensor.shape[:2] != (images, layer.shape[0]):
        raise LayerError(
            f"layer {layer.name} gave {tuple(tensor.shape)} for {images} images, not ({images}, {layer.shape[0]}, "
            "height, width): the network's path depends on the image, or it takes a batch in parts. Look at one image "
            "at a time, or choose another layer."
        )


def not_reached(name: str) -> LayerError:
    """The error for a layer that a pass did not come by."""
    return LayerError(
        f"the forward pass did not reach layer {name}, as that of a grey image does: the network's path depends on the "
        "image. Choose another layer, or look at one image at a time."
    )


def warn_of(reached: Collection[str], what: str) -> None:
    """Say that images take a path on which there may be layers that nobody looks at."""
    if reached:
        first = min(reached)
        more = f" and {len(reached) - 1} more" if len(reached) > 1 else ""
        warnings.warn(
            f"{what}: these images reach {first}{more}, which the grey image that shows the layers does not: the path "
            "depends on the image, and maps of its other branches are missing.",
            stacklevel=3,
        )
