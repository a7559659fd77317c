"""One run of a study: what its settings name, opened; its cells done, joined, and written down in a manifest.

A study computes in stages. Each stage is a list of cells and a function from a cell to its tables; what a stage finds
may decide the next one's cells. A stage's cells end with that stage's own main table, so that several share a folder.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from gazeshift.data import ImageSource
from gazeshift.manifest import SCHEMA, CostEntry, ImagesEntry, StudyManifest
from gazeshift.models import Classifier, preflight
from gazeshift.records import Batch, Finding
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.executors.serial import Executor, Serial
from gazeshift.runs.notes import CellNotes, passes_of
from gazeshift.runs.open import circumstances, first_images, open_classifier, open_images
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.settings import PaperSettings, Progress, StudySettings
from gazeshift.runs.store import Cell, CellResult, Notes, Store, fingerprint

Settings = TypeVar("Settings", bound=StudySettings)
REPEATS = 3
TIMING_SHARE = 0.03  # of the work's seconds, spent on timing bare passes beside it


@dataclass
class CellImages:
    """The images of a cell, and afterwards what the work on them cost.

    Args:
        batch: the images that could be read; may be empty.
        costs: filled when the work is done.
    """

    batch: Batch
    costs: CellNotes = field(default_factory=CellNotes)

    def noted(self, result: CellResult) -> CellResult:
        """A result with the costs among its notes; those that it has stay."""
        own = {name: getattr(result.notes, name) for name in result.notes.model_fields_set}
        return replace(result, notes=result.notes.model_copy(update={**dict(self.costs), **own}))


class Run(Reopened, Generic[Settings]):
    """One run. In another process it is opened from its settings, and computes without a word.

    Args:
        study: its name.
        version: of its rows' meaning; another version computes every cell anew.
        settings: of the study.
        out: its folder; what an earlier run finished there is kept.
        command: for the manifest.
        progress: called with (done, total, what).
        classifier: opened from the settings if not given.
        source: likewise: images, or the examples of a set.
        executor: computes the cells; this process alone if not given.
        recipe: what opens the run in another process, if more than its study, version, settings and folder is needed.
    """

    def __init__(
        self,
        study: str,
        version: int,
        settings: Settings,
        out: Path,
        *,
        command: str = "",
        progress: Progress = lambda *_: None,
        classifier: Classifier | None = None,
        source: ImageSource | SetSource | None = None,
        executor: Executor | None = None,
        recipe: tuple[Callable[..., Any], tuple[Any, ...]] | None = None,
    ) -> None:
        self.study, self.version, self.settings = study, version, settings
        self.command, self.progress, self.executor = command, progress, executor or Serial()
        self.recipe = recipe or (Run, (study, version, settings, out))
        self.classifier = classifier or open_classifier(settings)
        if source is None:
            given = settings.set if isinstance(settings, PaperSettings) else None
            source = open_images(settings, self.classifier) if given is None else open_pairs(given, settings)
        if isinstance(source, SetSource):
            source = source.shown_to(self.classifier)
        self.source = source
        self.store = Store(Path(out))
        self.started, self.worked, self.timed = time.monotonic(), 0.0, 0.0

    @cached_property
    def first(self) -> Batch:
        """The first images that can be read, at most 16."""
        return first_images(self.classifier, self.source, min(16, self.settings.batch_size))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.first.images.shape[2], self.first.images.shape[3]

    def open(self) -> Batch:
        """Check the model on the first images, then make the folder or accept what an earlier run left there.

        Returns:
            The first images that can be read, at most 16.

        Raises:
            GazeshiftError: the model or the images cannot be used, or the folder holds something else.
        """
        self.findings = preflight(self.classifier, self.first.images, self.first.labels)
        self.store.open(self.settings.identity())
        return self.first

    def cells(
        self, stage: str = "", *, ids: Sequence[str] | None = None, size: int = 0, first: int = 0, **inputs: Any
    ) -> list[Cell]:
        """Cells of `size` images each (the settings' batch size if 0), over all images or those given.

        Args:
            stage: part of every cell's hash, beside the settings, the model's weights and the labels.
            ids: the images, in order.
            size: images of a cell.
            first: number of the first cell; those of one stage need different ones.
            inputs: whatever else the rows depend on.
        """
        given, step = tuple(self.source.ids if ids is None else ids), size or self.settings.batch_size
        pieces = [given[at : at + step] for at in range(0, len(given), step)]
        return [self.cell(stage, ids=piece, number=number, **inputs) for number, piece in enumerate(pieces, first)]

    def cell(self, stage: str, *, ids: Sequence[str] = (), number: int = 0, **inputs: Any) -> Cell:
        """One cell, such as a training."""
        return Cell(number=number, inputs={**self._inputs, "stage": stage, **inputs}, ids=tuple(ids))

    @cached_property
    def _inputs(self) -> dict[str, object]:
        """What every cell's rows depend on: not where images or sets lie, but their ids, labels and a set's content."""
        return {
            "study": f"{self.study} {self.version}",
            "settings": {name: value for name, value in self.settings.identity().items() if name != "clean"}
            | {"images": None, "labels": None, "limit": None, "set": None},
            "model": self.classifier.card(),
            "labels": fingerprint(self.source.labels),
            "examples": self.source.examples.identity if isinstance(self.source, SetSource) else None,
        }

    def do(
        self,
        cells: Sequence[Cell],
        compute: Callable[[Cell], CellResult],
        *,
        main: str = "rows",
        what: str = "images",
        notes: type[Notes] = CellNotes,  # type: ignore[assignment]  # mypy knows no default of a type variable
    ) -> list[Notes]:
        """Fill the cells that are missing, each saved as soon as it is done; gives every cell's notes.

        Args:
            cells: of one stage.
            compute: gives a cell's tables, the main one among them; can be pickled.
            main: the table that a finished cell has.
            what: is counted by the progress: the cells' ids, or the cells if they have none.
            notes: their kind.
        """
        store, total, done = replace(self.store, main=main), sum(max(1, len(cell.ids)) for cell in cells), 0

        for cell, _ in self.executor.map(compute, cells, store):
            done += max(1, len(cell.ids))
            self.progress(done, total, what)
        return list(store.notes(cells, notes))

    @contextmanager
    def reading(
        self, cell: Cell, *, classifier: Classifier | None = None, source: ImageSource | SetSource | None = None
    ) -> Iterator[CellImages]:
        """Read a cell's images for the work in the block, and note what that costs.

        Args:
            cell: whose images.
            classifier: whose preprocessing it is and whose passes are counted, if not those of the run's own.
            source: of the images, if not the run's own.
        """
        seen = classifier or self.classifier
        found = CellImages((source or self.source).read(ids=cell.ids, preprocessing=seen.preprocessing))
        wall, busy = time.monotonic(), time.process_time()
        with seen.counting() as passes:
            yield found
        seconds = time.monotonic() - wall
        found.costs = CellNotes(
            skipped=found.batch.skipped,
            used=len(found.batch.ids),
            seconds=seconds,
            cpu_seconds=time.process_time() - busy,
            forwards=passes.forwards,
            backwards=passes.backwards,
            pass_seconds=self._beside(seen, seconds),
        )

    def _beside(self, seen: Classifier, seconds: float) -> tuple[float, float] | None:
        """What a bare pass takes right now, now and then, so that `cost` compares like with like on any machine."""
        self.worked += seconds
        if seen is not self.classifier or self.timed > TIMING_SHARE * self.worked:
            return None
        started = time.monotonic()
        found = pass_seconds(seen, self.first.images, 1)
        self.timed += time.monotonic() - started
        return found

    def table(self, cells: Sequence[Cell], name: str = "rows") -> Path | None:
        """Join a stage's parts into ``NAME.parquet``; None if there is nothing to join."""
        return self.store.join(cells, name)

    def finish(self, notes: Sequence[CellNotes], kind: type[StudyManifest] = StudyManifest, /, **more: Any) -> Path:
        """Write the manifest that makes the study a finished one; arguments as of `manifest`."""
        self.store.write_manifest(self.manifest(notes, kind, **more).as_dict())
        return self.store.folder

    def manifest(
        self, notes: Sequence[CellNotes], kind: type[StudyManifest] = StudyManifest, /, **more: Any
    ) -> StudyManifest:
        """What a finished study's manifest says.

        Args:
            notes: of the cells that went over the images.
            kind: the study's own.
            more: its entries; `preflight` is added to the checks made at the beginning, and `notes` to the source's.
        """
        source, checks, said = self.source, more.pop("preflight", ()), more.pop("notes", ())
        entries = {
            "study": self.study,
            "status": "finished",
            "command": self.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **circumstances(self.classifier),
            **self.executor.card,
            "seed": self.settings.seed,
            "seconds": round(sum(note.seconds for note in notes), 3),
            "seconds_this_run": round(time.monotonic() - self.started, 3),
            "settings": self.settings.identity(),
            "images": ImagesEntry(
                source=source.name,
                kind=source.kind,
                asked=len(source) + len(source.skipped),
                used=sum(note.used for note in notes),
                labels="given" if source.has_labels else "predicted",
                skipped=(*source.skipped, *(skip for note in notes for skip in note.skipped)),
                notes=source.notes,
            ),
            "preflight": (*self.findings, *checks),
            "health": source.health if isinstance(source, SetSource) else (),
            "passes": passes_of(notes),
            "cost": more.pop("cost", None) or self.cost(notes),
            "notes": (*source.notes, *said),
        }
        return kind(schema=SCHEMA, **entries | more)

    def cost(self, notes: Sequence[CellNotes]) -> CostEntry:
        """What the study took, against its forward and backward passes alone, timed on the first images between cells.

        CPU time where the model runs on a CPU, which another process's load changes little; wall time elsewhere.
        """
        on_cpu = self.classifier.device.type == "cpu"
        took = sum(note.cpu_seconds if on_cpu else note.seconds for note in notes)
        beside = [note.pass_seconds for note in notes if note.pass_seconds is not None]
        beside = beside or [pass_seconds(self.classifier, self.first.images)]
        forward, backward = (sum(times) / len(beside) for times in zip(*beside, strict=True))
        passes = passes_of(notes)
        needed = passes.forwards * forward + passes.backwards * backward
        return CostEntry(
            clock="cpu" if on_cpu else "wall",
            seconds=round(took, 3),
            forward_seconds=forward,
            backward_seconds=backward,
            needed_seconds=round(needed, 3),
            ratio=round(took / needed, 4) if needed else None,
        )


def pass_seconds(classifier: Classifier, images: torch.Tensor, repeats: int = REPEATS) -> tuple[float, float]:
    """Seconds per image of a forward pass, and of a backward pass to the image; the fastest of some repeats."""
    images, on_cpu = images.to(classifier.device), classifier.device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    found = []
    for _ in range(repeats + 1):  # the first one warms up
        stamps = [clock()]
        with torch.no_grad():
            classifier(images)
        stamps.append(_settled(classifier, clock))
        asked = images.clone().requires_grad_()
        torch.autograd.grad(classifier(asked).amax(1).sum(), asked)
        stamps.append(_settled(classifier, clock))
        found.append((stamps[1] - stamps[0], stamps[2] - stamps[1]))
    forward, both = (min(times) / max(1, len(images)) for times in zip(*found[1:], strict=True))
    return forward, max(0.0, both - forward)


def _settled(classifier: Classifier, clock: Callable[[], float]) -> float:
    if classifier.device.type == "cuda":
        torch.cuda.synchronize(classifier.device)
    return clock()


def accuracy(source: ImageSource | SetSource, notes: Sequence[CellNotes]) -> tuple[Finding, ...]:
    """Top-1 accuracy over all images, from each cell's `right` and `used`; nothing without labels."""
    if not source.has_labels:
        return ()
    right, n = sum(note.right for note in notes), sum(note.used for note in notes)
    detail = f"top-1 accuracy {right / max(n, 1):.3f} on all {n} labelled images ({right} right)"
    return (Finding(check="accuracy on all images", level="ok", detail=detail),)
