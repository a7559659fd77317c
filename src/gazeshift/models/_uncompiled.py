"""Networks as they were before somebody compiled, wrapped or checkpointed them: only then do hooks see the layers."""

from types import MethodType

import torch
from torch import nn

from gazeshift.errors import ModelError

CHECKPOINTING = ("grad_checkpointing", "memory_efficient", "gradient_checkpointing")  # timm, torchvision, transformers


def unwrapped(network: nn.Module, name: str) -> nn.Module:
    """The network inside `torch.compile` and `torch.nn.DataParallel`.

    Raises:
        ModelError: a scripted or traced network, whose inside is no longer Python.
    """
    while True:
        inner = getattr(network, "_orig_mod", None) or (
            network.module if isinstance(network, nn.DataParallel) else None
        )
        if not isinstance(inner, nn.Module):
            break
        network = inner
    if any(isinstance(part, torch.jit.ScriptModule) for part in network.modules()):
        raise ModelError(
            f"{name} is a scripted or traced network (torch.jit), and nobody can look inside one. Give the Python "
            "network it was made from, with the same weights."
        )
    return network


def uncompile(network: nn.Module) -> None:
    """Take every `torch.compile` out of a network of one's own, so that its layers run one by one, and once.

    Gradient checkpointing is switched off too: it runs modules again in the backward pass, where nobody looks at them,
    and refuses gradients of images.
    """
    for module in list(network.modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(getattr(child, "_orig_mod", None), nn.Module):
                setattr(module, child_name, child._orig_mod)  # noqa: SLF001
    for module in network.modules():
        for flag in CHECKPOINTING:
            if getattr(module, flag, None) is True:
                setattr(module, flag, False)
        module._compiled_call_impl = None  # noqa: SLF001
        written = getattr(type(module).forward, "_torchdynamo_orig_callable", None)
        if written is not None:
            module.forward = MethodType(written, module)
