"""Where DLFuzz examples move a classifier's gaze, layer by layer (Renkhoff et al. 2022)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from gazeshift.runs.settings import Names, Numbers, PaperSettings, written

__all__ = ["Renkhoff2022"]


class Renkhoff2022(PaperSettings):
    """Layer-by-layer Grad-CAM under DLFuzz and matched Gaussian noise (Renkhoff et al. 2022).

    Each image is fuzzed; the first adversarial example found is looked at in five strengths, and so is Gaussian noise
    with its mean and deviation. The report has every figure of the paper: coverage curves, maps of all layers,
    similarity to the clean map, compromise probability, and the number of compromised layers.

    Example: gazeshift study renkhoff2022 --model torchvision:vgg16 --layers convs --images val/ --labels val.txt
    --out study
    """

    QUICK: ClassVar[Mapping[str, object]] = {"limit": 10, "coverage_seeds": 2, "gallery": 1}

    attack: str = Field("dlfuzz", description="One attack, with settings if wanted: dlfuzz:iterations=1,strategies=3")
    strengths: Numbers = Field(written("0.25,0.5,1,2,4"), description="Multiples of the perturbation and the noise.")
    arithmetic: Literal["default", "released"] = Field(
        "default",
        description="released: as the paper's code scaled, the last step alone and cumulatively.",
    )
    eight_bit: Literal["none", "round", "truncate"] = Field(
        "none", description="Changed images as 8-bit files would hold them; the paper's code truncates."
    )
    space: Literal["raw", "jet"] = Field("raw", description="Compare maps, or jet pictures of them as the code did.")
    layers: Names = Field(written("trunk"), description="convs (13 of VGG-16), blocks, trunk, names, aliases or globs.")
    score: Literal["logit", "prob"] = Field("logit", description="What is differentiated; prob: after softmax.")
    coverage_seeds: int = Field(20, ge=0, description="Images of the coverage curves; 0 leaves them out.")
    gallery: int = Field(2, ge=0, description="Examples shown at every layer.")

    @field_validator("attack")
    @classmethod
    def _one_attack(cls, given: str) -> str:
        name, comma, rest = given.partition(",")
        if comma and ":" not in name:
            raise ValueError(f"this study makes one attack, got '{name}' and '{rest}': run it once for each")
        return given
