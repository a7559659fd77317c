"""What ``manifest.json`` says of a finished study: typed, the same where it is written and where pages read it.

Entries that a reader does not know are kept, so that folders of other versions open; all have a default for what the
first versions did not say. A study that says more has a subclass in its own folder.
"""

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class ManifestEntry(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, from_attributes=True, ser_json_inf_nan="constants"
    )


class ModelEntry(ManifestEntry):
    """The model: its name, where it comes from, the hash of its weights, and how images are prepared for it."""

    name: str = "the model"
    source: str = ""
    weights_sha256: str = ""
    preprocessing: dict[str, object] = {}
    classes: int | None = None
    dtype: str = "float32"


class LayerEntry(ManifestEntry):
    """A layer: its name, what kinds of module end there, the shape of its output, its other names, what follows."""

    name: str
    kind: str = "module"
    shape: tuple[int, ...] | None = None
    aliases: tuple[str, ...] = ()
    followed_by: str = ""


class AttackEntry(ManifestEntry):
    """An attack: its name, and its settings, whose names are its own."""

    name: str
    settings: dict[str, object] = {}


class SkippedEntry(ManifestEntry):
    """A `Skipped` image: its id, and why it was not used."""

    id: str
    reason: str


class ImagesEntry(ManifestEntry):
    """The images: where from, how many were asked for and used, whose labels they have, and what was left out."""

    source: str = ""
    kind: str = ""
    asked: int = 0
    used: int = 0
    labels: str = "predicted"
    skipped: tuple[SkippedEntry, ...] = ()
    notes: tuple[str, ...] = ()


class CheckEntry(ManifestEntry):
    """A `Finding` of preflight, or of a set's health; of which model where there are several."""

    check: str = ""
    level: str = "note"
    detail: str = ""
    model: str | None = None


class MeasureEntry(ManifestEntry):
    """A measure: its range, what two equal maps have, what it is in one line; None where the range does not end."""

    name: str
    lowest: float | None
    highest: float | None
    same: float | None
    about: str = ""


class PassesEntry(ManifestEntry):
    """Images sent forward and backward through the model."""

    forwards: int = 0
    backwards: int = 0


class CostEntry(ManifestEntry):
    """What the study took, against its bare passes; per image where it says a forward or a backward pass."""

    clock: str = "cpu"
    seconds: float = 0.0
    forward_seconds: float = 0.0
    backward_seconds: float = 0.0
    needed_seconds: float = 0.0
    ratio: float | None = None


class UndefinedMaps(ManifestEntry):
    """Maps with nothing to compare: blank, or not finite.

    Args:
        cam: name of the map.
        layer: its layer.
        kind: of the images, and the class explained.
        count: such maps.
        of: all maps of that kind.
        reason: why.
    """

    cam: str
    layer: str
    kind: str
    count: int
    of: int
    reason: str

    @classmethod
    def merged(cls, entries: Iterable[Self]) -> tuple[Self, ...]:
        """Those of all cells, added up per CAM, layer, kind and reason."""
        found: dict[tuple[str, str, str, str], Self] = {}
        for entry in entries:
            key = entry.cam, entry.layer, entry.kind, entry.reason
            count, of = (found[key].count, found[key].of) if key in found else (0, 0)
            found[key] = entry.model_copy(update={"count": entry.count + count, "of": entry.of + of})
        return tuple(found.values())


class StudyManifest(ManifestEntry):
    """A finished study's manifest.

    Args:
        schema_: of the manifest.
        study: its name.
        status: ``finished``, or ``running``.
        command: that made it.
        created: when it was finished, ISO 8601 with time zone.
        gazeshift: its version.
        versions: of other packages.
        device: that computed.
        threads: of the main process.
        workers: kind and number, if there were any.
        model: the model.
        seed: of everything random.
        seconds: of all the work.
        seconds_this_run: of the last run alone.
        settings: the study's, as its settings class writes them.
        images: the images.
        preflight: checks of the model and the images.
        health: of the adversarial set, if one was given.
        passes: of the model.
        cost: against bare passes.
        notes: sentences for the reader.
        layers: in the order of the forward pass.
        cams: the maps drawn.
        measures: by which maps were compared.
        attacks: the attacks.
        undefined: maps with nothing to compare.
        poles: places where a map's formula divides by zero.
    """

    schema_: int = Field(SCHEMA, alias="schema")
    study: str = "deviation"  # the first versions had one study, and did not say
    status: str = "finished"
    command: str = ""
    created: str = ""
    gazeshift: str = "unknown"
    versions: dict[str, str] = {}
    device: str = ""
    threads: int = 0
    workers: dict[str, str | int] | None = None
    model: ModelEntry = ModelEntry()
    seed: int | None = None
    seconds: float = 0.0
    seconds_this_run: float = 0.0
    settings: dict[str, Any] = {}  # of any study; its own manifest says which of them its page reads
    images: ImagesEntry = ImagesEntry()
    preflight: tuple[CheckEntry, ...] = ()
    health: tuple[CheckEntry, ...] = ()
    passes: PassesEntry = PassesEntry()
    cost: CostEntry = CostEntry()
    notes: tuple[str, ...] = ()
    layers: tuple[LayerEntry, ...] = ()
    cams: tuple[str, ...] = ()
    measures: tuple[MeasureEntry, ...] = ()
    attacks: tuple[AttackEntry, ...] = ()
    undefined: tuple[UndefinedMaps, ...] = ()
    poles: int = 0

    def as_dict(self) -> dict[str, Any]:  # JSON
        """As ``manifest.json`` holds it: what was said, in the order above."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
