"""How far an attack moves a classifier's gaze at every layer, against matched random noise (Renkhoff et al. 2022)."""

from typing import Literal

from pydantic import Field

from gazeshift.runs.settings import Names, Number, Numbers, Specs, StudySettings, written

__all__ = ["Deviation"]


class Deviation(StudySettings):
    """Attack images, and see how far the maps of every layer move, against Gaussian noise of the same size.

    Each attack's perturbation is scaled by the strengths, and so is noise with its mean and deviation. Rows hold, per
    image, strength, layer, CAM and measure, how alike the map is to the clean image's; once for each image's own class
    (`predicted`) and once for the class of the clean image (`reference`), so that a switched class can be told from a
    moved gaze.

    The first measure compares the maps of every CAM; the others, which would cost as much again, those of the first.
    """

    attack: Specs = Field(
        written("pgd"), description="Attacks, with settings if wanted: pgd:norm=l2,epsilon=3,steps=20"
    )
    epsilon: Number | None = Field(
        written("2/255"), description="Size of the change, such as 2/255, for attacks that have one."
    )
    strengths: Numbers = Field(written("0.25,0.5,1,2,4"), description="Multiples of the perturbation and the noise.")
    layers: Names = Field(written("trunk"), description="convs, blocks, trunk, names, aliases or globs.")
    cams: Specs = Field(written("all"), description="Maps to draw; all: every kind, Grad-CAM first.")
    measures: Specs = Field(
        written("all"), description="How maps are compared; all: by every measure of raw maps, cosine first."
    )
    score: Literal["logit", "prob"] = Field("logit", description="What is differentiated; prob: after softmax.")
    gallery: int = Field(6, ge=0, description="Images shown in the report's gallery.")

    def identity(self) -> dict[str, object]:  # as of `StudySettings`
        """As of every study, with the names of all CAMs and measures.

        The two measures of version 0.1 are not written down, so that its runs can still be resumed.
        """
        from gazeshift.runs.parts import FIRST_MEASURES, cam_specs, measure_specs  # loads torch

        measures = measure_specs(self.measures)
        told = super().identity() | {"cams": list(cam_specs(self.cams)), "measures": list(measures)}
        return {name: value for name, value in told.items() if name != "measures" or measures != FIRST_MEASURES}
