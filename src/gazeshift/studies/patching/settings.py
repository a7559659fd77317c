"""Which layers and channels cause an attack's success."""

from typing import Literal

from pydantic import Field

from gazeshift.runs.settings import Names, Number, PaperSettings, written

__all__ = ["Patching"]


class Patching(PaperSettings):
    """Put activations of the clean image into the attacked pass, and see whether the right answer comes back.

    A layer that looks elsewhere under an attack may be a symptom. It is a cause if its clean activations mend the
    answer (`restore`), and if its attacked ones break that of the clean image (`flip`). At every layer the 1, 2, 4 and
    so on channels are replaced that come first by their first-order effect on the margin, by how far they move (RMSE,
    as Ding et al. 2022 rank feature maps), or at random, which is the control. Only images that the attack fools are
    used.

    Example: gazeshift study patching --images photos/ --labels labels.csv --attack pgd --epsilon 2/255 --out patching
    """

    attack: str = Field("pgd", description="One attack, with settings if wanted: pgd:norm=l2,epsilon=3,steps=20")
    epsilon: Number | None = Field(
        written("2/255"), description="Size of the change, such as 2/255, for attacks that have one."
    )
    layers: Names = Field(written("blocks"), description="convs, blocks, trunk, names, aliases or globs.")
    unit: Literal["channels", "positions"] = Field(
        "channels", description="What is replaced: whole feature maps, or places of all maps."
    )
    factor: int = Field(2, ge=2, description="Between one number of replaced channels and the next.")
