"""The tables of scorecards: what every detector said of every image, clean, changed and attacked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazeshift.serve.study_explorer.tables import ALL, Filter, Page, TableStore, contains, rounded

ROWS = {"detector", "learned", "from_set", "kind", "condition", "image", "success", "suspicion", "p_value", "is_attack"}
KINDS = ("clean", "benign", "attack")
AS_FITTED = "as fitted"
ATTACKS = "all attacks"
OUTCOMES = {
    ALL: ("all", "TRUE"),
    "flagged": ("called an attack", "is_attack"),
    "passed": ("not called an attack", "NOT is_attack"),
    "missed": ("missed: it fooled the model", "kind = 'attack' AND success AND NOT is_attack"),
    "false": ("false alarm", "kind <> 'attack' AND is_attack"),
}
SORTS = {
    "suspicion": ("most suspicious", "suspicion"),
    "p_value": ("p-value", "p_value"),
    "confidence": ("confidence", "confidence"),
    "image": ("name", "image"),
}
FALLING = ("suspicion", "confidence")


class ScorecardTables:
    """Of the study ``scorecard``.

    Args:
        folder: of the study.
        order: names of the detectors, as the study was given them.
    """

    def __init__(self, folder: Path, order: Sequence[str] = ()) -> None:
        self.store = TableStore(folder, ("rows",))
        places = {name: place for place, name in enumerate(order)}
        judges = sorted(
            self.store.distinct("rows", "detector, learned, from_set"),
            key=lambda row: (*_as_fitted_first(row), places.get(row["detector"], len(places)), row["detector"]),
        )
        self.judges = {_judge(row): row for row in judges}
        conditions = [row["condition"] for row in self.store.distinct("rows", "kind, condition")]
        self.choices = (
            Filter(name="judge", label="Detector", options={name: name for name in self.judges}),
            Filter(
                name="condition",
                label="Version",
                options={ALL: "all", ATTACKS: ATTACKS, **{name: name for name in conditions}},
            ),
            Filter(name="outcome", label="Verdict", options={key: words for key, (words, _) in OUTCOMES.items()}),
        )
        self.measures = ()
        self.sorts = {key: words for key, (words, _) in SORTS.items()}
        self.columns = (
            ("condition", "Version", "text"),
            ("fooled", "Model", "chip"),
            ("verdict", "Verdict", "chip"),
            ("suspicion", "Suspicion", "number"),
            ("p_value", "p-value", "number"),
            ("confidence", "Confidence", "share"),
        )

    def listed(self, page: Page) -> dict[str, Any]:
        """Rows of one detector."""
        chosen = {choice.name: choice.taken(page.chosen) for choice in self.choices}
        bound: dict[str, Any] = dict(self.judges[chosen["judge"]])
        where = "detector = $detector AND learned = $learned AND from_set = $from_set"
        where += f" AND {OUTCOMES[chosen['outcome']][1]} AND {contains(page.search)}"
        bound |= {"search": page.search} if page.search else {}
        if chosen["condition"] == ATTACKS:
            where += " AND kind = 'attack'"
        elif chosen["condition"] != ALL:
            where, bound = f"{where} AND condition = $condition", bound | {"condition": chosen["condition"]}
        sort = page.sort if page.sort in SORTS else "suspicion"
        falling = (sort in FALLING) != page.reverse
        order = f"{SORTS[sort][1]} {'DESC' if falling else 'ASC'} NULLS LAST, image, condition"
        query = f"SELECT * FROM study_rows WHERE {where} ORDER BY {order} LIMIT {page.size} OFFSET {page.start}"  # noqa: S608
        rows = [self._row(row) for row in self.store.ask(query, **bound)]
        return {"total": self.store.count("rows", where, **bound), "rows": rows}

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return rounded(row) | {
            "number": self.store.places.get(row["image"]),
            "verdict": "attack" if row["is_attack"] else "clean",
            "fooled": _fooled(row),
        }

    def image(self, name: str) -> dict[str, Any]:
        """What every detector said of one image under every condition, from clean ones to attacks."""
        rows = self.store.ask("SELECT * FROM study_rows WHERE image = $image ORDER BY condition", image=name)
        places = {judge: place for place, judge in enumerate(self.judges)}
        rows.sort(key=lambda row: (KINDS.index(row["kind"]), places[_judge(row)]))
        verdicts = [{**self._row(row), "learned": _learned(row)} for row in rows]
        return {"layers": [], "moved": {}, "verdicts": verdicts}

    def pictured(self) -> frozenset[str]:
        """None: a scorecard keeps no pictures."""
        return frozenset()

    def kept(self, name: str, attack: str, strength: float) -> dict[str, Any]:  # noqa: ARG002
        """Nothing: a scorecard keeps no pictures."""
        return {}


def _judge(row: Mapping[str, Any]) -> str:
    """A detector, and from what it learned if that is not all it had."""
    return str(row["detector"]) if row["learned"] == AS_FITTED else f"{row['detector']}, {_learned(row)}"


def _learned(row: Mapping[str, Any]) -> str:
    return f"{row['learned']} {row['from_set']}".strip()


def _as_fitted_first(row: Mapping[str, Any]) -> tuple[bool, str, str]:
    return row["learned"] != AS_FITTED, row["learned"], row["from_set"]


def _fooled(row: Mapping[str, Any]) -> str:
    if not row["clean_correct"]:
        return "wrong before"
    if row["kind"] != "attack":
        return "right"
    return "fooled" if row["success"] else "held"
