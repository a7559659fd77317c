"""``gazeshift study NAME``: a command for every study, its settings as flags."""

import inspect
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gazeshift.cli._study import long_run, write_report
from gazeshift.registry import find, names
from gazeshift.runs.executors import Scale

EPILOGUE = """Examples:

  gazeshift study renkhoff2022 --quick --out quick
  gazeshift study deviation --images photos/ --labels labels.csv --attack pgd --epsilon 2/255 --out study

Killed at any moment, the same command goes on where it stopped. --workers N and --ray change the time that it takes,
and no row."""

app = App(
    name="study",
    help="Run an experiment over many images. Resumable.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
)


def _command(study: Any) -> Any:
    def run(
        *,
        settings: Annotated[study, Parameter(name="*", negative="")] = None,
        scale: Annotated[Scale | None, Parameter(name="*")] = None,
        out: Path,
    ) -> list[str]:
        settings = study() if settings is None else settings
        with long_run(scale, settings.device) as how:
            settings.run(out, **how)
        return write_report(out)

    told = _unwrapped(inspect.getdoc(study) or "")
    run.__doc__ = f"{told}\n\nArgs:\n    out: folder for the tables, the manifest and report.html."
    return run


def _unwrapped(text: str) -> str:
    """Each paragraph on one line, for a terminal to wrap."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


for _name in names("studies"):
    app.command(_command(find("studies", _name)), name=_name)
