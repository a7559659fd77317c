"""Writes docs/parts.md, the list of all parts, from their docstrings; with --check, says whether it is up to date.

It also says which part docs/reference.md lacks.
"""

import sys
from pathlib import Path

from gazeshift.registry import default_settings, find, names, summary

FAMILIES = {
    "attacks": "Attacks change images so that a classifier errs. All take images in [0, 1].",
    "cams": "Maps of where a classifier looks, drawn at every layer in one pass.",
    "measures": "One number per image from two maps or images; two of them summarise NISSIM over images and levels.",
    "transforms": "Changes to images and perturbations.",
    "model_edits": "Changes to a network, undone at the end of the block.",
    "detectors": "Ways to suspect a single image; `detector_inputs()` looks, the detector scores.",
    "models": "Sources of classifiers.",
    "studies": "Experiments: `gazeshift study NAME`.",
}
DOCS = Path(__file__).resolve().parent.parent / "docs"
FILE = DOCS / "parts.md"
REFERENCE = DOCS / "reference.md"
BY_NAME = "models"  # sources, which are asked for by name alone


def page() -> str:
    """The whole page."""
    lines = ["# Parts", "", "Written by `make docs` from the code; `gazeshift list` prints the same."]
    for family, intro in FAMILIES.items():
        lines += ["", f"## {family}", "", intro, "", "| name | settings | what it is |", "|---|---|---|"]
        lines += [_row(family, name) for name in names(family)]
    return "\n".join(lines) + "\n"


def _row(family: str, name: str) -> str:
    settings = ", ".join(f"`{setting}`" for setting in default_settings(find(family, name)))
    return f"| `{name}` | {settings} | {summary(family, name).replace('|', ' ')} |"


def unlisted() -> list[str]:
    """Parts that the reference does not show."""
    text = REFERENCE.read_text("utf-8")
    parts = [f"gazeshift.{family}.{name}." for family in FAMILIES if family != BY_NAME for name in names(family)]
    return [part.removesuffix(".") for part in parts if f"::: {part}" not in text]


if __name__ == "__main__":
    if unlisted():
        sys.exit(f"docs/reference.md lacks {', '.join(unlisted())}: add a line `::: ...` for each.")
    if "--check" not in sys.argv:
        FILE.write_text(page(), "utf-8")
    elif not FILE.is_file() or FILE.read_text("utf-8") != page():
        sys.exit("docs/parts.md is not up to date: run `make docs`, or python tools/list_parts.py.")
