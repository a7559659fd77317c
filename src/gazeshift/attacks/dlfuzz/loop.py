"""The loop of DLFuzz over many seeds side by side: one forward and one backward pass serve all of them.

Every pop of a queue takes the same number of passes, so all seeds stay in step. A pass shows a mutant's class and
neurons and is at once the beginning of its next gradient, so that a pop with k mutants costs k + 1 forward passes; the
algorithm as written (predict, then differentiate) takes 2 k + 1.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gazeshift.attacks._gradient import finite
from gazeshift.attacks.dlfuzz.choice import NeuronChoice
from gazeshift.attacks.dlfuzz.result import Adversarial, DLFuzzTables
from gazeshift.attacks.dlfuzz.seed import Item, Progress
from gazeshift.attacks.dlfuzz.settings import DLFuzzSettings
from gazeshift.attacks.dlfuzz.step import Mutation, rms
from gazeshift.models import NeuronActivations, Neurons

MEAN_COLOUR = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # of ImageNet, red first: what "caffe" models subtract


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """Pops, mutates and judges.

    Args:
        asked: the settings; `neurons`, `choice` and `mutation` are built from them and from the model.
        total: seeds of the run, for the message about one that is not finite.
        stop_at_first: a seed with an adversarial pops no more.
    """

    asked: DLFuzzSettings
    neurons: Neurons
    choice: NeuronChoice
    mutation: Mutation
    total: int
    stop_at_first: bool

    def __call__(self, seeds: Iterable[Progress], before: DLFuzzTables, batch_size: int) -> Iterator[Progress]:
        """Fuzz each seed to its end, `batch_size` side by side, on the tables `before` and its own; as they finish."""
        waiting, active = iter(seeds), list[Progress]()
        while active := [*active, *islice(waiting, batch_size - len(active))]:
            self.pop(active, before)
            yield from (seed for seed in active if self.ends(seed))
            active = [seed for seed in active if not seed.stop_reason]

    def ends(self, seed: Progress) -> bool:
        """Whether a seed is done; says why."""
        if self.stop_at_first and seed.adversarials:
            seed.stop_reason = "first adversarial"
        elif not seed.queue:
            seed.stop_reason = "queue empty"
        elif seed.pops >= self.asked.max_pops:
            seed.stop_reason = "max_pops"
        return bool(seed.stop_reason)

    def pop(self, seeds: Sequence[Progress], before: DLFuzzTables) -> None:
        """Take each seed's next item, and mutate it `iterations` times along its own classes and neurons."""
        items, generators = [seed.queue.popleft() for seed in seeds], [seed.generator for seed in seeds]
        leaf, reading = self.look(torch.stack([item.image for item in items]), graph=True)
        times = before.evaluated + torch.stack([seed.evaluated for seed in seeds]) + self.covers(reading)
        leading = self.mutation.leading(reading.logits)
        self.note(seeds, reading)
        signs = self.choice(times, reading.values.cpu(), generators)
        for iteration in range(1, self.asked.iterations + 1):
            ascent = self.mutation.ascent(leaf, reading, leading, signs, apart=iteration == 1)
            if iteration == 1:
                _log(seeds, ascent.classes, ascent.coverage)
            before_step = leaf.detach().contiguous()
            moved = self.checked(self.mutation(before_step, ascent.gradient.contiguous(), generators), seeds)
            leaf, reading = self.look(moved, graph=iteration < self.asked.iterations)
            covered = self.covers(reading)
            gains = (covered & (times == 0)).double().mean(1)
            mutants = _mutants(moved, reading, seeds, items, gains=gains, iteration=iteration, before=before_step)
            for seed, item, mutant, new in zip(seeds, items, mutants, covered, strict=True):
                self.judge(seed, item, mutant, new)
            times = times + covered
        for seed, row in zip(seeds, times - before.evaluated, strict=True):
            seed.evaluated = row.clone()

    def note(self, seeds: Sequence[Progress], reading: NeuronActivations) -> None:
        """Tell each seed what its popped item is."""
        logits = reading.logits.detach()
        label, confidence = logits.argmax(1), logits.softmax(1).amax(1)
        rows = zip(seeds, label.tolist(), confidence.tolist(), self.covers(reading), strict=True)
        for seed, its, sure, covered in rows:
            seed.popped(its, sure, covered, follow=self.asked.reference == "item")

    def look(
        self, images: Float[Tensor, "n channels h w"], *, graph: bool
    ) -> tuple[Float[Tensor, "n channels h w"], NeuronActivations]:
        """One forward pass; with a graph that begins at the images if a gradient will be asked for.

        With the colours of a pixel side by side in memory, both passes take two thirds of the time on a CPU.
        """
        with torch.set_grad_enabled(graph):
            leaf = images.detach().contiguous(memory_format=torch.channels_last).requires_grad_(graph)
            return leaf, self.neurons.read(leaf)

    def covers(self, reading: NeuronActivations) -> Bool[Tensor, "n neurons"]:
        """Which neurons each image covers, on the CPU."""
        return (reading.values > self.asked.threshold).cpu()

    def checked(
        self, moved: Float[Tensor, "n channels h w"], seeds: Sequence[Progress]
    ) -> Float[Tensor, "n channels h w"]:
        """The mutants as they are; refuse those that are not finite, by their place in the whole run."""
        if not moved.isfinite().all():
            places = torch.zeros((self.total, 1, 1, 1), device=moved.device)
            places[[seed.position for seed in seeds]] += moved.float().sum((1, 2, 3), keepdim=True)
            finite(places)
        return moved

    def judge(self, seed: Progress, item: Item, mutant: Adversarial, covered: Bool[Tensor, " neurons"]) -> None:
        """Queue a mutant that covers enough, accept one that the model classifies otherwise."""
        if mutant.coverage_gain > self.asked.queue_gain / (seed.index + 1) and mutant.l2_ratio < self.asked.delta:
            seed.queue.append(Item(mutant.image.clone(), item.depth + 1))
        allowed = self.asked.limit == "queue" or mutant.l2_ratio <= self.asked.delta
        flipped = mutant.label != seed.reference
        seed.iterations += 1
        if allowed:
            seed.last = mutant.image
        if self.asked.accept == "all" or (flipped and allowed):
            seed.reported = seed.reported + covered
        if flipped and allowed:
            seed.adversarials.append(replace(mutant, image=mutant.image.clone(), before=mutant.before.clone()))


