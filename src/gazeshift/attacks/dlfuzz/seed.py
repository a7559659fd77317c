"""One seed of a DLFuzz run on its way, and the collection of what came of all of them."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gazeshift.attacks.dlfuzz.result import Adversarial, DLFuzzTables, FuzzedSeed, FuzzResult


@dataclass(frozen=True, eq=False)
class Item:
    """A queued image (a copy of its own), and how many items lie between it and the seed."""

    image: Tensor
    depth: int


@dataclass(kw_only=True, eq=False)
class Progress:
    """One seed on its way. `evaluated` and `reported` count what this seed added to the tables."""

    position: int
    index: int
    clean: Tensor
    true_label: int | None
    generator: torch.Generator
    evaluated: Tensor
    reported: Tensor
    queue: deque[Item] = field(init=False)
    clean_covered: Tensor | None = None
    clean_label: int = -1
    clean_confidence: float = float("nan")
    reference: int = -1
    pops: int = 0
    iterations: int = 0
    class_gradient: list[float] = field(default_factory=list)
    coverage_gradient: list[float] = field(default_factory=list)
    adversarials: list[Adversarial] = field(default_factory=list)
    last: Tensor | None = None
    stop_reason: str = ""

    def __post_init__(self) -> None:
        self.queue = deque([Item(self.clean, 0)])

    def popped(self, label: int, confidence: float, covered: Tensor, *, follow: bool) -> None:
        """Note what the popped item is; the first is the seed itself. Labels of later ones matter if `follow`."""
        if self.pops == 0:
            self.clean_label, self.clean_confidence, self.clean_covered = label, confidence, covered
            self.reported = self.reported + covered
        if self.pops == 0 or follow:
            self.reference = label
        self.pops += 1

    def finished(self, before: DLFuzzTables) -> FuzzedSeed:
        """The seed's record."""
        return FuzzedSeed(
            position=self.position,
            seed_index=self.index,
            clean=self.clean,
            clean_label=self.clean_label,
            clean_confidence=self.clean_confidence,
            true_label=self.true_label,
            pops=self.pops,
            iterations=self.iterations,
            coverage_after=((before.reported + self.reported) > 0).double().mean().item(),
            stop_reason=self.stop_reason,
            class_gradient=tuple(self.class_gradient),
            coverage_gradient=tuple(self.coverage_gradient),
            adversarials=tuple(self.adversarials),
            last=(self.clean if self.last is None else self.last).clone(),
        )


class Harvest:
    """Collects seeds as they finish, in whatever order.

    Args:
        seeds: how many there will be.
        start: the tables that the run goes on from.
    """

    def __init__(self, seeds: int, start: DLFuzzTables) -> None:
        self.start = self.tables = start
        self.records: dict[int, FuzzedSeed] = {}
        self.clean_covered = torch.zeros((seeds, len(start.reported)), dtype=torch.bool)
        self.covered = torch.zeros_like(self.clean_covered)

    def gather(self, finished: Iterable[Progress], before: DLFuzzTables) -> None:
        """Take the seeds' records, and add what they counted to the tables."""
        for seed in finished:
            self.records[seed.position] = seed.finished(before)
            self.covered[seed.position] = seed.reported > 0
            if seed.clean_covered is not None:
                self.clean_covered[seed.position] = seed.clean_covered
            self.tables = self.tables + DLFuzzTables(evaluated=seed.evaluated, reported=seed.reported)

    def result(self, layers: Mapping[str, int], before: DLFuzzTables | None, began: float) -> FuzzResult:
        """Everything, in the order of the seeds; the clock started at `began`."""
        return FuzzResult(
            seeds=tuple(self.records[position] for position in sorted(self.records)),
            layers=layers,
            tables=DLFuzzTables(
                evaluated=self.tables.evaluated - self.start.evaluated,
                reported=self.tables.reported - self.start.reported,
            ),
            before=before,
            clean_covered=self.clean_covered,
            covered=self.covered,
            seconds=time.perf_counter() - began,
        )
