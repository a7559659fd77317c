"""How much of a network no map shows: its layers of weights that work on many positions behind the last map.

A transformer's patch embedding is a convolution, and its result a map; all that follows works on tokens. Depth tells,
not the number of weights: the head of VGG-16 holds 90 % of its weights in 3 of 16 layers, and works on no positions.
"""

import math

import torch
from torch import nn

from gazeshift.models._axes import PRODUCTS
from gazeshift.models._layers import Key, Step, Tape

WEIGHTED = frozenset(
    (
        *("linear", "bilinear", "multi_head_attention_forward", "_native_multi_head_attention"),
        *("_transformer_encoder_layer_fwd", "lstm", "gru", "rnn_tanh", "rnn_relu"),
    )
)


def weighted(tape: Tape) -> list[int]:
    """Positions of the steps that multiply by weights at more than one place of the image: no heads, no gates."""
    images = 1 if tape.image is None else len(tape.image)
    return [at for at, step in enumerate(tape.steps) if _has_weights(tape, step) and _places(step) > images]


def _has_weights(tape: Tape, step: Step) -> bool:
    reads_weights = any(isinstance(tape.tensors[of], nn.Parameter) for of, _ in step.reads)
    return step.name.startswith("conv") or step.name in WEIGHTED or (step.name in PRODUCTS and reads_weights)


def _places(step: Step) -> int:
    """How many places of all images together a result has: channels lie second after a convolution, else last."""
    channels = 1 if step.name.startswith("conv") else len(step.size) - 1
    return math.prod(size for axis, size in enumerate(step.size) if axis != channels)


def unseen(tape: Tape, maps: set[Key]) -> set[int]:
    """Positions of the steps from which a way leads to the answer that passes no map."""
    reached, at_image = set[int](), False
    passed: set[Key] = set()
    ahead, stopped = list(tape.answers), False
    storages = _storages(tape)
    while ahead:
        key = ahead.pop()
        at_image |= tape.image is not None and key[0] == id(tape.image)
        stopped |= key in maps
        if key in passed or key in maps:
            continue
        passed.add(key)
        makers = tape.made_by.get(key) or storages.get(_storage(tape.tensors.get(key[0])), [])
        reached.update(makers)
        ahead.extend(read for at in makers for read in tape.steps[at].reads)
    if not (stopped or at_image):  # the way back was lost in a function that torch does not show
        last = max((at for key in maps for at in tape.made_by.get(key, ())), default=-1)
        return set(range(last + 1, len(tape.steps)))
    return reached


def _storages(tape: Tape) -> dict[int, list[int]]:
    """Steps by the memory they wrote: a view that was written into is another version of the whole."""
    found: dict[int, list[int]] = {}
    for (of, _), makers in tape.made_by.items():
        found.setdefault(_storage(tape.tensors[of]), []).extend(makers)
    return {storage: makers for storage, makers in found.items() if storage}


def _storage(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None or tensor.layout != torch.strided else tensor.untyped_storage().data_ptr()
