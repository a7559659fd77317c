"""How another package's attack sees the user's model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.attacks._gradient import Model, finite, gradient_of, lift
from gazeshift.precision import wide


class ModelProxy(nn.Module):
    """The model as a package may have it: in eval mode, and nothing the package does to it reaches the user's network.

    Images go in as float32 or float64 and become the model's type; logits come out likewise.

    Args:
        model: the user's.
        images: the whole batch, for its device and type, and to name an image in messages.
        part: which of them the package is given.
        check_classes: called with the number of classes; may refuse it.
    """

    def __init__(self, model: Model, images: Tensor, part: slice, check_classes: Callable[[int], object] = int) -> None:
        super().__init__()
        self.working = torch.promote_types(images.dtype, torch.float32)
        # torchattacks takes the device of the first parameter.
        self.place = nn.Parameter(torch.zeros(0, device=images.device), requires_grad=False)
        self.failure: Exception | None = None
        self.check_classes = check_classes
        self._hidden: tuple[Model, Tensor, slice] = (
            model,
            images,
            part,
        )  # in a tuple, so that it is no submodule and nobody moves or trains it
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = _Passage.apply(images, self)
        return logits

    def ask(self, images: Tensor) -> Tensor:
        """The user's model."""
        model, whole, _ = self._hidden
        try:
            logits: Tensor = wide(model(images.to(whole.dtype))).to(self.working)
        except Exception as failure:
            self.failure = failure
            raise
        self.check_classes(logits.shape[1])
        return logits

    def check(self, found: Tensor) -> None:
        """Refuse logits or gradients that are NaN, by the image's place in the user's batch where it is known."""
        broken = found.isnan().flatten(1).any(1)
        if broken.any():
            _, whole, part = self._hidden
            known = len(broken) == len(whole[part])
            marked = whole.clone() if known else torch.zeros_like(found)
            (marked[part] if known else marked)[broken] = torch.nan
            finite(marked)


class _Passage(torch.autograd.Function):
    """Gradients to the images and nowhere else: packages call `backward()`, which would reach the user's weights."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, seen: ModelProxy) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        with torch.set_grad_enabled(wanted):
            ctx.begun = images.detach().requires_grad_(wanted)
            ctx.logits, ctx.seen = seen.ask(ctx.begun), seen
        logits: Tensor = ctx.logits.detach().clone()
        seen.check(logits)
        return logits

    @staticmethod
    def backward(ctx: Any, *upward: Tensor) -> tuple[Tensor, None]:
        scale = lift(upward[0].abs().amax(1))
        with torch.enable_grad():
            total = (ctx.logits * upward[0] * scale[:, None]).sum()
            gradient = gradient_of(total, ctx.begun, retain_graph=True) / scale[:, None, None, None]
        ctx.seen.check(gradient)
        return gradient, None
