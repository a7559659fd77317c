"""What other packages offer: their attacks by name, and the settings that these take, refused in our words."""

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from gazeshift.errors import MissingPackageError, SettingsError, check_known, did_you_mean
from gazeshift.registry import INSTALLED_AS

# What a class of another package takes: its own names, and values of any kind. The package checks them.
KeywordArguments = Mapping[str, Any]


def opened(module: str, install: str, family: str = "attacks") -> ModuleType:
    """A module of a package that may not be installed. What it says about the names it imports is not for our user.

    Raises:
        MissingPackageError: says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        raise MissingPackageError(
            f"{family} '{module.partition('.')[0]}:...' need the package '{install}' ({cause}): pip install {install}"
        ) from cause


def kinds_in(module: ModuleType, base: type) -> dict[str, type]:
    """Every attack that a package's module offers, by name."""
    return {
        name: kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, base) and kind is not base and not inspect.isabstract(kind)
    }


def chosen(package: str, known: Mapping[str, type], name: str) -> type:
    """The attack of that name.

    Raises:
        UnknownNameError: names the nearest.
    """
    check_known(name, known, f"{package} has no attack named '{name}'")
    return known[name]


def parameters_of(kind: type, *ours: str) -> dict[str, inspect.Parameter]:
    """The settings that an attack of another package takes; arguments that are `ours` to give are none of them."""
    found = inspect.signature(kind).parameters.values()
    return {
        one.name: one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.name not in ours
    }


def check_settings(spec: str, settings: KeywordArguments, known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse settings that the attack does not take, and missing ones that it cannot do without.

    Raises:
        SettingsError: names the nearest, or what is missing.
    """
    for name in settings:
        if name not in known:
            raise SettingsError(f"{spec} has no setting '{name}'. {did_you_mean(name, known)}")
    missing = [name for name, one in known.items() if one.default is one.empty and name not in settings]
    if missing:
        raise SettingsError(f"{spec} cannot do without the setting{'s'[: len(missing) > 1]} {', '.join(missing)}.")


def settled(spec: str, kind: Callable[..., Any], *first: Any, **settings: Any) -> Any:
    """The package's attack with its settings.

    Raises:
        SettingsError: the package does not take them; says why in its words.
    """
    try:
        return kind(*first, **settings)
    except ModuleNotFoundError as cause:
        raise missing(spec, cause) from cause
    except (TypeError, ValueError, AssertionError) as cause:
        raise SettingsError(f"{spec} does not take these settings: {cause or 'it does not say why'}.") from cause


def missing(spec: str, cause: ModuleNotFoundError) -> MissingPackageError:
    """What to install for an attack that imports a package which is not there."""
    package = INSTALLED_AS.get(str(cause.name), cause.name)
    return MissingPackageError(f"{spec} needs the package '{package}': pip install {package}")
