"""Finds a part by name: ``find("attacks", "pgd")`` opens ``attacks/pgd.py``.

A part is a file; the file's name is the part's public name, and the one name in its ``__all__`` is the part.
Nothing registers itself. Other packages add parts through entry points: group ``gazeshift.attacks``,
name ``my_attack``, value ``my_package.my_attack:MyAttack``. A part that cannot be opened harms no other.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from pathlib import Path
from typing import Any
from warnings import warn

from gazeshift.errors import (
    GazeshiftError,
    MissingPackageError,
    SettingsError,
    UnknownNameError,
    check_known,
    did_you_mean,
)

Setting = bool | int | float | str | None  # as people write one
BARE, HANDED_ON = "name", "settings"
FAMILIES = ("attacks", "cams", "measures", "transforms", "model_edits", "detectors", "models", "studies")
RENAMED = {"interventions": "transforms"}  # until 0.3
INSTALLED_AS = {"PIL": "pillow", "cv2": "opencv-python", "skimage": "scikit-image", "sklearn": "scikit-learn"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a list of parts.

    Args:
        name: how it is asked for.
        settings: its settings and their defaults; `dataclasses.MISSING` where there is none.
        summary: what it is, in one line; or why it cannot be used.
        is_usable: whether it can be opened.
    """

    name: str
    settings: Mapping[str, object]
    summary: str
    is_usable: bool = True


def names(family: str) -> list[str]:
    """Names of all parts of a family, sorted: the files of its folder, then what other packages bring."""
    return sorted({*_own(family), *_plugins(family)})


def find(family: str, name: str) -> Any:
    """The part of that name: a class of settings, or a function.

    Raises:
        UnknownNameError: no such part; names the nearest.
        MissingPackageError: the part needs a package that is not installed.
        SettingsError: the part is there and cannot be used, because its file or its package is broken.
    """
    if name in _own(family):
        return _opened(family, name, lambda: _from_file(family, name))
    foreign = _plugins(family)
    if name in foreign:
        return _opened(family, name, foreign[name].load)
    raise UnknownNameError(f"no {family} named '{name}'. {did_you_mean(name, names(family))}")


def catalogue(family: str) -> list[Entry]:
    """Every part of a family with its settings and its first line, sorted. Broken ones say why they cannot be used."""
    return [_entry(family, name) for name in names(family)]


def _entry(family: str, name: str) -> Entry:
    try:
        part = find(family, name)
    except GazeshiftError as cause:
        return Entry(name=name, settings={}, summary=f"cannot be used: {cause}", is_usable=False)
    return Entry(name=name, settings=default_settings(part), summary=_first_line(part))


def default_settings(part: object) -> dict[str, object]:
    """The settings of a part that are for people to give, with their defaults: all but what it learns.

    What a part learns are fields that its text leaves out (``field(repr=False)``); `build` takes them too.
    """
    learned = {field.name for field in fields(part) if not field.repr} if is_dataclass(part) else set()
    return {name: default for name, default in _defaults(part).items() if name not in learned}


def _defaults(part: Any) -> dict[str, object]:
    if not is_dataclass(part):
        return {}
    return {field.name: _default(field) for field in fields(part) if field.init}


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def build(family: str, spec: str, **settings: Any) -> Callable[..., Any]:
    """The part that a spec names, ready to call.

    Args:
        family: ``attacks``, ``cams``, ``measures``...
        spec: a name, with settings after a colon if wanted: ``pgd:norm=l2,epsilon=3,steps=20``. A part that stands
            for another package's (it has a setting `name`) takes that one's name first, ``foolbox:LinfPGD,steps=20``,
            and hands on what it does not know itself (its setting `settings`).
        settings: more settings; those in the spec win.

    Raises:
        UnknownNameError: no such part.
        SettingsError: the part has no such setting (names the nearest) or lacks one it needs, or the spec is not of
            that form.

    >>> build("attacks", "pgd:epsilon=2/255,steps=5", steps=10)
    Pgd(norm='linf', epsilon=0.00784313725490196, step=None, steps=5, random_start=True)
    """
    name, written = parse(spec)
    part, settings = find(family, name), settings | written
    if isinstance(part, type) and not is_dataclass(part):
        raise SettingsError(f"{family} '{name}' cannot be used: a part with settings must be a frozen dataclass.")
    known = setting_names(part)
    if BARE in written and BARE not in known:
        raise SettingsError(f"settings are written NAME:KEY=VALUE,KEY=VALUE, got '{written[BARE]}' in '{spec}'.")
    if HANDED_ON in known:
        others = {key: settings.pop(key) for key in [*settings] if key not in known}
        settings[HANDED_ON] = {**settings.get(HANDED_ON, {}), **others}
    for setting in settings:
        if setting not in known:
            hint = did_you_mean(setting, known) if known else "It has none: leave it out."
            raise SettingsError(f"{family} '{name}' has no setting '{setting}'. {hint}")
    lacking = [key for key, default in _defaults(part).items() if default is MISSING and key not in settings]
    if lacking:
        example = name + (":NAME" if lacking[0] == BARE else f":{lacking[0]}=VALUE")
        raise SettingsError(f"{family} '{name}' needs the setting '{lacking[0]}'. Write {example}.")
    made: Callable[..., Any] = part(**settings) if is_dataclass(part) else part  # type: ignore[operator,assignment]
    return made


