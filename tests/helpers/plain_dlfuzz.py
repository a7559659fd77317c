"""DLFuzz as its specification reads: one image at a time, dictionaries, plain autograd. Slow, and nothing is shared.

Neurons are keys (layer, channel). The only thing agreed with the package is how a seed's generator is used: for each
drawing strategy one float64 uniform number per neuron, in the order of the layers; the race of -log(1 - u) / weight
decides.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Neuron = tuple[str, int]


@dataclass
class PlainAdversarial:
    pop: int
    depth: int
    iteration: int
    label: int
    confidence: float
    l2: float
    l2_ratio: float
    gain: float
    image: Tensor


@dataclass
class PlainSeed:
    clean_label: int = -1
    pops: int = 0
    iterations: int = 0
    coverage_after: float = 0.0
    adversarials: list[PlainAdversarial] = field(default_factory=list)
    class_gradients: list[float] = field(default_factory=list)
    coverage_gradients: list[float] = field(default_factory=list)


class PlainDLFuzz:
    """The algorithm with the settings of a `DLFuzz`.

    Args:
        settings: any object with its fields.
        model: gives logits.
        watched: layer name to the module whose output is that layer, in the order of the pass; the softmax comes last.
        weights: layer name to the weights that lead into it, for strategy 2.
        dense: layers that strategy 3 leaves out; the softmax is always one.
    """

    def __init__(
        self,
        settings: Any,
        model: Any,
        watched: dict[str, nn.Module],
        weights: dict[str, Tensor] | None = None,
        dense: tuple[str, ...] = (),
    ) -> None:
        self.settings, self.model, self.watched = settings, model, watched
        self.weights, self.dense = weights or {}, {*dense, "softmax"}
        self.times1: Counter[Neuron] = Counter()
        self.times2: Counter[Neuron] = Counter()
        self.neurons: list[Neuron] = []

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and every layer's output, channels first, for one image (1, 3, h, w)."""
        outputs: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_hook(lambda _module, _args, out, name=name: outputs.update({name: out[0]}))
            for name, module in self.watched.items()
        ]
        logits = self.model(image)[0]
        for hook in hooks:
            hook.remove()
        if self.settings.scope == "all":
            outputs["softmax"] = logits.softmax(0)
        self.neurons = [(name, channel) for name, output in outputs.items() for channel in range(len(output))]
        return logits, outputs

    def predict(self, image: Tensor) -> tuple[Tensor, dict[Neuron, float]]:
        """Softmax probabilities and the scaled value of every neuron."""
        with torch.no_grad():
            logits, outputs = self.forward(image)
        values = {}
        for name, output in outputs.items():
            low, high = output.min(), output.max()
            scaled = torch.zeros_like(output) if high == low else (output - low) / (high - low)
            for channel, mean in enumerate(scaled.reshape(len(output), -1).mean(1).tolist()):
                values[name, channel] = mean
        return logits, values

    def count(self, table: Counter[Neuron], values: dict[Neuron, float]) -> None:
        table.update(neuron for neuron, value in values.items() if value > self.settings.threshold)

    def coverage(self, table: Counter[Neuron]) -> float:
        return sum(count > 0 for count in table.values()) / len(self.neurons)

    def fuzz(self, seed: Tensor, generator: torch.Generator, index: int) -> PlainSeed:
        """One seed (1, 3, h, w), with the tables as they are; they are updated."""
        settings, result, queue = self.settings, PlainSeed(), [(seed, 0)]
        reference = -1
        while queue and result.pops < settings.max_pops:
            item, depth = queue.pop(0)
            logits, values = self.predict(item)
            if result.pops == 0:
                self.count(self.times2, values)
                result.clean_label = reference = int(logits.argmax())
            if settings.reference == "item":
                reference = int(logits.argmax())
            result.pops += 1
            self.count(self.times1, values)
            leading = logits.argsort(descending=True)[:5].tolist()
            chosen = self.choose(values, generator)
            image = item
            for iteration in range(1, settings.iterations + 1):
                image = self.mutated(image, leading, chosen, result, first=iteration == 1)
                before = self.coverage(self.times1)
                logits, values = self.predict(image)
                self.count(self.times1, values)
                gain = self.coverage(self.times1) - before
                result.iterations += 1
                change = (image - seed).double()
                mean = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64)[:, None, None] / 255
                ratio = float(change.norm() / (seed.double() - mean).norm())
                if gain > settings.queue_gain / (index + 1) and ratio < settings.delta:
                    queue.append((image.clone(), depth + 1))
                label = int(logits.argmax())
                accepted = label != reference and (settings.limit == "queue" or ratio <= settings.delta)
                if accepted or settings.accept == "all":
                    self.count(self.times2, values)
                if accepted:
                    confidence = float(logits.softmax(0)[label])
                    l2 = float(change.norm())
                    found = (result.pops - 1, depth, iteration, label, confidence, l2, ratio, gain, image.clone())
                    result.adversarials.append(PlainAdversarial(*found))
        result.coverage_after = self.coverage(self.times2)
        return result

    def choose(self, values: dict[Neuron, float], generator: torch.Generator) -> dict[Neuron, float]:
        """Neurons to excite (+1) or calm (-1)."""
        settings, chosen = self.settings, dict[Neuron, float]()
        strategies = str(settings.strategies).split("+")
        for at, strategy in enumerate(strategies):
            count = settings.n_neurons // len(strategies) + (at < settings.n_neurons % len(strategies))
            if strategy == "3" and settings.signs == "code":
                t = settings.threshold
                above = [n for n in self.neurons if t < values[n] < t + 0.25 and n[0] not in self.dense]
                below = [n for n in self.neurons if t - 0.2 < values[n] < t and n[0] not in self.dense]
                found = dict.fromkeys(above[: count // 2], 1.0) | dict.fromkeys(below[: count - count // 2], -1.0)
            else:
                found = dict.fromkeys(self.drawn(self.weight_of(strategy, values), count, generator), 1.0)
            chosen = found | chosen
        return chosen

    def weight_of(self, strategy: str, values: dict[Neuron, float]) -> dict[Neuron, float]:
        times, t = self.times1, self.settings.threshold
        if strategy == "0":
            return {n: times[n] for n in self.neurons}
        if strategy == "1":
            most = max(times[n] for n in self.neurons)
            return {n: most - times[n] for n in self.neurons}
        if strategy == "2":
            means = {n: float(self.weights[n[0]][n[1]].detach().double().mean()) for n in self.weighted()}
            ranked = sorted(means, key=lambda n: -means[n])[: math.ceil(0.1 * len(self.neurons))]
            return {n: float(n in ranked and means[n] > 0) for n in self.neurons}
        if strategy == "3":
            return {n: float(t - 0.2 < values[n] < t and n[0] not in self.dense) for n in self.neurons}
        fresh = {n: float(times[n] == 0) for n in self.neurons}
        return fresh if any(fresh.values()) else dict.fromkeys(self.neurons, 1.0)

    def weighted(self) -> list[Neuron]:
        return [neuron for neuron in self.neurons if neuron[0] in self.weights]

    def drawn(self, weights: dict[Neuron, float], count: int, generator: torch.Generator) -> list[Neuron]:
        uniform = torch.rand(len(self.neurons), generator=generator, dtype=torch.float64).tolist()
        arrivals = [
            (-math.log1p(-u) / weights[neuron], neuron)
            for u, neuron in zip(uniform, self.neurons, strict=True)
            if weights[neuron] > 0
        ]
        return [neuron for _, neuron in sorted(arrivals)[:count]]

    def mutated(
        self, image: Tensor, leading: list[int], chosen: dict[Neuron, float], result: PlainSeed, *, first: bool
    ) -> Tensor:
        """One step of the objective's gradient, in grey levels as published, clipped."""
        settings = self.settings
        grey = (image * 255).detach().requires_grad_()
        logits, outputs = self.forward(grey / 255)
        scores = logits.softmax(0) if settings.class_score == "prob" else logits
        classes = settings.predict_weight * sum(scores[c] for c in leading[1:]) - scores[leading[0]]
        covering = sum(
            (sign * outputs[layer][channel].mean() for (layer, channel), sign in chosen.items()), 0 * scores[0]
        )
        one = torch.autograd.grad(classes, grey, retain_graph=True)[0]
        other = torch.autograd.grad(settings.coverage_weight * covering, grey)[0]
        if first:  # told per unit of [0, 1]
            result.class_gradients.append(255 * float(one.square().mean().sqrt()))
            result.coverage_gradients.append(255 * float(other.square().mean().sqrt()))
        if settings.balance == "rms":
            one = one / (one.square().mean().sqrt() + settings.eps_norm)
            other = other / (other.square().mean().sqrt() + settings.eps_norm)
        gradient = one + other
        moved = grey.detach() + 255 * settings.step * gradient / (gradient.square().mean().sqrt() + settings.eps_norm)
        return moved.clamp(0, 255) / 255
