"""A network with another head: average pooling of its last layer and what follows it, in place of its own answer."""

from jaxtyping import Float
from torch import Tensor, nn

from gazeshift.errors import LayerError
from gazeshift.models import tapped
from gazeshift.records import Layer


class WithNewHead(nn.Module):
    """A body whose last layer is averaged over its pixels and handed to a new head.

    The body runs as it always does, its own head too, which costs little and may be of any form; only the layer's
    tensor is taken from it. With a linear head, `cam` is defined at that layer.

    Args:
        body: takes normalised images; what it answers is ignored.
        layer: of the body; the tensor after its norm and activation.
        head: takes (n, channels of the layer), such as a linear layer; `torch.nn.Identity` gives the features.
    """

    def __init__(self, body: nn.Module, layer: Layer, head: nn.Module) -> None:
        super().__init__()
        self.body, self.layer, self.head = body, layer, head

    def forward(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c"]:
        """What the head makes of the pooled layer.

        Raises:
            LayerError: the body's pass does not reach the layer.
        """
        logits: Tensor = self.head(self._seen(images).mean((2, 3)))
        return logits

    def _seen(self, images: Tensor) -> Float[Tensor, "n k hl wl"]:
        """The layer's tensor in this pass; a copy if the body goes on to write into it."""
        found: list[Tensor] = []

        def tap(layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:  # noqa: ARG001
            found.append(tensor.clone() if layer.overwritten else tensor)
            return tensor

        with tapped(self.body, [self.layer], tap):
            self.body(images)
        if not found:
            raise LayerError(f"the forward pass did not reach layer {self.layer.name}. Choose another layer.")
        return found[0]
