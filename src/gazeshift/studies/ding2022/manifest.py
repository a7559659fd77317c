"""What the manifest of the study of Ding et al. 2022 says beside the usual."""

from pydantic import Field

from gazeshift.manifest import AttackEntry, LayerEntry, ManifestEntry, StudyManifest


class ShownLayerEntry(LayerEntry):
    """A layer whose maps are ranked, and its name in the ranking."""

    shown: str


class HalvesEntry(ManifestEntry):
    """Images that the detector learned from, and those that judge it."""

    train: int
    validation: int


class DingSetEntry(ManifestEntry):
    """What was found and done in a set.

    Args:
        name: of the set.
        source: where it lies.
        attack: that made it, as the set's own manifest says.
        pairs: that could be read.
        labels: whose they are.
        clean_correct: images that the model gets right.
        fooled: those of them that are wrong after the attack.
        examples: ids of the images that were painted and masked.
        most, least: feature maps at both ends of the ranking, as layer and channel.
        filters_most, filters_least: filters that make these maps, by convolution.
        sizes: of the training sets.
        validation: examples that were never trained on.
        detector: images of either half.
    """

    name: str
    source: str
    attack: AttackEntry | None
    pairs: int
    labels: str
    clean_correct: int
    fooled: int
    examples: tuple[str, ...]
    most: tuple[tuple[str, int], ...]
    least: tuple[tuple[str, int], ...]
    filters_most: dict[str, tuple[int, ...]]
    filters_least: dict[str, tuple[int, ...]]
    sizes: tuple[int, ...]
    validation: int
    detector: HalvesEntry

    @property
    def is_pgd(self) -> bool:
        """Whether the paper's tables of its PGD set stand beside this one; else those of DAmageNet."""
        return "pgd" in f"{self.attack.name if self.attack else ''} {self.name}".lower()


class DingAsked(ManifestEntry):
    """What the page needs of the settings: how pixels were painted, and how the two networks were trained."""

    pixels: int
    draws: int
    level: float
    epochs: int
    learning_rate: float
    detector: str
    detector_side: int
    detector_epochs: int


class DingManifest(StudyManifest):
    """A ding2022 study's manifest.

    Args:
        layers: whose maps are ranked.
        sets: in order.
        training_seconds: of both trainings of all sets, which the cost leaves out.
        asked: part of the settings.
    """

    layers: tuple[ShownLayerEntry, ...] = ()
    sets: tuple[DingSetEntry, ...]
    training_seconds: float
    asked: DingAsked = Field(validation_alias="settings", exclude=True)
