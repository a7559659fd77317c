"""One run of the study of Ding et al. 2022: for each set what is seen, changed, trained and shown; joined."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data import replace_file
from gazeshift.manifest import LayerEntry
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.deviation_rows import layer_entry
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.run import accuracy
from gazeshift.runs.store import Cell, fingerprint
from gazeshift.studies.ding2022.feature_maps import averaged, ranking
from gazeshift.studies.ding2022.manifest import DingManifest, DingSetEntry
from gazeshift.studies.ding2022.opened import DingRun, OpenedSet, begin, check_size, slug
from gazeshift.studies.ding2022.pictures import PAIRS, gallery_cell
from gazeshift.studies.ding2022.plan import SetPlan, baseline_check, set_entry, set_plan
from gazeshift.studies.ding2022.rows import change_cell, seen_cell
from gazeshift.studies.ding2022.settings import Ding2022
from gazeshift.studies.ding2022.training_data import forget
from gazeshift.studies.ding2022.training_stages import TrainingNotes, Trainings, checkpoint

TABLES = ("rows", "seen", "histograms", "gallery", "training", "detector", "scores", "maps2")
STAGES = {"histograms": "seen", "scores": "detector", "maps2": "detector"}  # of tables that are not their stage's main
SHARED = ("images", "labels", "limit", "model", "weights", "input_size", "classes", "seed", "device", "batch_size")


def run(settings: Ding2022, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    given = [open_pairs(place, settings) for place in settings.folders.values()]
    for source in given:
        check_size(source)
    work = begin(settings, out, **how)
    work.open()
    layers, _ = work.layers
    done = SetsDone(work)
    for name, place in (settings.folders or _made(work)).items():
        done.add(OpenedSet(work, name, place))
    entries = [layer_entry(layer).model_copy(update={"shown": name}) for name, layer in layers.items()]
    return done.finish(layers=entries)


def _made(work: DingRun) -> dict[str, Path]:
    """Folder of the set that the settings name, or of sets made now in the study's folder."""
    settings = work.settings
    if isinstance(work.source, SetSource) and settings.set is not None:
        attack = work.source.examples.manifest.get("attack") or {}
        return {str(attack.get("name") or "set"): settings.set}
    wanted = SetSettings(
        **{name: getattr(settings, name) for name in SHARED}, epsilon=settings.epsilon, health_images=0
    )
    places = {spec: work.store.folder / "sets" / slug(spec) for spec in settings.attack}
    for spec, place in places.items():
        AttackRun(spec, wanted, place, command=work.command, progress=work.progress, executor=work.executor).run()
    return places


class SetsDone:
    """The sets of a run that are done, and what they left.

    Args:
        work: the run.
    """

    def __init__(self, work: DingRun) -> None:
        self.work = work
        self.cells: dict[str, list[Cell]] = defaultdict(list)
        self.notes: list[CellNotes] = []
        self.trainings: list[TrainingNotes] = []
        self.maps: list[pa.Table] = []
        self.sets: list[DingSetEntry] = []
        self.said: list[str] = []
        self.asked = 0

    def add(self, one: OpenedSet) -> None:
        """Everything about one set."""
        work, examples = self.work, one.source.examples
        work.source = one.source
        about: dict[str, object] = {
            "set": {"name": one.name, "attack": examples.manifest.get("attack"), "examples": examples.identity}
        }  # whatever a cell depends on
        cells = self._cells("seen", **about)
        self.notes += work.do(cells, partial(one.compute, fill=seen_cell), main="seen", what=f"pairs, {one.name}")
        self.asked += len(one.source)
        self.maps.append(averaged(self._joined(cells, "sums"), one.name))
        seen = self._joined(cells, "seen")
        plan = set_plan(one, seen, ranking(self.maps[-1], work.settings.top))
        most = plan.found.most
        ends = about | {"most": most, "least": plan.found.least}
        changes = self._cells("rows", plan.chosen, **ends)
        change = partial(one.compute, fill=change_cell, given=(plan.found,))
        notes = work.do(changes, change, main="rows", what=f"images changed, {one.name}")
        gallery = self._cells("gallery", plan.shown, **ends)
        draw = partial(one.compute, fill=gallery_cell, given=(most[:PAIRS],))
        notes += work.do(gallery, draw, main="gallery", what=f"images of the gallery, {one.name}")
        self.notes += [note.beside() for note in notes]
        self._train(one, plan, about | {"labels": fingerprint(plan.labels)})
        self.sets.append(set_entry(one, seen, plan))

    def _train(self, one: OpenedSet, plan: SetPlan, about: Mapping[str, object]) -> None:
        """Adversarial training at every size, and the detector with its control."""
        settings, parts, trainings = one.settings, plan.parts, Trainings(one, plan)
        kinds = ("attacked", "gaussian")[: 1 + settings.control] if settings.detector_epochs else ()
        learned = [
            self._cell("training", **about, size=size, train=parts.train[:size], held=parts.held)
            for size in (parts.sizes if settings.epochs else ())
        ]
        judged = [
            self._cell("detector", **about, trained_on=kind, halves=plan.halves, shown=plan.shown) for kind in kinds
        ]
        notes = self.work.do(
            learned, trainings.adversarial, main="training", what=f"trainings, {one.name}", notes=TrainingNotes
        )
        notes += self.work.do(
            judged, trainings.detector, main="detector", what=f"detectors, {one.name}", notes=TrainingNotes
        )
        self.trainings += notes
        self.said += [f"{one.name}: {said}" for note in notes for said in note.checkpoints]
        forget(one.pixels, *(checkpoint(one.scratch, cell) for cell in [*learned, *judged]))

    def _cells(self, stage: str, ids: Sequence[str] | None = None, /, **about: Any) -> list[Cell]:
        """Cells over images of the present set, after those of the sets before."""
        made = self.work.cells(stage, ids=ids, first=len(self.cells[stage]), **about)
        self.cells[stage] += made
        return made

    def _cell(self, stage: str, /, **about: Any) -> Cell:
        self.cells[stage].append(self.work.cell(stage, number=len(self.cells[stage]), **about))
        return self.cells[stage][-1]

    def _joined(self, cells: Sequence[Cell], name: str) -> pa.Table:
        places = [self.work.store.place(cell, name) for cell in cells]
        return pa.concat_tables([pq.read_table(place) for place in places if place.is_file()])

    def finish(self, layers: Sequence[LayerEntry]) -> Path:
        """Join the tables and write the manifest."""
        work, store = self.work, self.work.store
        for table in TABLES:
            work.table(self.cells[STAGES.get(table, table)], table)
        maps = pa.concat_tables(self.maps)
        replace_file(store.folder / "maps.parquet", partial(pq.write_table, maps, compression="zstd"))
        unlabelled = [one.name for one in self.sets if one.labels != "given"]
        manifest = work.manifest(
            self.notes,
            DingManifest,
            preflight=(*accuracy(work.source, self.notes), *baseline_check(self.sets)),
            layers=layers,
            sets=self.sets,
            training_seconds=round(sum(note.training_seconds for note in self.trainings), 3),
            notes=[
                *self.said,
                *(
                    f"{name} has no labels: the clean image's predicted class stands in for the true one."
                    for name in unlabelled
                ),
            ],
        )
        source = ", ".join(one.source for one in self.sets)
        images = manifest.images.model_copy(update={"source": source, "asked": self.asked})
        store.write_manifest(manifest.model_copy(update={"images": images}).as_dict())
        return store.folder
