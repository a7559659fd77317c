"""``gazeshift report DIR``."""

from pathlib import Path

from gazeshift.cli._study import write_report


def report(folder: Path, /) -> list[str]:
    """Write a study's HTML report again, from its tables alone.

    Example: gazeshift report demo-report

    Args:
        folder: a finished study's folder.
    """
    return write_report(folder)
