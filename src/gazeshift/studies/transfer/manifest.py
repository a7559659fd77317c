"""What the manifest of a transfer study says beside the usual."""

from pydantic import Field

from gazeshift.manifest import ManifestEntry, ModelEntry, StudyManifest


class TransferAsked(ManifestEntry):
    """What the page needs of the settings: how an image is brought to another input size."""

    fit: str


class TransferManifest(StudyManifest):
    """A transfer study's manifest.

    Args:
        models: every model by name, in the order of the table.
        sources: names of those that were attacked.
        asked: part of the settings.
    """

    models: dict[str, ModelEntry]
    sources: tuple[str, ...]
    asked: TransferAsked = Field(validation_alias="settings", exclude=True)
