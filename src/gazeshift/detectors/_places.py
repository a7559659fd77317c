"""Which layer a detector looks at, before and after the look."""

from collections.abc import Callable, Sequence

from gazeshift.errors import SettingsError
from gazeshift.models import select
from gazeshift.records import Evidence, Layer

AUTO = "auto"


def named(known: Sequence[Layer], wanted: str, pick: Callable[[Sequence[Layer]], Layer]) -> tuple[str, ...]:
    """The layer of that name, or the one that `pick` takes of the convolutions if the name is ``auto``."""
    return (pick([layer for layer in known if "conv" in layer.kinds]).name if wanted == AUTO else wanted,)


def chosen(known: Sequence[Layer], wanted: str) -> tuple[str, ...]:
    """Names of the layers that a selector means: ``trunk``, ``convs``, ``blocks``, names, aliases or globs."""
    return tuple(layer.name for layer in select(known, wanted, "the classifier"))


def last(known: Sequence[Layer]) -> tuple[str, ...]:
    """The last layer of the trunk: the features that the classes are read from, and the one that costs least."""
    trunk = [layer for layer in known if "trunk" in layer.kinds]
    return ((trunk or list(known))[-1].name,)


def shown(evidence: Evidence, wanted: str) -> str:
    """The name under which evidence has a layer: the only one there is, or the one that is called `wanted`.

    Raises:
        SettingsError: there are several, and none or more than one is meant.
    """
    found = [name for name, trace in evidence.traces.items() if wanted in trace.layer.names]
    found = found or list(evidence.traces)
    if len(found) != 1:
        raise SettingsError(
            f"a detector that looks at one layer was shown {len(found)} ({', '.join(found[:4])}), and '{wanted}' is "
            "not one of them. Let pipeline.detector_inputs look, or name the layer."
        )
    return found[0]
