"""What the manifest of the study of Chakraborty et al. 2022 says beside the usual, and the small tables beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gazeshift.data import replace_file
from gazeshift.manifest import CostEntry, ImagesEntry
from gazeshift.measures.nissim import Nissim
from gazeshift.pipeline import gaze
from gazeshift.records import Finding
from gazeshift.runs.examples import fitted
from gazeshift.runs.run import pass_seconds
from gazeshift.runs.training import History
from gazeshift.studies.chakraborty2022.collection import Collection
from gazeshift.studies.chakraborty2022.heads import PARTS
from gazeshift.studies.chakraborty2022.pictures import shown
from gazeshift.studies.chakraborty2022.rows import ChakrabortyNotes, HeadedModel


@dataclass(frozen=True, kw_only=True)
class ManifestBuilder:
    """What there is to tell.

    Args:
        found: the pictures.
        parts: of each, by its id.
        models: with the heads of the pictures that the gallery shows, by name.
        notes: of all cells.
        findings: made on the way.
    """

    found: Collection
    parts: Mapping[str, str]
    models: Mapping[str, HeadedModel]
    notes: Sequence[ChakrabortyNotes]
    findings: Sequence[Finding]

    def entries(self, tested: Mapping[str, int], heads: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The manifest's entries about models, heads and pictures.

        Args:
            tested: number of attacked images of each kind of picture.
            heads: of each kind of picture, by the model's name.
        """
        source, aligned = self.found.source, self.found.aligned
        unread = {skip.id: skip for note in self.notes for skip in note.skipped}  # every model's cells note it
        return {
            "models": {name: seen.classifier.card() for name, seen in self.models.items()},
            "conditions": {name: {"tested": count, "heads": heads[name]} for name, count in tested.items()},
            "class_names": list(self.found.names),
            "parts": {part: sum(own == part for own in self.parts.values()) for part in PARTS},
            "without_landmarks": [] if aligned is None else [vars(skip) for skip in aligned.skipped],
            "images": ImagesEntry(
                source=source.name,
                kind=source.kind,
                asked=len(source) + len(source.skipped),
                used=len(source) - len(unread),
                labels="given",
                skipped=(*source.skipped, *unread.values()),
            ),
            "preflight": [*_accuracies(heads), *self.findings],
        }

    def cost(self, images: Tensor) -> CostEntry:
        """CPU or wall time against each model's own passes, timed now; a look at the last layer counts as forward."""
        on_cpu = all(seen.classifier.device.type == "cpu" for seen in self.models.values())
        took = sum(note.cpu_seconds if on_cpu else note.seconds for note in self.notes)
        timed, needed = {}, 0.0
        for name, seen in self.models.items():
            timed[name] = pass_seconds(seen.classifier, fitted(images, seen.classifier.size, "resize"))
            made = np.sum([note.by_model.get(name, (0, 0)) for note in self.notes], axis=0)
            needed += float(made @ np.array(timed[name]))
        return CostEntry(
            clock="cpu" if on_cpu else "wall",
            seconds=round(took, 3),
            needed_seconds=round(needed, 3),
            ratio=round(took / needed, 4) if needed else None,
            pass_seconds=timed,
        )


def head_card(seen: HeadedModel, history: History) -> dict[str, Any]:
    """What the manifest says of a head: how it was trained, and where its model's maps are drawn."""
    return {
        "weights_sha256": seen.classifier.weights_sha256,
        "layer": shown(seen.last.name),
        "layer_names": [shown(name) for name in seen.last.names],
        "epochs": len(history.epochs),
        "kept": history.kept + 1,
        "validation_accuracy": history.epochs[history.kept]["score"],
    }


def _accuracies(heads: Mapping[str, Mapping[str, Any]]) -> Iterable[Finding]:
    for condition, own in heads.items():
        for name, head in own.items():
            right = f"{100 * head['validation_accuracy']:.1f} % of the validation images right"
            yield Finding(
                check=f"head of {name}, {condition} images", level="ok", detail=f"{right} after epoch {head['kept']}"
            )


def split_table(found: Collection, parts: Mapping[str, str]) -> pa.Table:
    """Class and part of every image."""
    source = found.source
    rows = [
        {"image": own, "label": label, "name": found.names[label or 0], "part": parts[own]}
        for own, label in zip(source.ids, source.labels, strict=True)
    ]
    return pa.Table.from_pylist(rows)


def unrelated(maps: pa.Table, size: tuple[int, int]) -> pa.Table:
    """NISSIM of each clean map and the next test image's, per condition and model: what unrelated maps have.

    Args:
        maps: condition, image, model, and the map as it is.
        size: height and width to enlarge them to.
    """
    rows: list[dict[str, Any]] = []
    every = maps.to_pylist()
    for condition, model in sorted({(row["condition"], row["model"]) for row in every}):
        own = [row for row in every if (row["condition"], row["model"]) == (condition, model)]
        stacked = torch.tensor(np.array([np.reshape(row["map"], (row["height"], row["width"])) for row in own]))
        large = gaze(stacked, size)
        found = Nissim()(large, large.roll(-1, 0)).tolist()
        rows += [
            {"condition": condition, "model": model, "image": row["image"], "nissim": value}
            for row, value in zip(own, found, strict=True)
        ]
    return pa.Table.from_pylist(rows)


def write_table(path: Path, table: pa.Table) -> None:
    """Replace a table in one step."""
    replace_file(path, lambda place: pq.write_table(table, place, compression="zstd"))
