"""Chosen feature maps set to zero while the model runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.model_edits.patch_maps import PatchMaps
from gazeshift.models import Classifier
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

        with PatchMaps()(classifier, {layer: _silence(layer, channels) for layer, channels in maps.items()}):
            yield classifier


def _silence(layer: Layer, channels: Sequence[int]) -> tuple[Tensor, Tensor]:
    mask = torch.zeros(1, layer.shape[0], 1, 1, dtype=torch.bool)
    mask[:, list(channels)] = True
    return mask, torch.zeros(1, 1, 1, 1)


def check_channels(name: str, count: int, channels: Sequence[int]) -> None:
    """Refuse channels that a layer does not have."""
    if any(not 0 <= channel < count for channel in channels):
        raise BoundsError(f"channels of {name} count from 0 to {count - 1}, got {list(channels)}.")
