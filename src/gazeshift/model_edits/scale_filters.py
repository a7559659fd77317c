"""Chosen filters of a model's convolutions made stronger or weaker, for a while."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from gazeshift.errors import LayerError
from gazeshift.model_edits.mask_maps import check_channels
from gazeshift.models import Classifier
from gazeshift.records import Layer

__all__ = ["ScaleFilters"]

SHORTCUT = re.compile(r"(^|\.)(downsample|shortcut|skip)(\.|$)")


@dataclass(frozen=True, kw_only=True)
class ScaleFilters:
    """Multiply filters of convolutions, and their biases, by a factor (Ding et al. 2022, Tables 10 to 13).

    ``with ScaleFilters(factor=1.8)(classifier, {"conv1": [35, 23]}): ...``. A batch norm that follows is left alone,
    so that what comes out of it is ``gamma (1.8 z - mean) / std + beta`` and not 1.8 times what it was. Afterwards,
    after an exception too, the weights are the same bits as before.

    Args:
        factor: 1 changes nothing.
    """

    factor: float = 1.8

    @contextmanager
    def __call__(self, classifier: Classifier, filters: Mapping[str, Sequence[int]]) -> Iterator[Classifier]:
        """The classifier with these filters of these convolutions scaled; see `convolution_before`.

        Raises:
            LayerError: no convolution of that name.
            BoundsError: it has no such filter.
        """
        convs = {name: _convolution(classifier, name) for name in filters}
        for name, conv in convs.items():
            check_channels(name, conv.out_channels, filters[name])
        kept = [(own, own.detach().clone()) for conv in convs.values() for own in conv.parameters(recurse=False)]
        try:
            with torch.no_grad():
                for name, conv in convs.items():
                    at = torch.tensor(sorted(set(filters[name])), dtype=torch.long, device=conv.weight.device)
                    for own in conv.parameters(recurse=False):
                        own[at] *= self.factor
            vars(classifier).pop("weights_sha256", None)  # one that is remembered is of other weights
            yield classifier
        finally:
            with torch.no_grad():
                for own, before in kept:
                    own.copy_(before)
            vars(classifier).pop("weights_sha256", None)


def convolution_before(classifier: Classifier, layer: Layer, layers: Sequence[Layer]) -> str:
    """Name of the convolution that makes a layer's maps: one filter for each.

    Of a residual block's output it is the last convolution of the branch; the shortcut is not meant.

    Args:
        classifier: whose layer.
        layer: after its norm and activation.
        layers: all of the classifier's, in the order of the forward pass.

    Raises:
        LayerError: there is no such convolution.
    """
    inside = [other for other in layers if other.name.startswith(f"{layer.name}.") and other.shape == layer.shape]
    for found in (layer, *reversed([other for other in inside if "conv" in other.kinds])):
        for name in (name.split("#")[0] for name in found.names):
            known = dict(classifier.module.named_modules()).get(name)
            if isinstance(known, nn.Conv2d) and known.out_channels == layer.shape[0] and not SHORTCUT.search(name):
                return name
    raise LayerError(f"no convolution of {classifier.name} makes the maps of {layer.name} alone. Choose another layer.")


def _convolution(classifier: Classifier, name: str) -> nn.Conv2d:
    found = dict(classifier.module.named_modules()).get(name)
    if not isinstance(found, nn.Conv2d):
        raise LayerError(f"filters belong to a convolution, and {classifier.name} has none named '{name}'.")
    return found
