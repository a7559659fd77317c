"""Whether attacks made on one model fool others."""

from typing import Literal

from pydantic import Field

from gazeshift.runs.settings import Names, Number, Specs, StudySettings, written

__all__ = ["Transfer"]


class Transfer(StudySettings):
    """Make attacks on one model, and see how often others fall for them.

    Every attack is made on `model` (and on the models in `sources`) from the labels, and shown to each of these models
    and to the `victims`, beside the clean images brought to each model in the same way, which are the control. An
    image made for one input size is resized for a model of another one, bilinearly and antialiased, or padded with
    black (cropped, if it is larger) as DAmageNet does. Attacks of different size compare badly: `rms` also shows every
    perturbation scaled to one root mean square. `weights`, `input_size` and `classes` are those of `model`; all models
    must know the same classes.

    Example: gazeshift study transfer --images photos/ --labels labels.csv --attack aoa,pgd --rms 7/255 --out transfer
    """

    attack: Specs = Field(
        written("aoa,pgd,mifgsm,fgsm"), description="Attacks to compare; all others are compared with the first."
    )
    epsilon: Number | None = Field(
        None, description="Size of the change, such as 8/255, for attacks that have one; none: each attack's own."
    )
    sources: Names = Field((), description="More models to attack, besides `model`.")
    victims: Names = Field(
        written("efficientnet_lite1,efficientnet_lite2"), description="Models that are only shown what was made."
    )
    fit: Literal["resize", "pad"] = Field("resize", description="How an image is brought to another input size.")
    rms: Number | None = Field(
        None, gt=0, le=1, description="Also scale each perturbation to this root mean square, such as 7/255."
    )
