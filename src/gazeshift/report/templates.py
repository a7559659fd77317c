"""What both kinds of page share: templates, filters, dates."""

import math
import re
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gazeshift.report.words import cam_name, levels


@cache
def environment(*scripts: str) -> Environment:
    """Templates of the folder `page`, with its style sheet and these scripts; everything is escaped."""
    loader = PackageLoader("gazeshift.report", "page")
    made = Environment(autoescape=True, undefined=StrictUndefined, loader=loader, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"number": _number, "tight": _tight, "target": _target, "cam": cam_name, "step": _step, "zip": zip}
    made.globals["style"] = Markup(loader.get_source(made, "page.css")[0])  # noqa: S704
    whole = "\n".join(loader.get_source(made, name)[0] for name in scripts)
    made.globals["script"] = Markup(re.sub(r"^export ", "", whole, flags=re.MULTILINE))  # noqa: S704  # one script
    return made


def _number(value: float) -> str:
    return f"{value:g}"


def _tight(text: str) -> str:
    """Keep a percent sign with its number."""
    return text.replace(" %", "\u00a0%")


def _target(target: str) -> str:
    return {"predicted": "each image’s own", "reference": "the clean image’s"}.get(target, target)


def _step(value: Any, name: str, norm: str = "linf") -> str:
    """A setting; budgets and steps in L-inf in units of 1/255, as people write them."""
    sized = name in {"epsilon", "step"} and isinstance(value, float) and norm != "l2"
    return levels(value) if sized else "none" if value is None else str(value)


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
