"""Checks what import-linter cannot say: no import circle, nothing private across folders, no class name twice.

Usage: ``python tools/house.py``; ends with 1 and a line for each breach.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp
import networkx as nx

PACKAGE = "gazeshift"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE


def circles(graph: grimp.ImportGraph) -> Iterator[str]:
    """Modules that need each other."""
    arrows = nx.DiGraph(
        (module, target) for module in graph.modules for target in graph.find_modules_directly_imported_by(module)
    )
    for group in nx.strongly_connected_components(arrows):
        if len(group) > 1:
            yield f"import circle: {', '.join(sorted(group))}"


def trespasses(graph: grimp.ImportGraph) -> Iterator[str]:
    """Imports of a module whose name begins with an underscore, from outside its folder."""
    for module in sorted(graph.modules):
        for target in sorted(graph.find_modules_directly_imported_by(module)):
            folder, _, name = target.rpartition(".")
            if name.startswith("_") and not name.startswith("__") and not f"{module}.".startswith(f"{folder}."):
                yield f"{module} imports {target}, which is private to {folder}"


def twins() -> Iterator[str]:
    """Classes that share their name with another one."""
    homes = defaultdict(list)
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(file.relative_to(SOURCE)))
    for name, files in homes.items():
        if len(files) > 1:
            yield f"class {name} is in {' and in '.join(files)}"


def main() -> int:
    """The exit status."""
    graph = grimp.build_graph(PACKAGE)
    breaches = [*circles(graph), *trespasses(graph), *twins()]
    print(*breaches, sep="\n", end="\n" * bool(breaches))
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
