"""Values of one tensor, gradients of another."""

from jaxtyping import Float
from torch import Tensor


def straight(values: Float[Tensor, "..."], images: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`values`, with a gradient as if they were `images` (straight-through); exactly `values` if none is asked for."""
    return values.detach() + (images - images.detach()) if images.requires_grad else values
