"""``gazeshift attack NAME``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gazeshift.cli._progress import progress_shown
from gazeshift.studies._set_settings import SetSettings


def attack(
    name: str,
    /,
    *,
    settings: Annotated[SetSettings | None, Parameter(name="*", negative="")] = None,
    out: Path,
) -> None:
    """Attack images and keep the result as an adversarial set: nothing rounded, every success judged twice.

    Killed at any moment, the same command goes on where it stopped. The attack's health is probed at the end.

    Example: gazeshift attack pgd --images photos/ --labels labels.csv --epsilon 2/255 --out set

    Args:
        name: see `gazeshift list attacks`; settings after a colon: pgd:norm=l2,steps=20.
        out: folder for the set; if it holds an unfinished one of the same settings, it goes on.
    """
    from gazeshift.cli._sets import described  # torch is not needed for --help
    from gazeshift.data import open_set
    from gazeshift.studies._attack_run import AttackRun

    command = "gazeshift " + shlex.join(argument for argument in sys.argv[1:] if argument != "--debug")
    with progress_shown() as progress:
        folder = AttackRun(name, settings or SetSettings(), out, command=command, progress=progress).run()
    for line in described(open_set(folder)):
        print(line)  # noqa: T201
    print(folder)  # noqa: T201