def _mutants(
    moved: Float[Tensor, "n channels h w"],
    reading: NeuronActivations,
    seeds: Sequence[Progress],
    items: Sequence[Item],
    *,
    gains: Float[Tensor, " n"],
    iteration: int,
    before: Float[Tensor, "n channels h w"],
) -> Iterator[Adversarial]:
    """What each mutant would be as its seed's next adversarial; images are those of the batch, and no copies."""
    wide = torch.promote_types(moved.dtype, torch.float32)
    clean = torch.stack([seed.clean for seed in seeds]).to(wide)
    references = torch.tensor([seed.reference for seed in seeds], device=moved.device)
    change = moved.to(wide) - clean
    mean = torch.tensor(_mean_colour(clean.shape[1]), dtype=wide, device=moved.device)[:, None, None]
    l2 = torch.linalg.vector_norm(change, dim=(1, 2, 3))
    label, probabilities = reading.logits.detach().argmax(1), reading.logits.detach().softmax(1)

    columns = {
        "label": label,
        "confidence": probabilities.amax(1),
        "original_confidence": probabilities.gather(1, references[:, None])[:, 0],
        "l2": l2,
        "l2_ratio": l2 / torch.linalg.vector_norm(clean - mean, dim=(1, 2, 3)),
        "linf": change.abs().amax((1, 2, 3)),
        "rms": rms(change).flatten(),
        "coverage_gain": gains,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    for image, began, seed, item, row in zip(moved, before, seeds, items, rows, strict=True):
        yield Adversarial(
            k=len(seed.adversarials),
            pop=seed.pops - 1,
            depth=item.depth,
            iteration=iteration,
            image=image,
            before=began,
            **dict(zip(columns, row, strict=True)),
        )


def _mean_colour(channels: int) -> tuple[float, ...]:
    """ImageNet's mean colour; its mean grey for images of other than three channels."""
    return MEAN_COLOUR if channels == 3 else (sum(MEAN_COLOUR) / 3,) * channels


def _log(seeds: Sequence[Progress], classes: Tensor | None, coverage: Tensor | None) -> None:
    if classes is not None and coverage is not None:
        for seed, one, other in zip(seeds, classes.tolist(), coverage.tolist(), strict=True):
            seed.class_gradient.append(one)
            seed.coverage_gradient.append(other)
