"""Detectors that come with the package, so that an embedded model can be guarded without any data."""

from importlib.resources import files
from pathlib import Path

from gazeshift.errors import SettingsError

HOME = "shipped"


def shipped(model: str) -> Path:
    """Folder of the detector that ships for a model. `tools/ship_detector.py` makes it.

    Raises:
        SettingsError: none does; says what to do.
    """
    home = Path(str(files("gazeshift.detectors"))) / HOME
    known = sorted(folder.name for folder in home.iterdir() if folder.is_dir()) if home.is_dir() else []
    if model not in known:
        raise SettingsError(
            f"no detector ships for {model}, only for {', '.join(known) or 'no model'}. Name one: --detector FOLDER; "
            "make one: gazeshift detect fit."
        )
    return home / model
