"""The long tables as arrays with one axis per condition, so that statistics need no loops over rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from gazeshift.errors import DataError
from gazeshift.manifest import AttackEntry, StudyManifest
from gazeshift.report.measure_scale import MeasureScale, scales_of
from gazeshift.report.words import levels

KINDS = ("attacked", "noise")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack at one budget.

    Args:
        name: as the tables have it.
        epsilon: its budget in [0, 1] units, or None.
        norm: the norm that the budget bounds, ``linf`` or ``l2``.
        label: how people read it: ``pgd 2/255``.
    """

    name: str
    epsilon: float | None
    norm: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Cube:
    """Values of all rows. Axes: m measures, a attacks, s strengths, k kinds, t targets, c CAMs, l layers, n images.

    Args:
        measures: in the order of the manifest.
        attacks: in the order of the manifest.
        strengths: ascending.
        targets: ``predicted`` before ``reference``.
        cams: in the order of the manifest.
        layers: in the order of the forward pass.
        images: ids, in order of appearance.
        values: what a measure says of the map and the clean one; NaN where undefined, not computed or absent.
        present: the table has this row.
        blank: a map of the pair has no positive value, so that its cosine is 0 or 1 by convention.
        switched: the class differs from that of the clean image.
        fooled: the attack succeeded at strength 1.
    """

    measures: tuple[MeasureScale, ...]
    attacks: tuple[Attack, ...]
    strengths: tuple[float, ...]
    targets: tuple[str, ...]
    cams: tuple[str, ...]
    layers: tuple[str, ...]
    images: tuple[str, ...]
    values: Float[np.ndarray, "m a s k t c l n"]
    present: Bool[np.ndarray, "m a s k t c l n"]
    blank: Bool[np.ndarray, "m a s k t c l n"]
    switched: Bool[np.ndarray, "a s k n"]
    fooled: Bool[np.ndarray, "a n"]

    def of(self, measure: str) -> Float[np.ndarray, "a s k t c l n"] | None:
        """The values of one measure, or None if the study does not have it."""
        names = [scale.name for scale in self.measures]
        return self.values[names.index(measure)] if measure in names else None


def cube(rows: pa.Table, manifest: StudyManifest) -> Cube:
    """All rows of a study (`gazeshift.report.tables_read.read_rows`), by condition.

    Raises:
        DataError: two rows for the same image, condition and measure; or a measure that the manifest does not know.
    """
    attacks = attacks_of(rows, manifest.attacks)
    strengths = tuple(sorted(set(rows["strength"].to_pylist())))
    targets = _ordered(rows["target"], ("predicted", "reference"))
    cams = _ordered(rows["cam"], manifest.cams)
    layers, images = _layers(rows), _ordered(rows["image"], ())
    measures = scales_of(manifest.measures, pc.unique(rows["measure"]).to_pylist())
    axes = [
        _codes(rows["measure"], [measure.name for measure in measures]),
        attack_codes(rows, attacks),
        _codes(rows["strength"], strengths),
        _codes(rows["kind"], KINDS),
        _codes(rows["target"], targets),
        _codes(rows["cam"], cams),
        _codes(rows["layer"], layers),
        _codes(rows["image"], images),
    ]
    shape = (len(measures), len(attacks), len(strengths), 2, len(targets), len(cams), len(layers), len(images))
    flat = np.ravel_multi_index(axes, shape)
    if len(np.unique(flat)) < len(flat):
        raise DataError("rows.parquet has two rows for the same image and condition. Run the study again.")
    return Cube(
        measures=measures,
        attacks=attacks,
        strengths=strengths,
        targets=targets,
        cams=cams,
        layers=layers,
        images=images,
        values=_scattered(flat, rows["value"], shape),
        present=_marked(axes, np.ones(len(flat), dtype=bool), shape),
        blank=_marked(axes, pc.greater(rows["blank"], 0).to_numpy(), shape),
        switched=_marked([*axes[1:4], axes[7]], _claims(rows["switched"]), (*shape[1:4], shape[7])),
        fooled=_marked([axes[1], axes[7]], _claims(rows["fooled"]), (shape[1], shape[7])),
    )


