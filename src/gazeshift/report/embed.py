"""How data and scripts get into the page: JSON that no name can break out of, and gzip in base64."""

import base64
import gzip
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup


def packed(block: bytes) -> str:
    """Base64 of gzip, the same for the same bytes; the page unpacks it with DecompressionStream."""
    return base64.b64encode(gzip.compress(block, 9, mtime=0)).decode()


def packed_json(values: object) -> str:
    """Values as JSON, packed."""
    return packed(_dumped(values).encode())


def plain_json(values: object) -> Markup:
    r"""JSON that may stand inside a script element whatever names it holds.

    >>> print(plain_json({"image": "</script>.jpg"}))
    {"image":"\u003c/script\u003e.jpg"}
    """
    text = _dumped(values).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(text)  # noqa: S704


@cache
def plotly() -> str:
    """plotly.js with the Cartesian charts, packed. It ships with the package, for Plotly's Python is not needed."""
    return packed((files("gazeshift.report") / "page" / "plotly" / "plotly-cartesian.min.js").read_bytes())


def _dumped(values: object) -> str:
    return json.dumps(_finite(values), separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _finite(values: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(values, Mapping):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
