"""One cell of the renkhoff2022 study: seeds, the examples found, and where the gaze went at every layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.measures.psnr import Psnr
from gazeshift.records import Attacked, Batch
from gazeshift.runs.deviation_rows import DeviationCell, DeviationInputs
from gazeshift.runs.examples import SetSource, attacked_batch
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import IMAGES, Rows, add_images
from gazeshift.seeds import generator_for

GALLERY_SEEDS = 16  # seeds among which each example of the gallery may be found


@dataclass(frozen=True, kw_only=True)
class SeedExamples:
    """Where the study's examples come from.

    Args:
        spec: name of the attack, as draws and rows have it.
        made: the attack with its settings.
        source: of the images; a set brings its examples.
        last_step: scale the last step of an attack alone, from the image before it, as the released code did.
    """

    spec: str
    made: Any
    source: object
    last_step: bool = False

    @property
    def has_last_step(self) -> bool:
        """Whether the last step alone is wanted, and known: only DLFuzz tells, and only when it runs now."""
        return self.last_step and isinstance(self.made, DLFuzz) and not isinstance(self.source, SetSource)

    def __call__(self, opened: DeviationInputs, batch: Batch) -> tuple[Attacked, Tensor]:
        """The batch's examples, and the images that their change is taken from."""
        seed, model = opened.settings.seed, opened.classifier
        if not self.has_last_step:
            found = attacked_batch(model, batch, self.made, spec=self.spec, seed=seed, source=self.source)
            return found, found.clean
        return self._stepped(opened, batch)

    def _stepped(self, opened: DeviationInputs, batch: Batch) -> tuple[Attacked, Tensor]:
        model, images = opened.classifier, batch.images.to(opened.classifier.device)
        draws = [generator_for(opened.settings.seed, self.spec, name) for name in batch.ids]
        fuzzed = self.made.run(model, images, batch.labels, generator=draws, stop=self.made.pick == "first")
        made = torch.stack([seed.attacked(self.made.pick) for seed in fuzzed.seeds])
        picked = [next(iter(seed.picked(self.made.pick)), None) for seed in fuzzed.seeds]
        pairs = zip(picked, fuzzed.seeds, strict=True)
        origin = torch.stack([seed.clean if found is None else found.before for found, seed in pairs])
        with torch.no_grad():
            clean_logits, logits = model(images), model(made)
        labels = clean_logits.argmax(1) if batch.labels is None else batch.labels.to(images.device)
        judged = {"labels": labels, "clean_logits": clean_logits, "logits": logits}
        return Attacked(clean=images, images=made, forwards=0, backwards=0, **judged), origin


def seeds_cell(opened: DeviationInputs, examples: SeedExamples, gallery: int, first: int, batch: Batch) -> CellResult:
    """Tables and notes of one batch of seeds.

    Args:
        opened: the study.
        examples: where they come from.
        gallery: examples that the report shows; each cell of the first seeds keeps so many.
        first: number of the batch's first seed.
        batch: the seeds.
    """
    seeds, nothing = Rows(IMAGES), DeviationCell(opened, batch, ())
    if not batch.ids:
        return _result(nothing, seeds, right=0)
    found, origin = examples(opened, batch)
    condition = {"attack": examples.spec, "epsilon": getattr(examples.made, "epsilon", None), "kind": "example"}
    psnr = Psnr()(found.clean, found.images)
    add_images(seeds, batch.ids, found, opened.classifier.class_name, psnr, strength=1.0, **condition)
    flipped = (found.logits.argmax(1) != found.clean_logits.argmax(1)).nonzero()[:, 0]
    early = [at for at, place in enumerate(flipped.tolist()) if first + place < GALLERY_SEEDS * gallery]
    cell = DeviationCell(opened, _some(batch, found, flipped), early[:gallery])
    if len(flipped):
        cell.fill(found.pick(flipped), origin[flipped])
    return _result(cell, seeds, right=int(found.clean_correct.sum()))


def _result(cell: DeviationCell, seeds: Rows, *, right: int) -> CellResult:
    notes = cell.notes(right=right, examples=len(cell.batch.ids))
    return CellResult(cell.tables() | {"seeds": seeds.table()}, notes)


def _some(batch: Batch, found: Attacked, at: Tensor) -> Batch:
    ids: Sequence[int] = at.tolist()
    return Batch(ids=tuple(batch.ids[place] for place in ids), images=found.clean[at], labels=found.labels[at])
