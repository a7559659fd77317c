"""Tables on the terminal: a row for each candidate, targets with what was reached."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

console = Console(width=None if Console().is_terminal else 140)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print a table with sentences below it."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for at, column in enumerate(columns):
        table.add_column(column, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)
    console.print()


def verdict(value: float, most: float) -> str:
    """Whether a value keeps its target: ``0.71, target 0.80: met``."""
    return f"at most {most:.2f}: {'met' if value <= most else 'NOT MET'}"
