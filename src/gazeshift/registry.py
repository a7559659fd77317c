"""Finds a part by name: ``find("attacks", "pgd")`` opens ``attacks/pgd.py``.

A part is a file; the file's name is the part's public name, and the one name in its ``__all__`` is the part.
Nothing registers itself. Other packages add parts through entry points: group ``gazeshift.attacks``,
name ``my_attack``, value ``my_package.my_attack:MyAttack``.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gazeshift.errors import MissingPackageError, SettingsError, UnknownNameError, did_you_mean

FAMILIES = ("attacks", "cams", "measures", "interventions", "models", "studies")


def names(family: str) -> list[str]:
    """Names of all parts of a family, sorted: the files of its folder, then what other packages bring."""
    return sorted({*_own(family), *_foreign(family)})


def find(family: str, name: str) -> Any:  # noqa: ANN401
    """The part of that name: a class of settings, or a function.

    Raises:
        UnknownNameError: no such part; names the nearest.
        MissingPackageError: the part needs a package that is not installed.
    """
    if name in _own(family):
        return _open(family, name)
    foreign = _foreign(family)
    if name in foreign:
        return foreign[name].load()
    raise UnknownNameError(f"no {family} named '{name}'. {did_you_mean(name, names(family))}")


def build(family: str, name: str, **settings: Any) -> Callable[..., Any]:  # noqa: ANN401
    """The part of that name, ready to call, with the given settings.

    Raises:
        SettingsError: the part has no such setting; names the nearest.
    """
    part = find(family, name)
    if not is_dataclass(part):
        if settings:
            raise SettingsError(f"{family} '{name}' has no settings, got {', '.join(settings)}. Leave them out.")
        return part  # type: ignore[no-any-return]
    known = [field.name for field in fields(part) if field.init]
    for setting in settings:
        if setting not in known:
            raise SettingsError(f"{family} '{name}' has no setting '{setting}'. {did_you_mean(setting, known)}")
    return part(**settings)  # type: ignore[operator,no-any-return]


def summary(family: str, name: str) -> str:
    """First line of the part's docstring."""
    return (find(family, name).__doc__ or "").strip().split("\n")[0]


def _own(family: str) -> list[str]:
    if family not in FAMILIES:
        raise UnknownNameError(f"no family named '{family}'. {did_you_mean(family, FAMILIES)}")
    folder = Path(__file__).parent / family
    return [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]


def _foreign(family: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"gazeshift.{family}")}


def _open(family: str, name: str) -> Any:  # noqa: ANN401
    try:
        module = importlib.import_module(f"gazeshift.{family}.{name}")
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"{family} '{name}' needs the package '{missing.name}': pip install {missing.name}"
        ) from missing
    (public,) = module.__all__
    return getattr(module, public)
