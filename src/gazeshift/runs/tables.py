"""The columns of the deviation study's tables, and how a batch becomes their rows."""

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from gazeshift.records import Attacked, Comparison, Evidence

KEYS = [("image", pa.string()), ("label", pa.int32()), ("attack", pa.string()), ("epsilon", pa.float64())]
CONDITION = [("strength", pa.float32()), ("kind", pa.string())]
ROWS = pa.schema(
    [
        *KEYS,
        *CONDITION,
        ("target", pa.string()),
        ("layer", pa.string()),
        ("layer_index", pa.int16()),
        ("cam", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float32()),
        ("blank", pa.int8()),
        ("switched", pa.bool_()),
        ("fooled", pa.bool_()),
        ("clean_correct", pa.bool_()),
    ]
)
IMAGES = pa.schema(
    [
        *KEYS,
        *CONDITION,
        ("clean_class", pa.int32()),
        ("clean_name", pa.string()),
        ("clean_confidence", pa.float32()),
        ("changed_class", pa.int32()),
        ("changed_name", pa.string()),
        ("changed_confidence", pa.float32()),
        ("margin", pa.float32()),
        *((name, pa.float32()) for name in ("psnr", "linf", "l2", "rms")),
        ("switched", pa.bool_()),
        ("success", pa.bool_()),
        ("clean_correct", pa.bool_()),
    ]
)
GALLERY = pa.schema(
    [
        ("image", pa.string()),
        ("attack", pa.string()),
        ("kind", pa.string()),
        ("target", pa.string()),
        ("layer", pa.string()),
        ("layer_index", pa.int16()),
        ("cam", pa.string()),
        ("height", pa.int16()),
        ("width", pa.int16()),
        ("map", pa.list_(pa.float32())),
        ("picture", pa.binary()),
        ("fooled", pa.bool_()),
    ]
)


class Rows:
    """Collects columns condition by condition; one table at the end."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.pieces: list[pa.Table] = []

    def add(self, n: int, **columns: Any) -> None:
        """Append n rows; a single value fills its column."""
        arrays = []
        for field in self.schema:
            given = columns[field.name]
            single = given is None or isinstance(given, str | bytes | int | float)
            arrays.append(pa.array([given] * n if single else _plain(given), type=field.type))
        self.pieces.append(pa.Table.from_arrays(arrays, schema=self.schema))

    def table(self) -> pa.Table:
        """All rows so far."""
        return pa.concat_tables(self.pieces).combine_chunks() if self.pieces else self.schema.empty_table()


def _plain(values: Any) -> Any:
    if not isinstance(values, Tensor):
        return values
    found = values.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()  # NumPy has no bfloat16


def add_comparison(
    rows: Rows,
    comparison: Comparison,
    layers: Mapping[str, int],
    ids: tuple[str, ...],
    *,
    leave_out: Collection[tuple[str, str]] = (),
    **condition: Any,
) -> None:
    """One row per layer, CAM, measure and image of a comparison, but for the (layer, CAM) pairs in `leave_out`."""
    for (layer, cam), measured in comparison.values.items():
        for measure, values in () if (layer, cam) in leave_out else measured.items():
            rows.add(
                len(ids),
                image=list(ids),
                layer=layer,
                layer_index=layers[layer],
                cam=cam,
                measure=measure,
                value=values,
                blank=comparison.blank[layer, cam],
                switched=comparison.switched,
                **condition,
            )


def add_images(rows: Rows, ids: tuple[str, ...], found: Attacked, names: Any, psnr: Tensor, **condition: Any) -> None:
    """One row per image of one condition, judged as an attack is."""
    clean, changed = found.clean_logits.softmax(1).max(1), found.logits.softmax(1).max(1)
    rows.add(
        len(ids),
        image=list(ids),
        label=found.labels,
        clean_class=clean.indices,
        clean_name=[names(int(index)) for index in clean.indices],
        clean_confidence=clean.values,
        changed_class=changed.indices,
        changed_name=[names(int(index)) for index in changed.indices],
        changed_confidence=changed.values,
        margin=found.margin,
        psnr=psnr,
        linf=found.linf,
        l2=found.l2,
        rms=found.rms,
        switched=clean.indices != changed.indices,
        success=found.success,
        clean_correct=found.clean_correct,
        **condition,
    )


def add_maps(rows: Rows, evidence: Evidence, at: int, layers: Mapping[str, int], **condition: Any) -> None:
    """All maps of one image, raw and at each layer's own resolution; undefined ones are left out."""
    for layer in evidence.layers:
        for cam in evidence.cams:
            found = evidence.maps(layer, cam)[at]
            if not found.isnan().all():
                rows.add(
                    1,
                    layer=layer,
                    layer_index=layers[layer],
                    cam=cam,
                    height=found.shape[0],
                    width=found.shape[1],
                    map=[found.flatten().cpu().numpy()],
                    picture=None,
                    **condition,
                )


def add_picture(rows: Rows, picture: bytes, **condition: Any) -> None:
    """One picture for viewing."""
    rows.add(1, layer="", layer_index=-1, cam="", height=None, width=None, map=[[]], picture=picture, **condition)
