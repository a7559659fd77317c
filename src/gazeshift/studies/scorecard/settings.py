"""What detectors are worth: attacks, benign changes and unseen attacks, with intervals."""

from pathlib import Path

from pydantic import Field, field_validator

from gazeshift.runs.detector.settings import named_folders
from gazeshift.runs.settings import Names, PairSettings, Specs, written

__all__ = ["Scorecard"]


class Scorecard(PairSettings):
    """What detectors are worth: every detector, beside the others, on the same images.

    Clean images, benign changes of them, and the examples of adversarial sets that fool the model as 8-bit files.
    A detector that learned from sets is also asked what it would say had it learned from clean images alone, from all
    sets but those of the attack in question, and from one of them alone; none of this looks at an image again.
    Detectors must have been fitted on other images than these, and calibrated on others again: both are checked.

    Example: gazeshift study scorecard --detector detector --images photos/ --labels labels.csv --set sets/pgd
    --out scorecard
    """

    detector: Names = Field(description="Folders of detectors, as FOLDER or NAME=FOLDER.")
    set: Names = Field((), description="Adversarial sets of the same images, as FOLDER or NAME=FOLDER.")
    benign: Specs = Field(
        written("jpeg:quality=75,blur:sigma=0.6"), description="Changes of clean images that are no attack."
    )
    noise_like: str = Field("", description="Set whose perturbations give the size of Gaussian noise; none: the first.")
    adaptive: Path | None = Field(None, description="JSON lines of `python -m bench adaptive`, to be shown with it.")

    @field_validator("detector", "set")
    @classmethod
    def _different_names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        named_folders(given)
        return given
