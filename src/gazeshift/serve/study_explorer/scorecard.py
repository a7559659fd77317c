"""The tables of scorecards: what every detector said of every image, clean, changed and attacked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from gazeshift.manifest import StudyManifest
from gazeshift.serve.study_explorer.tables import (
    ALL,
    Filter,
    ImageDetails,
    KeptSide,
    Listed,
    Page,
    TableStore,
    contains,
    rounded,
)

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


class ScorecardOrder(StudyManifest):
    """What the explorer asks of a scorecard's manifest: its detectors, as the study was given them."""

    detectors: dict[str, object] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ListedDetector:
    """A detector, and what it learned from."""

    detector: str
    learned: str
    from_set: str

    @property
    def what_it_learned(self) -> str:
        """In words."""
        return f"{self.learned} {self.from_set}".strip()

    def __str__(self) -> str:
        """The detector, and from what it learned if that is not all it had."""
        return self.detector if self.learned == AS_FITTED else f"{self.detector}, {self.what_it_learned}"


@dataclass(frozen=True, kw_only=True)
class Version:
    """A kind of change of the images, and which one."""

    kind: str
    condition: str


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
            self.store.distinct("rows", ListedDetector),
            key=lambda judge: (*_as_fitted_first(judge), places.get(judge.detector, len(places)), judge.detector),
        )
        self.judges = {str(judge): judge for judge in judges}
        conditions = [version.condition for version in self.store.distinct("rows", Version)]
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

    def listed(self, page: Page) -> Listed:
        """Rows of one detector."""
        chosen = {choice.name: choice.taken(page.chosen) for choice in self.choices}
        bound = dict(vars(self.judges[chosen["judge"]]))
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
        return Listed(total=self.store.count("rows", where, **bound), rows=rows)

    def _row(self, row: Mapping[str, object]) -> dict[str, object]:
        return rounded(row) | {
            "number": self.store.places.get(str(row["image"])),
            "verdict": "attack" if row["is_attack"] else "clean",
            "fooled": _fooled(row),
        }

    def image(self, name: str) -> ImageDetails:
        """What every detector said of one image under every condition, from clean ones to attacks."""
        rows = self.store.ask("SELECT * FROM study_rows WHERE image = $image ORDER BY condition", image=name)
        places = {judge: place for place, judge in enumerate(self.judges.values())}
        rows.sort(key=lambda row: (KINDS.index(str(row["kind"])), places[_judge(row)]))
        return ImageDetails(verdicts=[{**self._row(row), "learned": _judge(row).what_it_learned} for row in rows])

    def pictured(self) -> frozenset[str]:
        """None: a scorecard keeps no pictures."""
        return frozenset()

    def kept(self, name: str, attack: str, strength: float) -> dict[str, KeptSide]:  # noqa: ARG002
        """Nothing: a scorecard keeps no pictures."""
        return {}


def _judge(row: Mapping[str, object]) -> ListedDetector:
    return ListedDetector(detector=str(row["detector"]), learned=str(row["learned"]), from_set=str(row["from_set"]))


def _as_fitted_first(judge: ListedDetector) -> tuple[bool, str, str]:
    return judge.learned != AS_FITTED, judge.learned, judge.from_set


def _fooled(row: Mapping[str, object]) -> str:
    if not row["clean_correct"]:
        return "wrong before"
    if row["kind"] != "attack":
        return "right"
    return "fooled" if row["success"] else "held"
