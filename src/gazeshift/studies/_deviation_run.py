"""One run of the deviation study: opens what the settings name, fills the cells that are missing, joins them."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gazeshift.interventions.strength import Strengths
from gazeshift.models import select
from gazeshift.records import Finding, Layer
from gazeshift.registry import build
from gazeshift.studies._cells import Cell, CellResult, Store, fingerprint
from gazeshift.studies._deviation_cell import DeviationCell, Opened
from gazeshift.studies._opening import check_first, circumstances, open_attack, open_classifier, open_images
from gazeshift.studies.deviation import Deviation, Progress


class DeviationRun:
    """One run of the study: the settings with everything that they name, opened."""

    def __init__(self, settings: Deviation, out: Path, command: str, progress: Progress) -> None:
        self.settings, self.command, self.progress = settings, command, progress
        self.attacks = {spec: open_attack(spec, settings.epsilon) for spec in settings.attack}
        self.strengths = Strengths(values=settings.strengths)
        self.cams = {spec: build("cams", spec) for spec in settings.cams}
        self.classifier = open_classifier(settings)
        self.source = open_images(settings, self.classifier)
        self.store = Store(out)

    def run(self) -> Path:
        started = time.monotonic()
        findings, first = check_first(self.classifier, self.source, min(16, self.settings.batch_size))
        size = (first.images.shape[2], first.images.shape[3])
        self.layers = select(self.classifier.layers(size), self.settings.layers, self.classifier.name)
        self.opened = Opened(self.settings, self.classifier, self.attacks, self.cams, self.strengths, self.layers)
        self.store.open(self.settings.identity())
        cells = self._cells()
        for cell in cells:
            if not self.store.has(cell):
                self.store.save(cell, self._compute(cell))
            self.progress(
                min(len(self.source), (cell.number + 1) * self.settings.batch_size), len(self.source), "images"
            )
        self._finish(cells, findings, time.monotonic() - started)
        return self.store.folder

    def _cells(self) -> list[Cell]:
        inputs = {
            "study": "deviation 1",
            "settings": self.settings.identity() | {"images": None, "labels": None, "limit": None},
            "model": self.classifier.card(),
            "labels": fingerprint(self.source.labels),
        }
        step, ids = self.settings.batch_size, self.source.ids
        return [Cell(number=at // step, inputs=inputs, ids=ids[at : at + step]) for at in range(0, len(ids), step)]

    def _compute(self, cell: Cell) -> CellResult:
        started = time.monotonic()
        batch = self.source.read(ids=cell.ids, preprocessing=self.classifier.preprocessing)
        with self.classifier.counting() as passes:
            tables = DeviationCell(self.opened, batch, first=cell.number * self.settings.batch_size)
            if len(batch.ids):
                tables.fill()
        return CellResult(
            tables=tables.finished(),
            notes={
                "skipped": [{"id": skip.id, "reason": skip.reason} for skip in batch.skipped],
                "used": len(batch.ids),
                "seconds": time.monotonic() - started,
                "forwards": passes.forwards,
                "backwards": passes.backwards,
                "undefined": tables.undefined,
                "poles": tables.poles,
                "right": tables.right,
            },
        )

    def _finish(self, cells: list[Cell], findings: tuple[Finding, ...], seconds: float) -> None:
        for table in ("rows", "images", "gallery"):
            self.store.join(cells, table)
        notes = list(self.store.notes(cells))
        skipped = [*({"id": s.id, "reason": s.reason} for s in self.source.skipped), *_all(notes, "skipped")]
        self.store.write_manifest(
            {
                "schema": 1,
                "study": "deviation",
                "status": "finished",
                "command": self.command,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                **circumstances(self.classifier),
                "seed": self.settings.seed,
                "seconds": round(sum(note["seconds"] for note in notes), 3),
                "seconds_this_run": round(seconds, 3),
                "settings": self.settings.identity(),
                "images": {
                    "source": self.source.name,
                    "kind": self.source.kind,
                    "asked": len(self.source) + len(self.source.skipped),
                    "used": sum(note["used"] for note in notes),
                    "labels": "given" if self.source.has_labels else "predicted",
                    "skipped": skipped,
                },
                "preflight": [vars(finding) for finding in (*findings, *self._accuracy(notes))],
                "layers": [_layer_card(layer) for layer in self.layers],
                "cams": list(self.cams),
                "attacks": [{"name": name, "settings": vars(made)} for name, made in self.attacks.items()],
                "undefined": _merged(_all(notes, "undefined")),
                "poles": sum(note["poles"] for note in notes),
                "passes": {way: sum(note[way] for note in notes) for way in ("forwards", "backwards")},
                "notes": list(self.source.notes),
            }
        )

    def _accuracy(self, notes: list[dict[str, Any]]) -> list[Finding]:
        if not self.source.has_labels:
            return []
        right, n = sum(note["right"] for note in notes), sum(note["used"] for note in notes)
        detail = f"top-1 accuracy {right / max(n, 1):.3f} on all {n} labelled images ({right} right)"
        return [Finding(check="accuracy on all images", level="ok", detail=detail)]


def _all(notes: list[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
    return (entry for note in notes for entry in note[key])


def _merged(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Undefined maps of all cells, added up per CAM, layer and kind."""
    counts: dict[tuple[str, str, str, str], list[int]] = {}
    for entry in entries:
        total = counts.setdefault((entry["cam"], entry["layer"], entry["kind"], entry["reason"]), [0, 0])
        total[0] += entry["count"]
        total[1] += entry["of"]
    names = ("cam", "layer", "kind", "reason")
    return [dict(zip(names, key, strict=True)) | {"count": n, "of": of} for key, (n, of) in counts.items()]


def _layer_card(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": " ".join(sorted(layer.kinds)) or "module",
        "shape": layer.shape,
        "aliases": layer.aliases,
        "followed_by": layer.followed_by,
    }
