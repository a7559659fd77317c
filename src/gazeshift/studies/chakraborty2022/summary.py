"""What the study of Chakraborty et al. 2022 sums up when its cells are done: costs, accuracies, small tables."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gazeshift.manifest import CheckEntry, CostEntry
from gazeshift.measures.nissim import Nissim
from gazeshift.pipeline import gaze
from gazeshift.runs.examples import fitted
from gazeshift.runs.run import pass_seconds
from gazeshift.studies.chakraborty2022.collection import Collection
from gazeshift.studies.chakraborty2022.manifest import ConditionEntry
from gazeshift.studies.chakraborty2022.rows import ChakrabortyNotes, HeadedModel


def cost_of(models: Mapping[str, HeadedModel], notes: Sequence[ChakrabortyNotes], images: Tensor) -> CostEntry:
    """CPU or wall time against each model's own passes, timed now; a look at the last layer counts as forward."""
    on_cpu = all(seen.classifier.device.type == "cpu" for seen in models.values())
    took = sum(note.cpu_seconds if on_cpu else note.seconds for note in notes)
    timed, needed = {}, 0.0
    for name, seen in models.items():
        timed[name] = pass_seconds(seen.classifier, fitted(images, seen.classifier.size, "resize"))
        made = np.sum([note.by_model.get(name, (0, 0)) for note in notes], axis=0)
        needed += float(made @ np.array(timed[name]))
    return CostEntry(
        clock="cpu" if on_cpu else "wall",
        seconds=round(took, 3),
        needed_seconds=round(needed, 3),
        ratio=round(took / needed, 4) if needed else None,
        pass_seconds=timed,
    )


def accuracies(conditions: Mapping[str, ConditionEntry]) -> Iterator[CheckEntry]:
    """How well each head does on the validation images."""
    for condition, told in conditions.items():
        for name, head in told.heads.items():
            right = f"{100 * head.validation_accuracy:.1f} % of the validation images right"
            yield CheckEntry(
                check=f"head of {name}, {condition} images", level="ok", detail=f"{right} after epoch {head.kept}"
            )


def split_table(found: Collection, parts: Mapping[str, str]) -> pa.Table:
    """Class and part of every image."""
    ids, labels = found.source.ids, found.source.labels
    names, own = [found.names[label or 0] for label in labels], [parts[image] for image in ids]
    return pa.table({"image": list(ids), "label": list(labels), "name": names, "part": own})


def unrelated(maps: pa.Table, size: tuple[int, int]) -> pa.Table:
    """NISSIM of each clean map and the next test image's, per condition and model: what unrelated maps have.

    Args:
        maps: condition, image, model, and the map as it is.
        size: height and width to enlarge them to.
    """
    tables = []
    kinds = zip(maps["condition"].to_pylist(), maps["model"].to_pylist(), strict=True)
    for condition, model in sorted(set(kinds)):
        own = maps.filter((pc.field("condition") == condition) & (pc.field("model") == model))
        shape = own.num_rows, own["height"][0].as_py(), own["width"][0].as_py()
        flat = np.array(own["map"].to_pylist())
        large = gaze(torch.from_numpy(flat.reshape(shape)), size)
        found = Nissim()(large, large.roll(-1, 0)).tolist()
        same = {"condition": [condition] * len(found), "model": [model] * len(found)}
        tables.append(pa.table(same | {"image": own["image"], "nissim": found}))
    return pa.concat_tables(tables)
