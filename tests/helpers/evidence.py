"""Evidence with given maps, as `look` would give it."""

import torch

from gazeshift.records import Evidence, Layer, LayerTrace


def means(n):
    return {"activation": torch.zeros(n, 1), "gradient": torch.zeros(n, 1)}


def evidence(maps, *, size=None, logits=None, layer="conv"):
    """Evidence of n images at one layer; `maps` has (n, h, w) by CAM."""
    first = next(iter(maps.values()))
    n, height, width = first.shape
    place = Layer(name=layer, kinds=frozenset({"conv"}), shape=(1, height, width), module=layer)
    trace = LayerTrace(layer=place, maps=maps, poles=torch.zeros(n, dtype=torch.long), **means(n))
    logits = torch.tensor([[2.0, 1.0]]).repeat(n, 1) if logits is None else logits
    return Evidence(
        images=torch.zeros(n, 3, *(size or (height, width))),
        logits=logits,
        explained=logits.argmax(1),
        target="predicted",
        score="logit",
        traces={layer: trace},
        model="made up",
    )


def answers(logits):
    """Evidence of which only the answers matter."""
    return evidence({"grad_cam": torch.zeros(len(logits), 2, 2)}, logits=logits)
