"""What adversarial sets do to a classifier, and whether it can be mended or taught: Ding et al. 2022."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from gazeshift.runs.settings import Names, Number, Numbers, PaperSettings, Specs, written

__all__ = ["Ding2022"]


class Ding2022(PaperSettings):
    """Paint over what a classifier sees, silence and enlarge filters, retrain it, train a detector (Ding et al. 2022).

    For each adversarial set: CAM and histograms; random pixels inside and outside the region of interest; which feature
    maps an attack changes most and least, these maps masked and their filters enlarged; the classifier trained on more
    and more adversarial examples with their true labels; and a network that learns from nothing to tell adversarial
    from clean images, beside its controls. Examples come from `sets` or `set`, or are made now.

    Example: gazeshift study ding2022 --sets aoa=sets/aoa,pgd=sets/pgd --epochs 3 --detector-epochs 5 --out ding
    """

    TRAINS: ClassVar[bool] = True
    QUICK: ClassVar[Mapping[str, object]] = {
        "examples": 4,
        "draws": 2,
        "gallery": 2,
        "epochs": 1,
        "train_batch": 8,
        "detector": "torchvision:resnet18",
        "detector_side": 64,
        "detector_epochs": 3,
    }

    sets: Names = Field((), description="Adversarial sets with names: aoa=SET1,pgd=SET2; clean images among them.")
    attack: Specs = Field(written("pgd"), description="Made now if no set is given; several make several sets.")
    epsilon: Number | None = Field(written("8/255"), description="Size of the change, for attacks that have one.")
    examples: int = Field(8, ge=1, description="Fooled images to paint over, and to try masks and filters on.")
    pixels: int = Field(100, ge=1, description="Pixels painted over.")
    level: float = Field(0.774, ge=0, le=1, description="Part of the map's range from which a pixel is in the region.")
    values: Numbers = Field(written("0,127,200,255"), description="Values painted, of 255.")
    draws: int = Field(10, ge=1, description="Draws of the pixels.")
    layers: str = Field("auto", description="Whose maps are ranked; auto: Keras's activations of a ResNet, else convs.")
    top: int = Field(10, ge=1, description="Maps at either end of the ranking.")
    factor: float = Field(1.8, gt=0, description="That filters are enlarged by.")
    sizes: Numbers = Field((), description="Adversarial examples to train on; none: 20, 40, 60 and 80 % of the set.")
    validation: int | None = Field(None, ge=1, description="Examples never trained on; none: 20 % of the set.")
    mix_clean: bool = Field(False, description="Train on the clean images of the same ids as well.")
    epochs: int = Field(10, ge=0, description="Of adversarial training; the last one counts. 0: leave it out.")
    learning_rate: Number = Field(1e-3, gt=0, description="Of Adam.")
    detector_learning_rate: Number | None = Field(None, gt=0, description="Of the detector's Adam; none: the same.")
    train_batch: int = Field(32, ge=2, description="Images in a training step.")
    patience: int | None = Field(None, ge=1, description="Stop a training after so many epochs without progress.")
    detector: str = Field("torchvision:resnet50", description="Architecture of the detector; its weights are random.")
    detector_side: int = Field(224, ge=64, description="Side of the centre crop that the detector sees.")
    detector_epochs: int = Field(30, ge=0, description="Of the detector; 0: leave it out.")
    control: bool = Field(True, description="Train the same detector on Gaussian noise of the same size as well.")
    gallery: int = Field(4, ge=0, description="Images shown.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sets and (self.set is not None or self.images is not None or self.labels is not None):
            raise ValueError("sets bring their own images: leave out --set, --images and --labels, or --sets")
        for entry in self.sets:
            name, equals, place = entry.partition("=")
            if not (equals and name.strip() and place.strip()):
                raise ValueError(f"sets are written NAME=FOLDER,NAME=FOLDER, and '{entry}' is not")
        if len(self.folders) != len(self.sets):
            raise ValueError(f"sets need different names, got {', '.join(self.sets)}")
        if any(not 0 <= value <= 255 for value in self.values) or not self.values:
            raise ValueError(f"values lie between 0 and 255, got {self.values}")
        if any(size < 1 or size != int(size) for size in self.sizes):
            raise ValueError(f"sizes are whole numbers of examples, got {self.sizes}")
        return self

    @property
    def folders(self) -> dict[str, Path]:
        """Sets by name."""
        pieces = (entry.partition("=") for entry in self.sets)
        return {name.strip(): Path(place.strip()) for name, _, place in pieces}