def setting_names(part: object) -> tuple[str, ...]:
    """Names of the settings that a part takes."""
    return tuple(_defaults(part))


def parse(spec: str) -> tuple[str, dict[str, Setting]]:
    """Name and settings of a spec such as ``pgd:norm=l2,steps=20``; the first may be a bare name, ``foolbox:LinfPGD``.

    Raises:
        SettingsError: something else after the colon is not NAME=VALUE.
    """
    name, _, rest = spec.partition(":")
    settings: dict[str, Setting] = {}
    for place, piece in enumerate(filter(None, rest.split(","))):
        key, equals, text = piece.partition("=")
        if place == 0 and not equals and key.strip():
            settings[BARE] = key.strip()
            continue
        if not equals or not key.strip():
            raise SettingsError(f"settings are written NAME:KEY=VALUE,KEY=VALUE, got '{piece}' in '{spec}'.")
        if key.strip() in settings:
            raise SettingsError(f"the setting '{key.strip()}' is given twice in '{spec}'. Leave one out.")
        settings[key.strip()] = value(text.strip())
    return name.strip(), settings


def value(text: str) -> Setting:
    """A setting's value as people write it.

    >>> value("8/255"), value("20"), value("0.5"), value("true"), value("none"), value("l2")
    (0.03137254901960784, 20, 0.5, True, None, 'l2')
    """
    words: dict[str, Setting] = {"true": True, "false": False, "none": None}
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


def read_pixels(name: str, given: Any) -> int | tuple[int, int] | None:
    """A size as people write it: the side of a square, or height and width; None stays None.

    >>> read_pixels("crop", 224), read_pixels("crop", [64, 128.0]), read_pixels("crop", "64x128")
    (224, (64, 128), (64, 128))

    Raises:
        SettingsError: anything else; `name` says of what.
    """
    if given is None:
        return None
    sides = [value(side) for side in given.split("x")] if isinstance(given, str) else given
    sides = list(sides) if isinstance(sides, tuple | list) else [sides]
    numbers = [float(side) for side in sides if not isinstance(side, bool) and isinstance(side, Real)]
    if len(numbers) != len(sides) or len(sides) not in (1, 2) or not all(side % 1 == 0 < side for side in numbers):
        raise SettingsError(
            f"{name} must be a number of pixels such as 224, or height and width such as (64, 128) or 64x128, got "
            f"{given!r}."
        )
    return int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def summary(family: str, name: str) -> str:
    """First line of the part's docstring."""
    return _first_line(find(family, name))


def _first_line(part: Any) -> str:
    return (part.__doc__ or "").strip().split("\n")[0]


def _own(family: str) -> list[str]:
    family = _present(family)
    check_known(family, FAMILIES, f"no family named '{family}'")
    folder = Path(__file__).parent / family
    return [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]


def _present(family: str) -> str:
    """A family by the name that it has now."""
    if family in RENAMED:
        warn(f"the family '{family}' is called '{RENAMED[family]}' now.", DeprecationWarning, stacklevel=4)
    return RENAMED.get(family, family)


def _plugins(family: str) -> dict[str, EntryPoint]:
    family = RENAMED.get(family, family)
    groups = [family, *(old for old, new in RENAMED.items() if new == family)]
    return {point.name: point for group in groups[::-1] for point in entry_points(group=f"gazeshift.{group}")}


def _from_file(family: str, name: str) -> Any:
    module = importlib.import_module(f"gazeshift.{RENAMED.get(family, family)}.{name}")
    public = getattr(module, "__all__", [])
    if len(public) != 1:
        raise SettingsError(f"its file must have exactly one name in __all__, the part, and has {len(public)}")
    return getattr(module, public[0])


def _opened(family: str, name: str, load: Callable[[], Any]) -> Any:
    """What `load` gives, if it is a part; whatever goes wrong on the way names the part."""
    try:
        part = load()
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in ("gazeshift", ""):
            raise SettingsError(f"{family} '{name}' is there and cannot be used: {missing}.") from missing
        package = INSTALLED_AS.get(package, package)
        raise MissingPackageError(
            f"{family} '{name}' needs the package '{package}': pip install {package}"
        ) from missing
    except Exception as cause:  # somebody else's file may raise anything
        kind = "" if isinstance(cause, GazeshiftError) else f"{type(cause).__name__}: "
        raise SettingsError(f"{family} '{name}' is there and cannot be used: {kind}{cause}.") from cause
    if not callable(part):
        raise SettingsError(
            f"{family} '{name}' is there and cannot be used: a part is a function or a class, and this is a "
            f"{type(part).__name__}."
        )
    return part
