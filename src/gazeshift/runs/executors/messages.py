"""What a worker and the process that leads say to each other. An order is the path of the part to be made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ready:
    """The run is opened, and the worker waits for its first order."""


@dataclass(frozen=True)
class Done:
    """The part is written.

    Args:
        seconds: that it took.
    """

    seconds: float


@dataclass(frozen=True)
class Failed:
    """The run cannot go on.

    Args:
        error: as it was raised, with a note of where.
    """

    error: Exception


@dataclass(frozen=True)
class Died:
    """The worker is no more.

    Args:
        how: in words.
    """

    how: str


Word = Ready | Done | Failed | Died
