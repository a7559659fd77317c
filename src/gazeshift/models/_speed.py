"""Ways to run a classifier faster, most of all on a GPU. Each changes the numbers a little, so none is the default."""

from typing import Any

import torch
from torch import nn

from gazeshift.errors import ModelError
from gazeshift.models._classifier import Classifier


def sped_up(
    classifier: Classifier, *, compiled: bool = False, channels_last: bool = False, bf16: bool = False
) -> Classifier:
    """The classifier itself, changed to run faster.

    Args:
        classifier: to be changed.
        compiled: bare passes, such as an attack's, run through `torch.compile`; a pass that shows its layers never
            does, for nobody can look inside.
        channels_last: weights lie with their channels side by side, and so do the activations.
        bf16: weights and activations in bfloat16, which has 8 bits; another model for every detector.

    Raises:
        ModelError: this machine cannot compile it; says why.
    """
    if bf16:
        classifier.to(torch.bfloat16)
    if channels_last:
        with torch.inference_mode(mode=False):
            nn.Module.to(classifier.module, memory_format=torch.channels_last)
    if compiled:
        classifier.fast = _compiled(classifier)
    return classifier


def _compiled(classifier: Classifier) -> Any:
    """The forward pass compiled, normalisation included, and tried once on a grey image."""
    made = torch.compile(classifier.answer)
    grey = torch.full((1, classifier.channels, *(classifier.size or (64, 64))), 0.5, device=classifier.device)
    try:
        with torch.no_grad():
            made(grey)
    except Exception as cause:  # compilers fail in their own ways
        reason = " ".join(str(cause).split())[:200]
        raise ModelError(
            f"torch.compile fails on {classifier.name} here ({type(cause).__name__}: {reason}). Leave --compile out."
        ) from cause
    return made
