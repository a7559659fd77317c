"""Templates, with their style sheet and scripts; dates and settings as people write them."""

import math
import re
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment(*scripts: str) -> Environment:
    """Templates of the folder `page`, with its style sheet and these scripts; everything is escaped."""
    loader = PackageLoader("gazeshift.report", "page")
    made = Environment(autoescape=True, undefined=StrictUndefined, loader=loader, trim_blocks=True, lstrip_blocks=True)
    made.filters["tight"] = _tight
    style = re.sub(r"^ +", "", loader.get_source(made, "page.css")[0], flags=re.MULTILINE)
    made.globals["style"] = Markup(style)  # noqa: S704
    whole = "\n".join(loader.get_source(made, name)[0] for name in scripts)
    # One script, without what only those who write it need.
    made.globals["script"] = Markup(re.sub(r"^(\s*//.*\n)*(\s+|export )?", "", whole, flags=re.MULTILINE))  # noqa: S704
    return made


def _tight(text: str) -> str:
    """Keep a percent sign with its number."""
    return text.replace(" %", "\u00a0%")


def day(created: Any) -> str:
    """A moment of a manifest as people write it."""
    try:
        return datetime.fromisoformat(str(created)).strftime("%d %B %Y, %H:%M %Z").strip().lstrip("0")
    except ValueError:
        return str(created or "unknown date")


def duration(seconds: Any) -> str:
    """Seconds as people say them."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
