"""One run of the transfer study: opens the models, fills the cells that are missing, joins and sums them up."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from gazeshift.data import ImageSource
from gazeshift.models import Classifier, load
from gazeshift.records import Finding
from gazeshift.studies._cells import SCHEMA, Cell, CellResult, Store, fingerprint
from gazeshift.studies._opening import check_first, circumstances, open_attack, open_classifier, open_images
from gazeshift.studies._transfer_cell import Show
from gazeshift.studies._transfer_table import write_tables
from gazeshift.studies.transfer import Progress, Transfer


@dataclass(frozen=True)
class TransferRun:
    """One run of the study. Models are opened once and kept; images are read anew for each source, at its size."""

    settings: Transfer
    out: Path
    command: str
    progress: Progress

    @cached_property
    def attacks(self) -> dict[str, Any]:
        """Every attack by its spec."""
        return {spec: open_attack(spec, self.settings.epsilon) for spec in self.settings.attack}

    @cached_property
    def models(self) -> dict[str, Classifier]:
        """Every model by name: first those that are attacked."""
        first = {self.settings.model: open_classifier(self.settings)}
        others = dict.fromkeys((*self.settings.sources, *self.settings.victims))
        return first | {name: load(name, device=self.settings.device) for name in others if name != self.settings.model}

    @cached_property
    def source(self) -> ImageSource:
        """The images, with labels in the classes of `model`."""
        return open_images(self.settings, self.models[self.settings.model])

    @cached_property
    def attacked(self) -> list[str]:
        """Names of the models that attacks are made on."""
        return list(dict.fromkeys((self.settings.model, *self.settings.sources)))

    def run(self) -> Path:
        """Do what is missing."""
        store, started = Store(self.out), time.monotonic()
        _ = self.attacks  # a misspelt one is refused before any model is opened
        size = min(16, self.settings.batch_size)
        findings = {name: check_first(self.models[name], self.source, size)[0] for name in self.attacked}
        store.open(self.settings.identity())
        cells = self._cells()
        total, done = len(self.source) * len(self.attacked), 0
        for name, cell in cells:
            if not store.has(cell):
                store.save(cell, self._compute(name, cell))
            done += len(cell.ids)
            self.progress(done, total, "images")
        all_cells = [cell for _, cell in cells]
        store.join(all_cells, "rows")
        notes = list(store.notes(all_cells))
        manifest = self._manifest(findings, notes, time.monotonic() - started)
        write_tables(store.folder, manifest)
        store.write_manifest(manifest)
        return store.folder

    def _cells(self) -> list[tuple[str, Cell]]:
        """Every source's batches, with its name."""
        inputs = {
            "study": "transfer 1",
            "settings": self.settings.identity() | {"images": None, "labels": None, "limit": None},
            "models": {name: model.card() for name, model in self.models.items()},
            "labels": fingerprint(self.source.labels),
        }
        step, ids = self.settings.batch_size, self.source.ids
        pieces = [(name, ids[at : at + step]) for name in self.attacked for at in range(0, len(ids), step)]
        return [
            (name, Cell(number=number, inputs=inputs | {"source": name}, ids=piece))
            for number, (name, piece) in enumerate(pieces)
        ]

    def _compute(self, name: str, cell: Cell) -> CellResult:
        started, classifier = time.monotonic(), self.models[name]
        batch = self.source.read(ids=cell.ids, preprocessing=classifier.preprocessing)
        show = Show(
            source=name,
            models=self.models,
            attacks=self.attacks,
            fit=self.settings.fit,
            rms=self.settings.rms,
            seed=self.settings.seed,
        )
        with classifier.counting() as passes:
            table, right = show.rows(batch)
        return CellResult(
            tables={"rows": table},
            notes={
                "source": name,
                "skipped": [{"id": skip.id, "reason": skip.reason} for skip in batch.skipped],
                "used": len(batch.ids),
                "right": right,
                "seconds": time.monotonic() - started,
                "forwards": passes.forwards,
                "backwards": passes.backwards,
            },
        )

    def _manifest(
        self, findings: Mapping[str, tuple[Finding, ...]], notes: list[dict[str, Any]], seconds: float
    ) -> dict[str, Any]:
        own = [note for note in notes if note["source"] == self.settings.model]
        skipped = [{"id": skip.id, "reason": skip.reason} for skip in self.source.skipped]
        return {
            "schema": SCHEMA,
            "study": "transfer",
            "status": "finished",
            "command": self.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **circumstances(self.models[self.settings.model]),
            "models": {name: model.card() for name, model in self.models.items()},
            "sources": self.attacked,
            "seed": self.settings.seed,
            "seconds": round(sum(note["seconds"] for note in notes), 3),
            "seconds_this_run": round(seconds, 3),
            "settings": self.settings.identity(),
            "images": {
                "source": self.source.name,
                "kind": self.source.kind,
                "asked": len(self.source) + len(self.source.skipped),
                "used": sum(note["used"] for note in own),
                "labels": "given" if self.source.has_labels else "predicted",
                "skipped": skipped + [entry for note in own for entry in note["skipped"]],
            },
            "preflight": [vars(finding) | {"model": name} for name, found in findings.items() for finding in found],
            "attacks": [{"name": name, "settings": vars(made)} for name, made in self.attacks.items()],
            "passes": {way: sum(note[way] for note in notes) for way in ("forwards", "backwards")},
            "notes": list(self.source.notes),
        }
