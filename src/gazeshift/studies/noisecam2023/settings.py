"""Whether NoiseCAM's clusters or one layer's deviation give an attack away (Tan et al. 2023)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from gazeshift.runs.settings import Names, Number, Numbers, PaperSettings, written

__all__ = ["Noisecam2023"]


class Noisecam2023(PaperSettings):
    """Two detectors that look at maps: NoiseCAM with DBSCAN, and the deviation of one layer (Tan et al. 2023).

    Each image is attacked; the examples found, matched Gaussian noise and the clean images are shown to both detectors
    at five strengths. Half of the images calibrate, the other half test. The report has every figure of the paper, and
    a table of all layers, weight normalisations, factors and ways to binarise that says which of them, if any,
    separates.

    Example: gazeshift study noisecam2023 --model torchvision:vgg16 --layers convs --images val/ --labels val.txt
    --out study
    """

    QUICK: ClassVar[Mapping[str, object]] = {"limit": 10, "behaviour_images": 1, "noise_images": 20, "gallery": 1}

    attack: str = Field("dlfuzz", description="One attack, with settings if wanted: pgd:epsilon=2/255")
    strengths: Numbers = Field(written("0.25,0.5,1,2,4"), description="Multiples of the perturbation and the noise.")
    layers: Names = Field(
        written("trunk"), description="Layers of figures 6 and 7: convs, blocks, trunk, names, globs."
    )
    noise_layers: Names = Field((), description="Layers for NoiseCAM; none: the second to the fifth convolution.")
    noise_layer: str = Field("auto", description="The one for all strengths; auto: the third convolution.")
    alpha_norm: Literal["none", "positive", "all"] = Field("positive", description="NoiseCAM's weights, all strengths.")
    factor: Literal["none", "logit", "prob"] = Field("none", description="NoiseCAM's factor E, for all strengths.")
    binarise: Literal["gate", "otsu", "mean_plus_k_std", "positive", "absolute"] = Field(
        "gate", description="How NoiseCAM's map becomes points in figure 8; the table has all ways."
    )
    grid: Literal["input", "native"] = Field("input", description="Cluster maps at the image's size, or at their own.")
    probe: str = Field("auto", description="Layer of the deviation; auto: the first convolution at the coarsest size.")
    cleaning: Literal["rows", "patch8", "joint_rows"] = Field("rows", description="What PCA takes as a sample.")
    noise_images: int = Field(50, ge=2, description="Noisy versions of each image for the deviation.")
    rule: Literal["quantile", "median", "mean_minus_k_std"] = Field(
        "quantile", description="The deviation's threshold."
    )
    alpha: Number = Field(0.05, gt=0, lt=1, description="Of the rule quantile.")
    behaviour_images: int | None = Field(
        None, ge=0, description="Test examples that the deviation sees, 50 looks a condition each; none: all."
    )
    calibration: Number = Field(0.5, ge=0, lt=1, description="Share of the images that calibrate and do not test.")
    gallery: int = Field(2, ge=0, description="Examples shown in the report.")

    @property
    def score(self) -> str:
        """What is differentiated, as in the paper."""
        return "logit"
