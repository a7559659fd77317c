"""Makes an adversarial set shard by shard, and writes down what it is and whether the attack was sound."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from gazeshift.data import SET, counted, describe_shard, join_rows, set_options
from gazeshift.errors import DataError
from gazeshift.manifest import SCHEMA
from gazeshift.records import Finding, Sample, Skipped
from gazeshift.registry import setting_names
from gazeshift.runs.adversarial_set.health import judge_rows, probe
from gazeshift.runs.adversarial_set.rows import Attacker, batches_of
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.executors.serial import Executor, Serial
from gazeshift.runs.notes import CellNotes, passes_of
from gazeshift.runs.open import check_first, circumstances, open_attack, open_classifier, open_images
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.settings import Progress
from gazeshift.runs.store import Cell, CellResult, Store, fingerprint

COUNTED = ["label", "attacked_class", "clean_correct", "claimed", "success", "success_8bit", "linf", "l2"]


def make_set(spec: str, settings: SetSettings, out: Path, **how: Any) -> Path:
    """Make an adversarial set, or what is missing of it; arguments as of `AttackRun`."""
    return AttackRun(spec, settings, out, **how).run()


class AttackRun(Reopened):
    """One run: the settings with everything that they name, opened.

    Args:
        spec: an attack's name, with settings if wanted: ``pgd:norm=l2,epsilon=3``.
        settings: the rest.
        out: the set's folder; one that an earlier run left is finished.
        command: for the manifest.
        progress: called with (done, total, what).
        executor: makes the shards; this process alone if not given.
    """

    def __init__(
        self,
        spec: str,
        settings: SetSettings,
        out: Path,
        *,
        command: str = "",
        progress: Progress = lambda *_: None,
        executor: Executor | None = None,
    ) -> None:
        self.recipe = (AttackRun, (spec, settings, out))
        self.settings, self.command, self.progress = settings, command, progress
        self.executor = executor or Serial()
        made, self.classifier = open_attack(spec, settings.epsilon), open_classifier(settings)
        self.attacker = Attacker(classifier=self.classifier, made=made, spec=spec, seed=settings.seed)
        self.source = open_images(settings, self.classifier)
        self.store = Store(Path(out), **SET)
        self.done = 0

    def run(self) -> Path:
        """Make what is missing of the set; a finished one is left as it is.

        Raises:
            GazeshiftError: model, images or folder cannot be used, or the folder holds another set.
        """
        cells = self._cells()
        findings = check_first(self.classifier, self.source, min(16, self.settings.batch_size))
        self.store.open(self._identity())
        manifest = self.store.manifest() or {}
        if manifest.get("status") == "finished":
            self._remove_changed(manifest["shards"])
        missing = [cell for cell in cells if not self.store.has(cell)]
        if not missing and manifest.get("status") == "finished":
            return self.store.folder
        seconds, self.done = manifest.get("seconds", 0.0), len(self.source) - sum(len(cell.ids) for cell in missing)
        there = self.done
        for cell, took in self.executor.map(self._compute, missing, replace(self.store)):
            seconds, there = seconds + took, there + len(cell.ids)
            self.done = there
            self.progress(self.done, len(self.source), "images")
            self.store.write_manifest(manifest | {"status": "running", "seconds": seconds})
        self.store.write_manifest(self._manifest(cells, findings, seconds))
        return self.store.folder

    def _remove_changed(self, shards: Sequence[Mapping[str, str]]) -> None:
        """Shards of a finished set that are not what its manifest says: they are made anew."""
        for shard in shards:
            file = self.store.parts / Path(shard["file"]).name
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != shard["sha256"]:
                file.unlink()

    def _identity(self) -> dict[str, object]:
        """Everything that decides the set's images; another answer to any of it is another set."""
        return {
            "attack": self.attacker.spec,
            "attack_settings": self._attack_settings(),
            **self.settings.identity(),
            "weights_sha256": self.classifier.weights_sha256,
            "preprocessing": repr(self.classifier.preprocessing),
            "image_list": fingerprint([self.source.ids, self.source.labels]),
        }

    def _attack_settings(self) -> dict[str, object]:
        return {name: getattr(self.attacker.made, name) for name in setting_names(self.attacker.made)}

    def _cells(self) -> list[Cell]:
        inputs, ids, step = {"set": 1, **self._identity()}, self.source.ids, self.settings.shard_size
        return [Cell(number=at // step, inputs=inputs, ids=ids[at : at + step]) for at in range(0, len(ids), step)]

    def _compute(self, cell: Cell) -> CellResult:
        """One shard. Its notes hold nothing that differs from run to run, so the file is the same bytes again."""
        samples = list(self.source.samples(ids=cell.ids, preprocessing=self.classifier.preprocessing))
        skipped = tuple(one for one in samples if isinstance(one, Skipped))
        self.done += len(skipped)
        tables, forwards, backwards = [], 0.0, 0.0
        for batch in batches_of([one for one in samples if isinstance(one, Sample)], self.settings.batch_size):
            self.progress(self.done, len(self.source), "images")
            table, passes = self.attacker.rows(batch)
            tables.append(table)
            forwards, backwards, self.done = forwards + passes[0], backwards + passes[1], self.done + len(batch)
        joined = join_rows(tables)
        notes = CellNotes(skipped=skipped, forwards=round(forwards), backwards=round(backwards))
        return CellResult({SET["main"]: joined}, notes, options=set_options(joined))

    def _manifest(self, cells: list[Cell], findings: tuple[Finding, ...], seconds: float) -> dict[str, object]:
        """The manifest that makes the set a finished one: every shard hashed, all rows counted, the attack probed."""
        shards = [describe_shard(self.store.folder, self.store.place(cell)) for cell in cells]
        notes, source = list(self.store.notes(cells, CellNotes)), self.source
        skipped = [*map(vars, source.skipped), *(vars(skip) for note in notes for skip in note.skipped)]
        counts, health = self._judged(cells)
        return {
            "schema": SCHEMA,
            "holds": SET["holds"],
            "status": "finished",
            "command": self.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **circumstances(self.classifier),
            **self.executor.card,
            "seconds": round(seconds, 3),
            "seed": self.settings.seed,
            "attack": {
                "name": self.attacker.spec,
                "settings": self._attack_settings(),
                "norm": self.attacker.norm,
                "epsilon": self.attacker.epsilon,
            },
            "settings": self._identity(),
            "images": {
                "source": source.name,
                "kind": source.kind,
                "labels": "given" if source.has_labels else "predicted",
                "notes": list(source.notes),
            },
            "counts": {"asked": len(source) + len(source.skipped), "skipped": len(skipped), **counts},
            "skipped": skipped,
            "preflight": [vars(finding) for finding in findings],
            "health": [vars(finding) for finding in health],
            "passes": passes_of(notes).model_dump(),
            "shards": shards,
        }

    def _judged(self, cells: list[Cell]) -> tuple[dict[str, int], tuple[Finding, ...]]:
        """Sums over all rows, read a shard at a time without its pixels; and what they and the probes say."""
        total: dict[str, int] = {}
        largest = 0.0
        for cell in cells:
            table = pq.read_table(self.store.place(cell), columns=COUNTED)
            facts = {name: table.column(name).to_numpy() for name in COUNTED}
            beyond, own = self.attacker.beyond(facts)
            sums, largest = counted(facts, facts["label"]) | beyond, max(largest, own)
            total = {name: total.get(name, 0) + value for name, value in sums.items()}
        if not total["used"]:
            raise DataError(f"none of the {len(self.source)} images of {self.source.name} can be used.")
        rows = judge_rows(total, norm=self.attacker.norm, epsilon=self.attacker.epsilon, largest=largest)
        return total, (*rows, *self._probed())

    def _probed(self) -> tuple[Finding, ...]:
        count = self.settings.health_images
        if not count:
            return (Finding(check="probes", level="note", detail="not asked for: --health-images 0"),)
        alike = next(batches_of(list(self._readable(count)), count))
        known = [sample.label for sample in alike if sample.label is not None]
        labels = torch.tensor(known) if len(known) == len(alike) else None
        images, ids = torch.stack([sample.image for sample in alike]), [sample.id for sample in alike]
        return probe(self.classifier, self.attacker.made, images, labels, ids=ids, seed=self.settings.seed)

    def _readable(self, count: int) -> Iterator[Sample]:
        """The first images that can be read."""
        found = 0
        for one in self.source.samples(preprocessing=self.classifier.preprocessing):
            if isinstance(one, Sample):
                yield one
                found += 1
            if found == count:
                return
