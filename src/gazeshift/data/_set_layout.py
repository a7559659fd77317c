"""How an adversarial set lies on the disk: Parquet, one row per image. docs/sets.md tells other readers the same.

The clean image and the perturbation are float32 lists in the order (channel, height, width): as many channels as there
are values for each pixel. Their float32 sum is the attacked image, bit by bit, except at the few places (about one in
5,000) where that sum rounds: there ``exact_at`` holds the position and ``exact_value`` the attacked value.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import DataError

SET = {"holds": "set", "cells": "shards", "main": "images"}  # as a folder of resumable work is told
VERSION = 1
VALUES = pa.list_(pa.float32())
FACTS = pa.schema(
    [
        ("clean_class", pa.int32()),
        ("clean_confidence", pa.float32()),
        ("attacked_class", pa.int32()),
        ("attacked_confidence", pa.float32()),
        ("margin", pa.float32()),
        ("linf", pa.float32()),
        ("l2", pa.float32()),
        ("rms", pa.float32()),
        ("clean_correct", pa.bool_()),
        ("claimed", pa.bool_()),
        ("success", pa.bool_()),
        ("success_8bit", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int32()),
        ("sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("clean", VALUES),
        ("perturbation", VALUES),
        ("exact_at", pa.list_(pa.int32())),
        ("exact_value", VALUES),
        *FACTS,
    ]
)
FEW = 1 / 16  # of an image's values are different: up to there a dictionary is smaller than the values themselves

Exact = list[tuple[np.ndarray, np.ndarray]]


def taken_apart(
    clean: Float[Tensor, "n channels h w"], attacked: Float[Tensor, "n channels h w"]
) -> tuple[Float[Tensor, "n channels h w"], Exact]:
    """Float32 perturbation, and per image the positions and attacked values where clean + perturbation rounds."""
    perturbation = attacked - clean
    bits = [values.contiguous().view(torch.int32).flatten(1) for values in (clean + perturbation, attacked)]
    rounds = bits[0] != bits[1]  # as bits, so that NaN and the sign of zero are kept too
    exact = []
    for row, values in zip(rounds, attacked.flatten(1), strict=True):
        at = row.nonzero()[:, 0]
        exact.append((at.int().numpy(), values[at].numpy()))
    return perturbation, exact


def put_together(
    clean: Float[Tensor, "n channels h w"], perturbation: Float[Tensor, "n channels h w"], exact: Exact
) -> Float[Tensor, "n channels h w"]:
    """The attacked images, the same bits that `taken_apart` was given."""
    attacked = clean + perturbation
    flat = attacked.view(len(attacked), -1)
    for row, (at, values) in zip(flat, exact, strict=True):
        if len(at):
            row[torch.from_numpy(at.astype(np.int64))] = torch.from_numpy(values.copy())
    return attacked


def set_rows(
    *,
    ids: Sequence[str],
    labels: Tensor,
    sha256: Sequence[str],
    clean: Float[Tensor, "n channels h w"],
    attacked: Float[Tensor, "n channels h w"],
    facts: Mapping[str, Tensor],
) -> pa.Table:
    """Rows of images of one size; everything lies on the CPU."""
    perturbation, exact = taken_apart(clean, attacked)
    height, width = clean.shape[2:]
    columns: dict[str, object] = {
        "id": list(ids),
        "label": labels.numpy(),
        "sha256": list(sha256),
        "height": [height] * len(ids),
        "width": [width] * len(ids),
        "clean": _lists(clean.flatten(1).numpy()),
        "perturbation": _lists(perturbation.flatten(1).numpy()),
        "exact_at": [at for at, _ in exact],
        "exact_value": [values for _, values in exact],
        **{name: values.numpy() for name, values in facts.items()},
    }
    arrays = [
        columns[field.name] if isinstance(columns[field.name], pa.Array) else pa.array(columns[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def join_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """One table from several; an empty one from none."""
    return pa.concat_tables(tables).combine_chunks() if tables else SCHEMA.empty_table()


def set_options(table: pa.Table) -> dict[str, object]:
    """Encodings for the Parquet writer, by trial on ImageNet photographs at 224 x 224 (kB an image).

    Clean: 8-bit levels are 256 different floats, so a dictionary makes a byte of each (121; 221 without). A
    perturbation of few values (sign attacks without a random start) likewise (27 to 96), any other with its bytes
    split into streams (293; 351 with a dictionary).
    """
    first = table.column("perturbation")[0].values if len(table) else np.zeros(0)
    few = len(np.unique(first)) <= FEW * len(first)
    dictionary = [name for name in SCHEMA.names if not pa.types.is_list(SCHEMA.field(name).type)]
    dictionary += ["clean.list.element", *(["perturbation.list.element"] if few else [])]
    return {
        "use_dictionary": dictionary,
        "use_byte_stream_split": [] if few else ["perturbation.list.element"],
        "compression_level": {"clean.list.element": 6},
    }


def check_layout(found: pa.Schema, where: str) -> None:
    """Refuse a table that lacks a column of the layout, or has it in another type.

    Raises:
        DataError: names the first.
    """
    for field in SCHEMA:
        at = found.get_field_index(field.name)
        if at < 0 or not found.field(at).type.equals(field.type):
            kind = "no such column" if at < 0 else f"{found.field(at).type}"
            raise DataError(f"{where} must have the column {field.name} ({field.type}), got {kind}. Make the set anew.")


def _lists(values: np.ndarray) -> pa.Array:
    """One list for each row, without copying the values."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).ravel()), type=VALUES)
