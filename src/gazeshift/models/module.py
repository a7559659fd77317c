"""A model of one's own: ``module:my_package.my_models:make_it``."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from gazeshift.errors import ModelError
from gazeshift.models._classifier import Classifier, Preprocessing
from gazeshift.models._weights import RANDOM, load_into

__all__ = ["module"]

CLASS_LISTS = ("class_names", "classes", "CLASS_NAMES", "CLASSES")


def module(name: str, weights: str | None = None) -> Classifier:
    """A network that a function makes: it takes images in [0, 1], normalises by itself and gives logits.

    The function is named ``package.module:function`` (also looked for from the current folder) or
    ``path/to/file.py:function``. Class names are read from the network's or the Python module's ``class_names`` or
    ``CLASSES``, the input size from the network's ``input_size``; without one, images keep their own size.

    Raises:
        ModelError: it cannot be found, or gives no `torch.nn.Module`.
    """
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise ModelError(f"a model of one's own is named module:PACKAGE.MODULE:FUNCTION, got module:{name}.")
    python = _import(place)
    make = getattr(python, function, None)
    if not callable(make):
        raise ModelError(f"{place} has no function '{function}'. It has: {', '.join(_public(python)) or 'none'}.")
    network = make()
    if isinstance(network, Classifier):
        return network
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name}() must give a torch.nn.Module, got {type(network).__name__}.")
    if weights not in (None, RANDOM):
        load_into(network, str(weights), f"module:{name}")
    size = getattr(network, "input_size", None)
    return Classifier(
        network,
        name=f"module:{name}",
        preprocessing=Preprocessing(resize=size, crop=size),
        class_names=_class_names(network, python),
        source=weights or f"{place}:{function}()",
        own=True,
    )


def _import(place: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _import_file(Path(place))
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        finally:
            sys.path.remove(str(Path.cwd()))
    except ImportError as cause:
        raise ModelError(
            f"{place} cannot be imported ({cause}). Run from the folder that holds it, put that folder on PYTHONPATH, "
            "or name the file: module:path/to/file.py:function."
        ) from cause


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"no Python file at {file}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    python = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules.setdefault(file.stem, python)
    spec.loader.exec_module(python)  # type: ignore[union-attr]
    return python


def _public(python: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(python).items() if callable(value) and not name.startswith("_"))


def _class_names(*places: object) -> tuple[str, ...]:
    for place in places:
        for name in CLASS_LISTS:
            value = getattr(place, name, None)
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(value)
    return ()
