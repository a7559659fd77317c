"""Chosen feature maps set to zero while the model runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.models import Classifier, tapped
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
        """The classifier with these channels of these layers silent, in this thread; others see it as it is.

        Raises:
            BoundsError: a layer has no such channel.
        """
        for layer, channels in maps.items():
            check_channels(layer.name, layer.shape[0], channels)

        def silence(layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:
            at = torch.tensor(list(maps[layer]), dtype=torch.long, device=tensor.device)
            if in_place and tensor.grad_fn:
                # The activation keeps this very tensor for its derivative, and autograd would refuse one that was
                # written into: so it is not told, and the gradient of what is silent ends before the activation.
                tensor.grad_fn.register_prehook(lambda upward: (upward[0].index_fill(1, at, 0),))
                tensor.data[:, at] = 0
                return tensor
            made = tensor if in_place else tensor.clone()
            made[:, at] = 0
            return made

        with tapped(classifier.module, maps, silence):
            yield classifier


def check_channels(name: str, count: int, channels: Sequence[int]) -> None:
    """Refuse channels that a layer does not have."""
    if any(not 0 <= channel < count for channel in channels):
        raise BoundsError(f"channels of {name} count from 0 to {count - 1}, got {list(channels)}.")
