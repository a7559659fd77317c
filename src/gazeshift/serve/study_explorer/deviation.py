"""The tables of studies that compare maps: how far each image's gaze moved, layer by layer."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from gazeshift.manifest import MeasureEntry
from gazeshift.report.measure_scale import COSINE, MeasureScale, scales_of
from gazeshift.report.tables_read import WIDE
from gazeshift.report.words import cam_name, measure_name
from gazeshift.serve.study_explorer._gallery import kept, pictured
from gazeshift.serve.study_explorer.tables import (
    ALL,
    Filter,
    ImageDetails,
    KeptSide,
    Listed,
    Page,
    TableStore,
    columns_of,
    contains,
    rounded,
)
from gazeshift.summaries import finite

ROWS = {"image", "attack", "strength", "kind", "target", "layer", "layer_index", "cam", "blank"}
LONG = {"measure", "value"}
IMAGES = {"image", "attack", "strength", "kind", "clean_name", "changed_name", "clean_correct", "success", "switched"}
OUTCOMES = {
    ALL: ("all", "TRUE"),
    "fooled": ("the attack succeeded", "success"),
    "held": ("the answer stayed right", "clean_correct AND NOT success"),
    "wrong": ("wrong before the attack", "NOT clean_correct"),
    "switched": ("the answer switched", "switched"),
}
MOVED = "moved"
SORTS = {
    MOVED: ("gaze moved most", "value"),
    "margin": ("margin", "margin"),
    "psnr": ("PSNR", "psnr"),
    "changed_confidence": ("confidence", "changed_confidence"),
    "image": ("name", "image"),
}
KINDS = ("attacked", "noise")
DEFINED = "NOT isnan(value) AND blank = 0"
CONDITION = "attack = $attack AND strength = $strength::FLOAT AND kind = $kind"
MEASURED_BY = ("attack", "strength", "kind", "target", "cam", "measure")
MAX_CONDITIONS = 12  # conditions whose numbers stay in memory

FILLED = f"""
    INSERT INTO {{table}} SELECT image, layer, CASE WHEN {DEFINED} THEN value END
    FROM study_rows WHERE {CONDITION} AND target = $target AND cam = $cam AND measure = $measure
"""  # noqa: S608
LISTED = """
    WITH measured AS (
        SELECT image, avg(value) AS value, count(*) FILTER (value IS NULL) AS undefined
        FROM {table} WHERE {layer} GROUP BY image
    )
    SELECT study_images.* EXCLUDE (attack, strength, kind), value, undefined
    FROM study_images LEFT JOIN measured USING (image) WHERE {where} ORDER BY {order} LIMIT {size} OFFSET {start}
"""
CONDITIONS = "SELECT * FROM study_images WHERE image = $image ORDER BY attack, strength, kind"
MEASURED = f"""
    SELECT attack, strength, kind, target, cam, measure, layer_index AS layer,
           CASE WHEN {DEFINED} THEN value END AS value
    FROM study_rows WHERE image = $image ORDER BY layer_index
"""  # noqa: S608
# Version 0.1 had a column for each of its measures, empty where not computed; see `gazeshift.report.tables_read`.
LENGTHENED = (
    "ALTER VIEW study_rows RENAME TO wide_rows",
    "CREATE TABLE structured AS SELECT DISTINCT cam FROM wide_rows WHERE isfinite(nissim)",
    """
    CREATE VIEW study_rows AS
    SELECT * EXCLUDE (cosine, nissim), 'cosine' AS measure, cosine AS value FROM wide_rows UNION ALL
    SELECT * EXCLUDE (cosine, nissim), 'nissim', nissim FROM wide_rows WHERE cam IN (SELECT cam FROM structured)
    """,
)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A change of every image."""

    attack: str
    strength: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class KnownMap:
    """A map that the study drew of every image."""

    layer_index: int
    layer: str
    cam: str
    target: str


