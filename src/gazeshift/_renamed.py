"""Modules by the names that they had in version 0.1. They go with 0.3."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from warnings import warn

EDITS = ("mask_maps", "scale_filters")


def present(name: str) -> str | None:
    """Where a module of version 0.1 is now; None for all others."""
    family, _, part = name.removeprefix("gazeshift.").partition(".")
    if family != "interventions":
        return None
    return ".".join(filter(None, ["gazeshift", "model_edits" if part in EDITS else "transforms", part]))


class Renamed(MetaPathFinder, Loader):
    """Answers for modules that have another name now, with a DeprecationWarning."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """A module that hands everything on to the one of today."""
        new = present(fullname) if fullname.startswith("gazeshift.") else None
        return None if new is None else ModuleSpec(fullname, self, is_package=fullname.count(".") == 1)

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and take over what the module of today has."""
        new = present(module.__name__) or ""
        if module.__name__ != "gazeshift.interventions":  # one warning is enough, and it is that of the part
            warn(f"{module.__name__} is called {new} now.", DeprecationWarning, stacklevel=2)
        today = importlib.import_module(new)
        module.__dict__.update({name: value for name, value in vars(today).items() if not name.startswith("__")})
        module.__doc__ = today.__doc__


def install() -> None:
    """Let Python ask here last."""
    sys.meta_path.append(Renamed())
