"""A model of one's own: ``module:my_package.my_models:make_it``."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from torch import nn

from gazeshift.errors import GazeshiftError, ModelError, SettingsError
from gazeshift.models._classifier import Classifier
from gazeshift.models._preprocessing import Pixels, Preprocessing
from gazeshift.models._weights import RANDOM, load_into
from gazeshift.registry import read_pixels

__all__ = ["module"]

CLASS_LISTS = ("class_names", "classes", "CLASS_NAMES", "CLASSES")


def module(name: str, weights: str | None = None) -> Classifier:
    """A network that a function makes: it takes images in [0, 1], normalises by itself and gives logits.

    The function is named ``package.module:function`` (also looked for from the current folder) or
    ``path/to/file.py:function``. Class names are read from the network's or the Python module's ``class_names`` or
    ``CLASSES``, the input size from the network's ``input_size``: 224, (height, width) or (channels, height, width).
    Without one, images keep their own size.

    Raises:
        ModelError: it cannot be found, fails, or gives no `torch.nn.Module`.
    """
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise ModelError(f"a model of one's own is named module:PACKAGE.MODULE:FUNCTION, got module:{name}.")
    with _importable(Path(place).parent if place.endswith(".py") else Path()):
        python = _import(place)
        network = _make(python, place, function)
    classifier = network if isinstance(network, Classifier) else _wrapped(network, name, python)
    if weights not in (None, RANDOM):
        load_into(classifier.module, str(weights), f"module:{name}")
        classifier.source = str(weights)
        vars(classifier).pop("weights_sha256", None)  # a Classifier of one's own may know that of its former weights
    return classifier


def _wrapped(network: nn.Module, name: str, python: ModuleType) -> Classifier:
    channels, size = _input_size(network, name)
    return Classifier(
        network,
        name=f"module:{name}",
        preprocessing=Preprocessing(resize=size, crop=size, fit="cover", channels=channels),
        class_names=_class_names(network, python),
        source=f"{name}()",
    )


def _make(python: ModuleType, place: str, function: str) -> nn.Module:
    make = getattr(python, function, None)
    if not callable(make):
        raise ModelError(f"{place} has no function '{function}'. It has: {', '.join(_public(python)) or 'none'}.")
    try:
        network = make()
    except GazeshiftError:
        raise
    except (Exception, SystemExit) as cause:  # somebody else's code may raise anything
        raise ModelError(
            f"{place}:{function}() failed ({type(cause).__name__}: {cause}). It is called without arguments and must "
            "give a torch.nn.Module."
        ) from cause
    if not isinstance(network, nn.Module):
        raise ModelError(f"{place}:{function}() must give a torch.nn.Module, got {type(network).__name__}.")
    return network


def _input_size(network: nn.Module, name: str) -> tuple[int | None, Pixels | None]:
    """Channels, if it says so, and size of the network's own ``input_size``: 32, (32, 64) or (3, 32, 64)."""
    given = getattr(network, "input_size", None)
    sides = list(given) if isinstance(given, list | tuple) else [given]
    is_last = len(sides) == 3 and sides[2] in (1, 3, 4) and sides[0] not in (1, 3, 4)
    try:
        channels = read_pixels("channels", sides.pop(0)) if len(sides) == 3 else None
        size = read_pixels("input_size", sides if len(sides) > 1 else sides[0])
    except (SettingsError, IndexError):
        is_last = True
    if is_last or isinstance(channels, tuple):
        raise ModelError(
            f"module:{name} says input_size = {given}. Let it say one number, such as 224, or (height, width), or "
            "(channels, height, width), or nothing."
        )
    return channels, size if not isinstance(size, tuple) or size[0] != size[1] else size[0]


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let Python find modules in a folder, as it does when a script in it is run."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)


def _import(place: str) -> ModuleType:
    try:
        return _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ImportError as cause:
        raise ModelError(
            f"{place} cannot be imported ({cause}). Run from the folder that holds it, put that folder on PYTHONPATH, "
            "or name the file: module:path/to/file.py:function."
        ) from cause
    except GazeshiftError:
        raise
    except (Exception, SystemExit) as cause:  # somebody else's code may raise anything
        raise ModelError(f"{place} cannot be imported: {type(cause).__name__}: {cause}. Mend it first.") from cause


def _import_file(file: Path) -> ModuleType:
    """The module of a file, run anew each time, under a name that hides no other module."""
    if not file.is_file():
        raise ModelError(f"no Python file at {file}.")
    name = f"{file.stem}_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file, loader=FromSource(name, str(file)))
    python = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = python  # dataclasses and pickle look their classes up here
    try:
        spec.loader.exec_module(python)  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[name]
        raise
    return python


class FromSource(SourceFileLoader):
    """A file compiled anew: of a change within a second that keeps its size, Python's cache knows nothing."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """The code of the file as it is now."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _public(python: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(python).items() if callable(value) and not name.startswith("_"))


def _class_names(*places: object) -> tuple[str, ...]:
    for place in places:
        for name in CLASS_LISTS:
            value = getattr(place, name, None)
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(value)
    return ()
