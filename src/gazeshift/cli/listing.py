"""``gazeshift list``."""

from typing import Literal

from gazeshift.errors import SettingsError

KINDS = ("attacks", "cams", "measures", "interventions", "models", "studies")


def list_(
    what: Literal["all", "attacks", "cams", "measures", "interventions", "models", "studies", "layers"] = "all",
    /,
    *,
    model: str = "efficientnet_lite0",
    layers: str = "*",
    input_size: int | None = None,
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

    from gazeshift.registry import accepted, find, names, summary

    table = Table("name", "settings", "what it is", title=kind, title_justify="left", box=None, pad_edge=False)
    for name in names(kind):
        part = find(kind, name)
        settings = ", ".join(f"{key}={_shown(getattr(part, key, ''))}" for key in accepted(part))
        shown = f"{name}:NAME" if name in ("torchvision", "timm", "module") else name
        table.add_row(shown, settings, summary(kind, name))
    Console().print(table, "")


def _shown(value: object) -> str:
    """A default as people write it: 8/255 and not 0.0313725."""
    steps = value * 255 if isinstance(value, float) else 0.0
    return f"{steps:.0f}/255" if steps >= 1 and abs(steps - round(steps)) < 1e-9 and steps != 255 else str(value)


def _layers(model: str, selector: str, input_size: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from gazeshift.models import load, select

    packaged = model.startswith("efficientnet_lite")
    classifier = load(model, weights=None if packaged or model.startswith("module:") else "random", device="cpu")
    size = (input_size, input_size) if input_size else None
    if size is None and classifier.input_size is None:
        raise SettingsError(f"{model} has no input size of its own, and its layers depend on it: --input-size 224.")
    table = Table("layer", "kind", "channels", "map", "also called", "next", box=None, pad_edge=False)
    for layer in select(classifier.layers(size), selector, model):
        channels, height, width = layer.shape
        kinds = " ".join(sorted(layer.kinds))
        table.add_row(layer.name, kinds, str(channels), f"{height}x{width}", " ".join(layer.aliases), layer.followed_by)
    Console().print(table)
