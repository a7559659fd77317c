"""What the manifest of the study of Chakraborty et al. 2022 says beside the usual."""

from pydantic import Field

from gazeshift.manifest import ManifestEntry, ModelEntry, SkippedEntry, StudyManifest


class HeadEntry(ManifestEntry):
    """A head: the hash of its model's weights, where maps are drawn, how long it was trained, and how well it does."""

    weights_sha256: str = ""
    layer: str
    layer_names: tuple[str, ...] = ()
    epochs: int
    kept: int
    validation_accuracy: float


class ConditionEntry(ManifestEntry):
    """A kind of picture: its attacked test images, and the head of each model."""

    tested: int
    heads: dict[str, HeadEntry]


class SplitEntry(ManifestEntry):
    """Images to train on, to choose the epoch by, and to test on."""

    train: int
    val: int
    test: int


class ChakrabortyAsked(ManifestEntry):
    """What the page needs of the settings: whether epsilon 0 counts as a level of VID."""

    include_zero: bool = False


class ChakrabortyManifest(StudyManifest):
    """A chakraborty2022 study's manifest.

    Args:
        unit: what a size of 1 is in images in [0, 1].
        models: with the heads of the pictures that the gallery shows, by name.
        conditions: kinds of picture, ``raw`` first.
        class_names: of the heads.
        parts: of the pictures.
        without_landmarks: pictures that could not be aligned.
        attacked: whom the black-box attack was made on.
        levels: sizes of the change, above 0.
        asked: part of the settings.
    """

    unit: float
    models: dict[str, ModelEntry]
    conditions: dict[str, ConditionEntry]
    class_names: tuple[str, ...]
    parts: SplitEntry
    without_landmarks: tuple[SkippedEntry, ...] = ()
    attacked: str
    levels: tuple[float, ...]
    asked: ChakrabortyAsked = Field(validation_alias="settings", exclude=True)