def attacks_of(rows: pa.Table, entries: Sequence[AttackEntry]) -> tuple[Attack, ...]:
    """Every attack and budget of a table, those of the manifest first and in their order."""
    norms = {entry.name: str(entry.settings.get("norm", "linf")) for entry in entries}
    rank = {name: place for place, name in enumerate(norms)}
    pairs = rows.group_by(["attack", "epsilon"]).aggregate([]).to_pylist()
    found = [(row["attack"], row["epsilon"]) for row in pairs]
    found.sort(key=lambda pair: (rank.get(pair[0], len(rank)), pair[0], pair[1] or 0))
    return tuple(_attack(name, epsilon, norms.get(name, "linf")) for name, epsilon in found)


def _attack(name: str, epsilon: float | None, norm: str) -> Attack:
    """A name that already says its epsilon is left as it is."""
    said = epsilon is None or "epsilon=" in name
    size = "" if epsilon is None else f"{epsilon:g} L2" if norm == "l2" else levels(epsilon)
    return Attack(name=name, epsilon=epsilon, norm=norm, label=name if said else f"{name} {size}")


def attack_codes(rows: pa.Table, attacks: Sequence[Attack]) -> Int[np.ndarray, " rows"]:
    """Which attack each row belongs to."""
    budgets = tuple(dict.fromkeys(attack.epsilon for attack in attacks))
    names = tuple(dict.fromkeys(attack.name for attack in attacks))
    pairs = {(attack.name, attack.epsilon): place for place, attack in enumerate(attacks)}
    table = np.array([[pairs.get((name, budget), -1) for budget in budgets] for name in names])
    chosen: Int[np.ndarray, " rows"] = table[_codes(rows["attack"], names), _codes(rows["epsilon"], budgets)]
    if (chosen < 0).any():
        raise DataError("images.parquet has an attack that rows.parquet lacks. Run the study again.")
    return chosen


def attack_place(attacks: Sequence[Attack], text: str) -> int:
    """Which attack a label or a name means; -1: none of them, as for clean images."""
    known = [attack.label for attack in attacks] + [attack.name for attack in attacks]
    return known.index(text) % len(attacks) if text in known else -1


def _layers(rows: pa.Table) -> tuple[str, ...]:
    places = rows.group_by("layer").aggregate([("layer_index", "min")]).to_pylist()
    return tuple(row["layer"] for row in sorted(places, key=lambda row: (row["layer_index_min"], row["layer"])))


def _ordered(column: pa.ChunkedArray, first: Sequence[str]) -> tuple[str, ...]:
    """The values of a column: those of `first` in its order, then the others as they appear."""
    found = pc.unique(column).to_pylist()
    return (*(name for name in first if name in found), *(name for name in found if name not in first))


def _codes(column: pa.ChunkedArray, names: Sequence[object]) -> Int[np.ndarray, " rows"]:
    """Place of every row's value among the names."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    places = {name: place for place, name in enumerate(names)}
    table = np.array([places.get(name, -1) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    codes: Int[np.ndarray, " rows"] = table[encoded.indices.to_numpy(zero_copy_only=False)]
    if (codes < 0).any():
        unknown = next(name for name in encoded.dictionary.to_pylist() if name not in places)
        raise DataError(f"rows must be one of {', '.join(map(str, names))}, got {unknown!r}. Run the study again.")
    return codes


def _claims(column: pa.ChunkedArray) -> Bool[np.ndarray, " rows"]:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=bool)


def _scattered(
    flat: Int[np.ndarray, " rows"], column: pa.ChunkedArray, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    values = np.full(int(np.prod(shape)), np.nan)
    values[flat] = pc.fill_null(column, float("nan")).to_numpy()
    return values.reshape(shape)


def _marked(
    axes: Sequence[Int[np.ndarray, " rows"]], claims: Bool[np.ndarray, " rows"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "..."]:
    """True where any row of that place says so."""
    marks = np.zeros(shape, dtype=bool)
    marks[tuple(axis[claims] for axis in axes)] = True
    return marks
