"""Settings of the runs that make a detector, and that promise its rate of false alarms anew."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from gazeshift.runs.settings import Names, Number, PairSettings, StudySettings

RATE = (
    "Share of clean images that may be called attacks; 0.05 needs 19 clean images to be calibrated on, 0.01 needs 99."
)


def named_folders(entries: tuple[str, ...]) -> Mapping[str, Path]:
    """``pgd=sets/pgd`` and ``sets/aoa`` as names and folders; a folder without a name has its own."""
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, place = entry.partition("=")
        found[name if equals else Path(entry).name] = Path(place if equals else entry)
    if len(found) < len(entries):
        raise ValueError("different names are wanted: write NAME=FOLDER")
    return found


class FitSettings(PairSettings):
    """What making a detector needs to know."""

    detector: str = Field("stability", description="See `gazeshift list detectors`; settings after a colon.")
    set: Names = Field((), description="Adversarial sets to learn from as well, as FOLDER or NAME=FOLDER; else none.")
    false_alarms: Number = Field(0.05, gt=0, lt=1, description=RATE)
    share: Number = Field(
        0.4, gt=0, lt=1, description="Part of the clean images that the threshold rests on; it learns from the others."
    )

    @field_validator("set")
    @classmethod
    def _different_names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        named_folders(given)
        return given


class CalibrateSettings(StudySettings):
    """What a new promise of an old detector needs to know."""

    detector: Path = Field(description="Folder of the detector.")
    false_alarms: Number | None = Field(None, gt=0, lt=1, description="Another rate; none: the detector's own.")
