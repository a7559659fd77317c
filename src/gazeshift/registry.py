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


def find(family: str, name: str) -> Any:
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


def build(family: str, spec: str, **settings: Any) -> Callable[..., Any]:
    """The part that a spec names, ready to call.

    Args:
        family: ``attacks``, ``cams``, ``measures``...
        spec: a name, with settings after a colon if wanted: ``pgd:norm=l2,epsilon=3,steps=20``.
        settings: more settings; those in the spec win.

    Raises:
        UnknownNameError: no such part.
        SettingsError: the part has no such setting (names the nearest), or the spec is not of that form.

    >>> build("attacks", "pgd:epsilon=2/255,steps=5", steps=10)
    Pgd(norm='linf', epsilon=0.00784313725490196, step=None, steps=5, random_start=True)
    """
    name, written = parse(spec)
    part, settings = find(family, name), settings | written
    known = accepted(part)
    for setting in settings:
        if setting not in known:
            hint = did_you_mean(setting, known) if known else "It has none: leave it out."
            raise SettingsError(f"{family} '{name}' has no setting '{setting}'. {hint}")
    return part(**settings) if is_dataclass(part) else part  # type: ignore[operator,no-any-return]


def accepted(part: object) -> tuple[str, ...]:
    """Names of the settings that a part takes."""
    return tuple(field.name for field in fields(part) if field.init) if is_dataclass(part) else ()


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a spec such as ``pgd:norm=l2,steps=20``.

    Raises:
        SettingsError: something after the colon is not NAME=VALUE.
    """
    name, _, rest = spec.partition(":")
    settings = {}
    for piece in filter(None, rest.split(",")):
        key, equals, text = piece.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"settings are written NAME:KEY=VALUE,KEY=VALUE, got '{piece}' in '{spec}'.")
        settings[key.strip()] = value(text.strip())
    return name.strip(), settings


def value(text: str) -> Any:
    """A setting's value as people write it.

    >>> value("8/255"), value("20"), value("0.5"), value("true"), value("none"), value("l2")
    (0.03137254901960784, 20, 0.5, True, None, 'l2')
    """
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (int, float, _fraction):
        try:
            return read(text)
        except (ValueError, ZeroDivisionError):
            continue
    return text


def _fraction(text: str) -> float:
    above, below = text.split("/")
    return float(above) / float(below)


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


def _open(family: str, name: str) -> Any:
    try:
        module = importlib.import_module(f"gazeshift.{family}.{name}")
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"{family} '{name}' needs the package '{missing.name}': pip install {missing.name}"
        ) from missing
    (public,) = module.__all__
    return getattr(module, public)
