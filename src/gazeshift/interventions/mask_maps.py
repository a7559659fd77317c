"""Chosen feature maps set to zero while the model runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.models import Classifier
from gazeshift.models._layers import outputs_hooked
from gazeshift.models._trace import _Follow
from gazeshift.records import Layer

__all__ = ["MaskMaps"]


@dataclass(frozen=True, kw_only=True)
class MaskMaps:
    """Set feature maps to zero in every forward pass (Ding et al. 2022, section 4.5, Tables 8 and 9).

    ``with MaskMaps()(classifier, {layer: [35, 23]}): ...``. The map is silenced after its norm and activation, where
    the next layer reads it. No weight is touched, and afterwards, after an exception too, no hook is left.
    """

    @contextmanager
    def __call__(self, classifier: Classifier, maps: Mapping[Layer, Sequence[int]]) -> Iterator[Classifier]:
        """The classifier with these channels of these layers silent.

        Raises:
            BoundsError: a layer has no such channel.
        """
        for layer, channels in maps.items():
            check_channels(layer.name, layer.shape[0], channels)
        wanted = {(layer.module, layer.call): layer for layer in maps}
        follow = _Follow(lambda layer, tensor, *, in_place=False: _silenced(tensor, maps[layer], in_place=in_place))

        def seen(module: str, call: int, output: Tensor) -> Tensor | None:
            layer = wanted.get((module, call))
            if layer is None:
                return None
            if layer.then:
                follow.start(layer, output)
                return None
            return _silenced(output, maps[layer], in_place=False)

        modules = {layer.module: classifier.module.get_submodule(layer.module) for layer in maps}
        with ExitStack() as stack:
            stack.enter_context(outputs_hooked(modules, seen))
            if any(layer.then for layer in maps):
                stack.enter_context(follow)
            yield classifier


def check_channels(name: str, count: int, channels: Sequence[int]) -> None:
    """Refuse channels that a layer does not have."""
    if any(not 0 <= channel < count for channel in channels):
        raise BoundsError(f"channels of {name} count from 0 to {count - 1}, got {list(channels)}.")


def _silenced(tensor: Tensor, channels: Sequence[int], *, in_place: bool) -> Tensor:
    """The maps with some of them zero; in place if the network goes on with this very tensor."""
    made = tensor if in_place else tensor.clone()
    made[:, torch.tensor(list(channels), dtype=torch.long, device=tensor.device)] = 0
    return made
