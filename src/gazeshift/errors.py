"""What can go wrong, as a tree. Every message says what was wanted, what came, where, and what to do.

Each error derives from `GazeshiftError` and from the built-in that a caller would expect, so that
``except ValueError`` keeps working and ``except GazeshiftError`` catches everything a user can cause.
"""

import difflib
from collections.abc import Collection, Iterable


class GazeshiftError(Exception):
    """Something the user can mend. The message is meant to be read by a person, without a traceback."""

    def __str__(self) -> str:
        """The message as written; `KeyError` alone would show it in quotes."""
        return " ".join(str(part) for part in self.args)


class BoundsError(GazeshiftError, ValueError):
    """A number, or an image's values, lie outside what is allowed."""


class SettingsError(GazeshiftError, ValueError):
    """Settings that do not fit together, or that the part does not have."""


class UnknownNameError(GazeshiftError, KeyError):
    """No part, model or layer of that name; the message names the nearest ones."""


class ModelError(GazeshiftError, ValueError):
    """A model that cannot be loaded, or does not behave as a classifier."""


class NoMapsError(ModelError):
    """A model whose layers give no maps to draw. It can be attacked all the same."""


class LayerError(GazeshiftError, ValueError):
    """A layer that cannot be looked at."""


class DataError(GazeshiftError, ValueError):
    """A folder, table or file of images or labels that cannot be used."""


class ImageError(DataError):
    """One image that cannot be used. Sources of images skip it, count it and go on."""


class UnreachableError(DataError):
    """What lies at an address cannot be had now, and may be later: a run ends rather than skip it, and can go on."""


class OutputError(GazeshiftError, OSError):
    """A result that cannot be written or read back."""


class MissingPackageError(GazeshiftError, ImportError):
    """An optional package is not installed; the message says how to get it."""


class DeviceError(GazeshiftError, RuntimeError):
    """A device that this machine does not have."""


class WorkerError(GazeshiftError, RuntimeError):
    """A worker of a long run died on the same piece again and again, or cannot do its work."""


def check_known(name: object, known: Collection[str], sentence: str) -> None:
    """Refuse a name that is not known.

    Args:
        name: as it was given.
        known: all there are.
        sentence: what is wrong then, without its full stop: ``no norm named 'l3'``.

    Raises:
        UnknownNameError: the sentence, and the nearest name.
    """
    if name not in known:
        raise UnknownNameError(f"{sentence}. {did_you_mean(name, known)}")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A sentence that names the nearest known names, then all of them; what was given need not be a text.

    >>> did_you_mean("pgdd", ["fgsm", "pgd"])
    "Did you mean 'pgd'? Known: fgsm, pgd."
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Known: {shown or 'none'}."
