"""Differential fuzzing: mutants that cover new neurons and change the class."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._gradient import Model, own
from gazeshift.attacks._precision import inward, shown
from gazeshift.attacks.dlfuzz.choice import NeuronChoice
from gazeshift.attacks.dlfuzz.loop import Loop
from gazeshift.attacks.dlfuzz.result import DLFuzzTables, FuzzResult, no_tables
from gazeshift.attacks.dlfuzz.seed import Harvest, Progress
from gazeshift.attacks.dlfuzz.settings import DLFuzzSettings, split
from gazeshift.attacks.dlfuzz.step import Mutation
from gazeshift.errors import SettingsError
from gazeshift.models import Neurons, find_neurons
from gazeshift.precision import wide
from gazeshift.seeds import Generators, each

__all__ = ["DLFuzz"]

SIDE_BY_SIDE = defaultdict(lambda: 64, cpu=8)


@dataclass(frozen=True, kw_only=True)
class DLFuzz(DLFuzzSettings):
    """Steps that change the class and excite neurons (Guo et al. 2018, arXiv:1808.09413; Renkhoff et al. 2022, eq. 8).

    Each seed has a queue, which begins with the seed itself. An item is popped, its five best classes c1 to c5 and
    some neurons are chosen, and `iterations` steps climb ``predict_weight (c2 + c3 + c4 + c5) - c1 + coverage_weight
    (sum of the neurons' mean activations)``. A mutant that covers enough new neurons is queued; one that is classified
    otherwise than the seed is accepted. This goes on until the queue is empty.

    Seeds progress side by side and do not see each other: each goes on from the tables handed to `run` (none at
    first) with a table of its own, and all have the same `seed_index`. With a generator for each image, a seed's
    result does not depend on the batch. The published algorithm is serial: its tables and the falling threshold
    ``queue_gain / (i + 1)`` run on from seed to seed. ``tables="shared"`` does so, one seed at a time, and its
    results depend on the order of the seeds.

    Called as an attack, it gives each seed's picked adversarial, or its last mutant within `delta` if no mutant was
    accepted. The class to leave is the one that the model gives the clean image; labels are only noted. Neurons are
    those of `gazeshift.models.find_neurons`; a plain function shows only its softmax.

    Args:
        strategies: which neurons to choose. ``0`` often covered, ``1`` rarely covered, ``2`` large incoming weights,
            ``3`` near the threshold, ``uniform`` uncovered; several joined by ``+`` share `n_neurons`.
        n_neurons: how many are chosen at each pop.
        threshold: a neuron is covered if its scaled mean activation is above this.
        scope: ``all`` neurons, or those of convolutions alone (``conv_only``).
        signs: of strategy 3: ``cover`` raises neurons below the threshold; ``code`` as released.
        class_score: ``prob`` is the softmax, whose gradient vanishes where the model is sure; ``logit``.
        predict_weight: of the runners-up.
        coverage_weight: of the neurons; their activations often dwarf probabilities.
        balance: ``rms`` scales both terms' gradients to equal root mean square, whatever their weights; two backward
            passes a step.
        eps_norm: added to the gradient's root mean square per grey level (1/255); the released code has 1e-5.
        step: root mean square of a step, in [0, 1] units. Times 0.25 to 4 for the strengths of Renkhoff's figure 2.
        iterations: steps from each item.
        delta: largest length of the change, as a share of that of the seed minus ImageNet's mean colour (its mean grey
            for images of other than three channels).
        limit: ``hard`` accepts nothing beyond `delta`; ``queue`` only keeps it from the queue, as released.
        queue_gain: share of the neurons that a mutant must newly cover to be queued, over seed_index + 1.
        seed_index: i of that rule, of the first seed if tables are shared, else of every seed.
        max_pops: items taken per seed.
        reference: class to differ from: that of the ``seed``, or of the popped ``item``, as released.
        mutation: ``gradient``; ``gaussian`` replaces each step by noise of its mean and deviation, the random arm.
        accept: which mutants enter the reported table: ``flipped``, or ``all``.
        tables: ``own`` for each seed, or ``shared`` in their order.
        pick: ``first`` adversarial of a seed, or that with ``min_l2``. (``all`` are in the result of `run`.)

    Raises:
        BoundsError: a number out of range.
        UnknownNameError: no such choice.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: ClassVar[str | None] = None

    def __call__(
        self,
        model: Model,
        images: Float[Tensor, "n channels h w"],
        labels: Int[Tensor, " n"],
        *,
        generator: Generators,
    ) -> Float[Tensor, "n channels h w"]:
        """One image per seed. With one generator per image, each image's result is the same in any batch.

        Raises:
            SettingsError: ``pick="all"``, which is not one image per seed.
        """
        if self.pick == "all":
            raise SettingsError("pick='all' gives no single image per seed. Take 'first' or 'min_l2', or call run().")
        if not len(images):
            return images.clone()
        result = self.run(model, images, labels, generator=generator, stop=self.pick == "first")
        attacked = torch.stack([seed.attacked(self.pick) for seed in result.seeds])
        return inward(attacked, own(images))  # `delta` has no ball that `returned` knows

    def run(
        self,
        model: Model,
        images: Float[Tensor, "n channels h w"],
        labels: Int[Tensor, " n"] | None = None,
        *,
        generator: Generators,
        before: DLFuzzTables | None = None,
        batch_size: int | None = None,
        stop: bool = False,
    ) -> FuzzResult:
        """Everything found: a record per seed, tables and the coverage curve.

        Args:
            model: gives logits.
            images: the seeds, at least one, in [0, 1]; of half precision, they are fuzzed in float32. Their order
                matters for the curve, and for shared tables.
            labels: true classes, to note which seeds are misclassified from the start.
            generator: one for all seeds, or one per seed.
            before: tables to go on from, as an earlier run's `FuzzResult.tables`; they enter no sum of this one.
            batch_size: seeds side by side; None takes 8 on a CPU and 64 on a GPU.
            stop: a seed with an adversarial pops no more, as when called as an attack.
        """
        began = time.perf_counter()
        with torch.inference_mode(mode=False):
            model, images = shown(model, images.dtype), wide(own(images))
            neurons = find_neurons(model, images.new_full((1, *images.shape[1:]), 0.5), scope=self.scope)
            start = no_tables(len(neurons)) if before is None else before + no_tables(len(neurons))
            seeds = self._seeds(images, labels, each(generator, len(images)), start)
            harvest = Harvest(len(images), start)
            loop, size = self._loop(neurons, len(images), stop=stop), batch_size or SIDE_BY_SIDE[images.device.type]
            if self.tables == "own":
                harvest.gather(loop(seeds, start, size), start)
            else:
                for seed in seeds:
                    harvest.gather(loop([seed], harvest.tables, 1), harvest.tables)
        return harvest.result({layer.name: layer.shape[0] for layer in neurons.layers}, before, began)

    def _seeds(
        self, images: Tensor, labels: Tensor | None, generators: Sequence[torch.Generator], start: DLFuzzTables
    ) -> Iterator[Progress]:
        """Made one by one when their turn comes, with tables of nothing."""
        nothing = torch.zeros_like(start.evaluated)
        truth = [None] * len(images) if labels is None else labels.tolist()
        for at, (image, label, generator) in enumerate(zip(images, truth, generators, strict=True)):
            index = self.seed_index + (at if self.tables == "shared" else 0)
            yield Progress(
                position=at,
                index=index,
                clean=image,
                true_label=label,
                generator=generator,
                evaluated=nothing,
                reported=nothing,
            )

    def _loop(self, neurons: Neurons, total: int, *, stop: bool) -> Loop:
        choice = NeuronChoice(
            strategies=split(self.strategies),
            count=self.n_neurons,
            threshold=self.threshold,
            signs=self.signs,
            neurons=neurons,
        )
        mutation = Mutation(asked=self)
        return Loop(asked=self, neurons=neurons, choice=choice, mutation=mutation, total=total, stop_at_first=stop)
