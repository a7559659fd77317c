"""What the manifest of a noisecam2023 study says beside the usual."""

from pydantic import Field

from gazeshift.manifest import ManifestEntry, StudyManifest


class CombinationEntry(ManifestEntry):
    """A reading of the paper's NoiseCAM detector: layer, normalised weights, factor, and how maps become points."""

    layer: str
    alpha_norm: str
    factor: str
    binarise: str


class PartsEntry(ManifestEntry):
    """Images that calibrate, and those that test."""

    calibration: int
    test: int


class NoisecamAsked(ManifestEntry):
    """What the page needs of the settings: where examples come from, noisy versions of an image, examples shown."""

    set: str | None
    attack: str
    noise_images: int
    gallery: int


class NoisecamManifest(StudyManifest):
    """A noisecam2023 study's manifest.

    Args:
        examples: found.
        parts: of the images.
        noise_layers: layers of the combinations.
        main: the combination that was followed through all strengths.
        detectors: settings of both, whose names are their own.
        probe: layer of the deviation.
        behaviour_examples: that the deviation saw.
        asked: part of the settings.
    """

    examples: int
    parts: PartsEntry
    noise_layers: tuple[str, ...]
    main: CombinationEntry
    detectors: dict[str, dict[str, object]]
    probe: str
    behaviour_examples: int
    asked: NoisecamAsked = Field(validation_alias="settings", exclude=True)
