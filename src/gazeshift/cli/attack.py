"""``gazeshift attack NAME``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gazeshift.cli._study import long_run
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.executors import Scale


def attack(
    name: str,
    /,
    *,
    settings: Annotated[SetSettings | None, Parameter(name="*", negative="")] = None,
    scale: Annotated[Scale | None, Parameter(name="*")] = None,
    out: Path,
) -> list[str]:
    """Attack images and keep the result as an adversarial set: nothing rounded, every success judged twice.

    Killed at any moment, the same command goes on where it stopped. The attack's health is probed at the end.

    Example: gazeshift attack pgd --images photos/ --labels labels.csv --epsilon 2/255 --out set

    Args:
        name: see `gazeshift list attacks`; settings after a colon: pgd:norm=l2,steps=20.
        out: folder for the set; if it holds an unfinished one of the same settings, it goes on.
    """
    from gazeshift.cli._sets import described  # torch is not needed for --help
    from gazeshift.data import open_set
    from gazeshift.runs.adversarial_set.run import make_set

    settings = settings or SetSettings()
    with long_run(scale, settings.device) as how:
        folder = make_set(name, settings, out, **how)
    return [*described(open_set(folder)), str(folder)]
