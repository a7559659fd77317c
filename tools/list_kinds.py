"""Writes docs/kinds.md, what works and what is refused, from the tests' own cases; with --check, says if it fits."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE, CASES = ROOT / "docs" / "kinds.md", ROOT / "tests" / "helpers" / "kinds.py"
GROUPS = {
    "models": "A network that is wrapped in a `Classifier`, or named by `--model`, and what it gives.",
    "images": "What Python's `attack`, `look`, `detector_inputs`, `judge` and `preflight` take as images.",
    "labels": "What they take as classes: `labels=`, `target=`.",
    "files": "Pictures in files, for the command line, the gateway and `gs.read_image`.",
    "folders": "Folders and tables of labels, for `--images`, `--labels` and `gs.open_source`.",
    "weights": "Checkpoints for `--weights` and `gs.load(weights=)`.",
}
INTRO = """# What works, and what is refused

Whatever enters is handled as a person would expect, or refused in one sentence that says what was wanted, what came and
what to do. This page is written from the cases of `tests/laws/test_kinds.py`, which brings each of them through every
entrance; `python tools/list_kinds.py` writes it anew. Other packages' attacks: [adapters](adapters.md)."""


def page() -> str:
    """The whole page."""
    kinds = _cases().KINDS
    lines = [INTRO]
    for group, intro in GROUPS.items():
        lines += [
            "",
            f"## {group.capitalize()}",
            "",
            intro,
            "",
            "| what | comes to | what is made of it, or what to do |",
        ]
        lines += ["|---|---|---|", *(_row(kind) for kind in kinds if kind.group == group)]
    return "\n".join(lines) + "\n"


def _row(kind: Any) -> str:
    everywhere = {"models": 5, "images": 5, "labels": 3, "files": 1, "folders": 1, "weights": 1}[kind.group]
    where = "" if len(kind.at) == everywhere else f" by {', '.join(f'`{name}`' for name in kind.at)}"
    outcome = f"refused{where}: “{kind.refused}”" if kind.refused else "works"
    return f"| {kind.what} | {outcome} | {kind.note} |".replace("\n", " ")


def _cases() -> Any:
    spec = importlib.util.spec_from_file_location("_kinds", CASES)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["_kinds"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


if __name__ == "__main__":
    if "--check" not in sys.argv:
        FILE.write_text(page(), "utf-8")
    elif not FILE.is_file() or FILE.read_text("utf-8") != page():
        sys.exit("docs/kinds.md is not up to date: run `make docs`, or python tools/list_kinds.py.")