@dataclass(frozen=True, kw_only=True)
class MeasuredMap:
    """What a measure says of a map of one image; None where it is undefined or blank."""

    attack: str
    strength: float
    kind: str
    target: str
    cam: str
    measure: str
    layer: int
    value: float | None

    @property
    def key(self) -> str:
        """All but the layer, as the page asks for it."""
        return "|".join((self.attack, f"{self.strength:g}", self.kind, self.target, self.cam, self.measure))


@dataclass(frozen=True, kw_only=True)
class MeasureName:
    """A measure of the rows."""

    measure: str


class DeviationTables:
    """Of the studies ``deviation``, ``renkhoff2022`` and others whose tables say how alike maps are.

    Args:
        folder: of the study.
        entries: what its manifest says of its measures.
    """

    def __init__(self, folder: Path, entries: Sequence[MeasureEntry] = ()) -> None:
        self.has_gallery = bool(columns_of(folder, "gallery"))
        tables = ("rows", "images", *(("gallery",) if self.has_gallery else ()))
        self.store = TableStore(folder, tables, listing="images")
        self._read, self._numbers, self._lock = dict[tuple[str, ...], str](), count(), threading.Lock()
        conditions = self.store.distinct("images", Condition)
        if set(WIDE) <= columns_of(folder, "rows"):
            for statement in LENGTHENED:
                self.store.ask(statement)
        drawn = self.store.sampled("rows", KnownMap)
        self.measures = scales_of(entries, self._measure_names(folder))
        layers = {row.layer: row.layer for row in drawn}
        self.layers = tuple(layers)
        strengths = sorted({row.strength for row in conditions})
        nearest = min(strengths, key=lambda value: abs(value - 1))
        kinds = {row.kind for row in conditions}
        self.choices = (
            Filter(name="attack", label="Attack", options={row.attack: row.attack for row in conditions}),
            Filter(name="strength", label="Strength", options=_numbers(strengths), first=f"{nearest:g}"),
            Filter(name="kind", label="Change", options={kind: kind for kind in KINDS if kind in kinds}),
            Filter(name="outcome", label="Outcome", options={key: words for key, (words, _) in OUTCOMES.items()}),
            Filter(name="layer", label="Layer", options={ALL: "mean of all layers", **layers}),
            Filter(name="cam", label="Map", options=_named([row.cam for row in drawn], cam_name), first="grad_cam"),
            Filter(
                name="measure",
                label="Measure",
                options={measure.name: measure_name(measure.name) for measure in self.measures},
                first=COSINE,
            ),
            Filter(
                name="target",
                label="Explained class",
                options=_named([row.target for row in drawn], _target),
                first="predicted",
            ),
        )
        self.sorts = {key: words for key, (words, _) in SORTS.items()}
        self.columns = (
            ("clean_name", "Clean answer", "text"),
            ("changed_name", "Changed answer", "text"),
            ("outcome", "Outcome", "chip"),
            ("value", "Measured", "measure"),
            ("margin", "Margin", "number"),
            ("psnr", "PSNR, dB", "number"),
        )

    def listed(self, page: Page) -> Listed:
        """Images of one condition with what a measure says of one layer's maps, or the mean of all that are defined."""
        chosen = {choice.name: choice.taken(page.chosen) for choice in self.choices}
        where = f"{CONDITION} AND {OUTCOMES[chosen['outcome']][1]} AND {contains(page.search)}"
        bound = {key: chosen[key] for key in ("attack", "strength", "kind")}
        bound |= {"search": page.search} if page.search else {}
        layer, of_layer = ("TRUE", {}) if chosen["layer"] == ALL else ("layer = $layer", {"layer": chosen["layer"]})
        ranked = SORTS[page.sort][1] if page.sort in SORTS else SORTS[MOVED][1]
        if ranked == SORTS[MOVED][1]:
            ranked = _alike(next(measure for measure in self.measures if measure.name == chosen["measure"]))
        order = f"{ranked} {'DESC' if page.reverse else 'ASC'} NULLS LAST, image"
        with self._lock:
            table = self._measured(tuple(chosen[key] for key in MEASURED_BY))
            query = LISTED.format(table=table, layer=layer, where=where, order=order, size=page.size, start=page.start)
            rows = self.store.ask(query, **bound, **of_layer)
        return Listed(total=self.store.count("images", where, **bound), rows=[self._row(row) for row in rows])

    def _measured(self, condition: tuple[str, ...]) -> str:
        """Name of a table in memory with one condition's numbers, read when they are first asked for."""
        if condition not in self._read:
            if len(self._read) >= MAX_CONDITIONS:
                self.store.ask(f"DROP TABLE {self._read.pop(next(iter(self._read)))}")
            table = f"measured_{next(self._numbers)}"
            self.store.ask(f"CREATE TABLE {table} (image VARCHAR, layer VARCHAR, value FLOAT)")
            self.store.ask(FILLED.format(table=table), **dict(zip(MEASURED_BY, condition, strict=True)))
            self._read[condition] = table
        return self._read[condition]

    def _row(self, row: Mapping[str, object]) -> dict[str, object]:
        return rounded(row) | {"number": self.store.places.get(str(row["image"])), "outcome": outcome(row)}

    def image(self, name: str) -> ImageDetails:
        """Every condition of one image, and how alike its maps are by condition, class, CAM, measure and layer."""
        rows, measured = self.store.ask(CONDITIONS, image=name), self.store.read(MeasuredMap, MEASURED, image=name)
        moved: dict[str, list[float | None]] = {}
        first = min((row.layer for row in measured), default=0)
        for row in measured:
            values = moved.setdefault(row.key, [None] * len(self.layers))
            values[row.layer - first] = None if row.value is None else finite(row.value)
        told = [{**rounded(row), "strength": f"{row['strength']:g}", "outcome": outcome(row)} for row in rows]
        return ImageDetails(layers=self.layers, moved=moved, conditions=told)

    def _measure_names(self, folder: Path) -> list[str]:
        """The measures of the rows; every cell of a study has them all."""
        is_long = columns_of(folder, "rows") >= LONG
        found = self.store.sampled("rows", MeasureName) if is_long else self.store.distinct("rows", MeasureName)
        return [row.measure for row in found]

    def pictured(self) -> frozenset[str]:
        """Images whose picture the study kept."""
        return self._pictured

    @cached_property
    def _pictured(self) -> frozenset[str]:
        return frozenset(pictured(self.store)) if self.has_gallery else frozenset()

    def kept(self, name: str, attack: str, strength: float) -> dict[str, KeptSide]:
        """Pictures and maps that the study kept of an image under an attack, at the strength that it kept them of."""
        strengths = [float(value) for value in self.choices[1].options]
        if not self.has_gallery or strength != min(strengths, key=lambda value: abs(value - 1)):
            attack = ""
        return kept(self.store, name, attack, self.layers) if self.has_gallery else {}


def outcome(row: Mapping[str, object]) -> str:
    """What a change did to an image, in one word."""
    if not row["clean_correct"]:
        return "wrong before"
    return "fooled" if row["success"] else "held"


def _alike(measure: MeasureScale) -> str:
    """What grows as maps become more alike, in SQL; see `MeasureScale.alike`."""
    if measure.same >= measure.highest:
        return "value"
    return "-value" if measure.same <= measure.lowest else f"-abs(value - {measure.same!r})"


def _named(values: Sequence[str], words: Callable[[str], str]) -> dict[str, str]:
    return {value: words(value) for value in sorted(set(values))}


def _numbers(values: list[float]) -> dict[str, str]:
    return {f"{value:g}": f"{value:g}" for value in values}


def _target(target: str) -> str:
    return {"predicted": "each picture's own", "reference": "the clean image's"}.get(target, target)
