"""Commands that need more than the package itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from gazeshift.errors import MissingPackageError


@contextmanager
def needing(extra: str, command: str) -> Iterator[None]:
    """Imports inside that fail for a package say which, and which extra brings it.

    Raises:
        MissingPackageError: a package of others is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as cause:
        if (cause.name or "gazeshift").startswith("gazeshift"):
            raise
        raise MissingPackageError(
            f"gazeshift {command} needs {cause.name}, which is not installed: pip install 'gazeshift[{extra}]'"
        ) from cause
