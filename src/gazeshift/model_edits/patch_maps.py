"""Chosen activations replaced by those of another image while the model runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.models import Classifier, tapped
from gazeshift.records import Layer

__all__ = ["PatchMaps"]


@dataclass(frozen=True, kw_only=True)
class PatchMaps:
    """Put activations of one pass into another (activation patching; Vig et al. 2020, Meng et al. 2022).

    ``with PatchMaps()(classifier, {layer: (mask, values)}): logits = classifier(attacked)``. Where the mask is true,
    the network goes on with `values`, such as the clean image's activations: if the right answer comes back, these
    activations caused the wrong one. They are replaced after their norm and activation, where the next layer reads
    them. No weight is touched, and afterwards, after an exception too, no hook is left.
    """

    @contextmanager
    def __call__(
        self,
        classifier: Classifier,
        patches: Mapping[Layer, tuple[Bool[Tensor, "#n #k #h #w"], Float[Tensor, "#n #k #h #w"]]],
    ) -> Iterator[Classifier]:
        """The classifier with these activations replaced, in this thread; others see it as it is.

        Raises:
            BoundsError: a mask or its values do not fit a layer's activations, found when an image passes.
        """

        def patch(layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:
            mask, values = (part.to(tensor.device) for part in patches[layer])
            _check_shape(layer, tensor, mask)
            _check_shape(layer, tensor, values)
            if in_place and tensor.grad_fn:
                # The activation keeps this very tensor for its derivative, and autograd would refuse one that was
                # written into: so it is not told, and the gradient of what is replaced ends before the activation.
                tensor.grad_fn.register_prehook(lambda upward: (upward[0].masked_fill(mask, 0),))
                tensor.data.copy_(torch.where(mask, values.to(tensor), tensor.detach()))
                return tensor
            made = torch.where(mask, values.to(tensor), tensor)
            return tensor.copy_(made) if in_place else made

        with tapped(classifier.module, patches, patch):
            yield classifier


def _check_shape(layer: Layer, tensor: Tensor, part: Tensor) -> None:
    fits = part.ndim == tensor.ndim and all(
        own in (1, whole) for own, whole in zip(part.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise BoundsError(
            f"a patch of {layer.name} must fit its activations {tuple(tensor.shape)}, got {tuple(part.shape)}. Sizes "
            "of 1 stand for all."
        )
