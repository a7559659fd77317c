"""``gazeshift report DIR``."""

from pathlib import Path

from gazeshift.cli._study import show_report


def report(folder: Path, /) -> None:
    """Write a study's HTML report again, from its tables alone.

    Example: gazeshift report demo-report

    Args:
        folder: a finished study's folder.
    """
    show_report(folder)
