"""``gazeshift study NAME``: a command for every study, its settings as flags."""

import inspect
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gazeshift.cli._study import run_study
from gazeshift.registry import find, names

EPILOGUE = """Examples:

  gazeshift study deviation --images photos/ --labels labels.csv --attack pgd --epsilon 2/255 --out study
  gazeshift study deviation --images val/ --model torchvision:vgg16 --layers convs --attack pgd:norm=l2,epsilon=3

Killed at any moment, the same command goes on where it stopped."""

app = App(
    name="study",
    help="Run an experiment over many images. Resumable.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
)


def _command(study: Any) -> Any:
    def run(*, settings: Annotated[study, Parameter(name="*", negative="")] = None, out: Path) -> None:
        run_study(study() if settings is None else settings, out)

    run.__doc__ = f"{inspect.getdoc(study)}\n\nArgs:\n    out: folder for the tables, the manifest and report.html."
    return run


for _name in names("studies"):
    app.command(_command(find("studies", _name)), name=_name)
