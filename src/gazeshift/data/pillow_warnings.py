"""Pillow's warnings about odd files, silenced while it reads, in any number of threads."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Written oddly on purpose: a filter of the caller's own is never equal to it, so never removed by mistake.
_IGNORE: tuple[Any, ...] = ("ignore", None, Warning, re.compile(r"(?:PIL)\."), 0)


class _Readers:
    """How many threads are reading right now."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


_readers = _Readers()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore warnings raised by Pillow's own modules, and no others, until the last reading thread leaves.

    `warnings.catch_warnings` would not do: it saves and restores the whole list of filters, so two threads that
    leave in the wrong order would leave each other's filters behind for good. Here one entry comes and goes.
    """
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    with _readers.lock:
        _readers.count += 1
        if _IGNORE not in filters:
            filters.insert(0, _IGNORE)
    try:
        yield
    finally:
        with _readers.lock:
            _readers.count -= 1
            _forget()


def _forget() -> None:
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    if not _readers.count and _IGNORE in filters:
        filters.remove(_IGNORE)
