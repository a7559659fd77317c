"""What a DLFuzz run found: a record per seed, and tables that can be added up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.errors import SettingsError, check_known
from gazeshift.models import coverage_curve
from gazeshift.summaries import Summary, levels, listed, percent, plural, size

PICKS = ("first", "min_l2", "all")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DLFuzzTables(Summary):
    """How often each neuron was covered. Tables of shards are added: ``first + second``.

    Args:
        evaluated: over every evaluated image (``times1``): seeds, queue items, mutants. Guides choice and queue.
        reported: over seeds and accepted mutants alone (``times2``): the coverage that is reported.
    """

    evaluated: Int[Tensor, " neurons"]
    reported: Int[Tensor, " neurons"]

    def __add__(self, other: "DLFuzzTables") -> "DLFuzzTables":
        """Both together.

        Raises:
            SettingsError: they count other neurons.
        """
        if self.reported.shape != other.reported.shape:
            raise SettingsError(
                f"tables of {len(self.reported)} and {len(other.reported)} neurons do not belong together. "
                "Add tables of one model, scope and image size."
            )
        return DLFuzzTables(evaluated=self.evaluated + other.evaluated, reported=self.reported + other.reported)

    def _says(self) -> Iterator[str]:
        both = (f"{int((table > 0).sum()):,}" for table in (self.evaluated, self.reported))
        yield "{} and {} of {} covered, evaluated and reported".format(*both, plural(len(self.reported), "neuron"))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Adversarial(Summary):
    """One mutant that the model classifies otherwise than its reference.

    Args:
        k: its number among the seed's, from 0.
        pop: in which of the seed's queue items it arose, from 0; `depth`, how many items lie between that and the seed.
        iteration: after how many steps from that item, from 1.
        label: the class found, with its softmax probability `confidence`.
        original_confidence: softmax probability of the reference class.
        l2: length of the perturbation, in [0, 1] units; `linf` its largest change, `rms` its root mean square.
        l2_ratio: `l2` over the length of the seed minus ImageNet's mean colour.
        coverage_gain: share of the neurons that it covered first.
        image: (channels, h, w).
        before: the image that its last step began at (channels, h, w); the seed itself after a single step.
    """

    k: int
    pop: int
    depth: int
    iteration: int
    label: int
    confidence: float
    original_confidence: float
    l2: float
    l2_ratio: float
    linf: float
    rms: float
    coverage_gain: float
    image: Float[Tensor, "channels h w"]
    before: Float[Tensor, "channels h w"]

    def _says(self) -> Iterator[str]:
        size_of = f"L-inf {levels(self.linf)}, L2 {self.l2:.3g}"
        yield f"class {self.label} ({percent(self.confidence)}) after {plural(self.iteration, 'step')}; {size_of}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FuzzedSeed(Summary):
    """What became of one seed.

    Args:
        position: place among the seeds of the run.
        seed_index: i in the queue's threshold queue_gain / (i + 1).
        clean: the seed (channels, h, w).
        clean_label: its predicted class, with its softmax probability `clean_confidence`.
        true_label: the label given, or None.
        pops: queue items taken; `iterations`, mutants made.
        coverage_after: share of the neurons covered in the reported table that this seed went on with.
        stop_reason: ``queue empty``, ``max_pops``, or ``first adversarial`` where one is all that is asked for.
        class_gradient: root mean square of the class term's gradient at the first step of each pop, per unit of [0, 1].
        coverage_gradient: that of the coverage term.
        adversarials: in the order found.
        last: the last mutant within the limit; the seed if there is none.
    """

    position: int
    seed_index: int
    clean: Float[Tensor, "channels h w"]
    clean_label: int
    clean_confidence: float
    true_label: int | None
    pops: int
    iterations: int
    coverage_after: float
    stop_reason: str
    class_gradient: tuple[float, ...]
    coverage_gradient: tuple[float, ...]
    adversarials: tuple[Adversarial, ...]
    last: Float[Tensor, "channels h w"]

    @property
    def clean_correct(self) -> bool | None:
        """Whether the seed was classified as labelled; None without a label."""
        return None if self.true_label is None else self.clean_label == self.true_label

    def picked(self, pick: str = "first") -> tuple[Adversarial, ...]:
        """The ``first`` adversarial, the one with ``min_l2``, or ``all``; none if there is none."""
        check_known(pick, PICKS, f"no pick named '{pick}'")
        if pick == "min_l2" and self.adversarials:
            return (min(self.adversarials, key=lambda found: found.l2),)
        return self.adversarials[: None if pick == "all" else 1]

    def attacked(self, pick: str = "first") -> Float[Tensor, "channels h w"]:
        """The adversarial picked, or the last mutant if there is none."""
        found = self.picked(pick)
        return found[0].image if found else self.last

    def record(self) -> dict[str, object]:
        """Everything but the images, as JSON can hold it."""
        found = [_plain(adversarial, but=("image", "before")) for adversarial in self.adversarials]
        own = _plain(self, but=("clean", "last", "adversarials"))
        return own | {"clean_correct": self.clean_correct, "adversarials": found}

    def _says(self) -> Iterator[str]:
        found = plural(len(self.adversarials), "adversarial")
        yield f"{size(self.clean.shape)}, class {self.clean_label}: {found}, {plural(self.iterations, 'mutant')}"
        yield from listed(len(self.adversarials), lambda at: repr(self.adversarials[at]))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FuzzResult(Summary):
    """What a run found.

    Args:
        seeds: one record per seed, in order.
        layers: name of each layer with neurons, and how many it has.
        tables: what this run counted; without the tables that it started from.
        before: the tables that it started from, or None.
        clean_covered: neurons that each clean seed covers: the seeds-only arm of a coverage curve.
        covered: neurons that each seed and what was accepted of its mutants cover.
        seconds: wall time.
    """

    seeds: tuple[FuzzedSeed, ...]
    layers: Mapping[str, int]
    tables: DLFuzzTables
    before: DLFuzzTables | None
    clean_covered: Bool[Tensor, "n neurons"]
    covered: Bool[Tensor, "n neurons"]
    seconds: float

    @property
    def coverage_curve(self) -> Float[Tensor, " n"]:
        """Reported coverage after each seed, in order."""
        return coverage_curve(self.covered, None if self.before is None else self.before.reported > 0)

    @property
    def adversarials(self) -> tuple[Adversarial, ...]:
        """All of all seeds."""
        return tuple(found for seed in self.seeds for found in seed.adversarials)

    @property
    def success_rate(self) -> float:
        """Seeds with an adversarial, over all seeds: those misclassified from the start count too, as in the paper."""
        return _mean([bool(seed.adversarials) for seed in self.seeds])

    @property
    def success_rate_clean_correct(self) -> float:
        """The same among the seeds that were classified as labelled; NaN if there is none."""
        return _mean([bool(seed.adversarials) for seed in self.seeds if seed.clean_correct])

    @property
    def mean_l2(self) -> float:
        """Over all adversarials; NaN without one."""
        return _mean([found.l2 for found in self.adversarials])

    @property
    def mean_l2_ratio(self) -> float:
        """Over all adversarials; NaN without one."""
        return _mean([found.l2_ratio for found in self.adversarials])

    def records(self) -> list[dict[str, object]]:
        """One for each seed, as JSON can hold it."""
        return [seed.record() for seed in self.seeds]

    def _says(self) -> Iterator[str]:
        found = sum(bool(seed.adversarials) for seed in self.seeds)
        covered = f"{int((self.tables.reported > 0).sum()):,} of {plural(len(self.tables.reported), 'neuron')} covered"
        yield f"{found:,} of {plural(len(self.seeds), 'seed')} with an adversarial; {covered}"
        yield from listed(len(self.seeds), lambda at: repr(self.seeds[at]).partition("\n")[0])


def no_tables(neurons: int) -> DLFuzzTables:
    """Tables of nothing."""
    return DLFuzzTables(
        evaluated=torch.zeros(neurons, dtype=torch.long), reported=torch.zeros(neurons, dtype=torch.long)
    )


def _plain(record: Adversarial | FuzzedSeed, *, but: tuple[str, ...]) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name not in but}


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values) if values else float("nan")
