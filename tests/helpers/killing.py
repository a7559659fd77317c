"""A study that is killed with kill -9 while it runs, again and again, and then let through."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CODE = """
import importlib, json, pathlib, sys, torch
torch.set_num_threads(1)
study = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
study(**json.loads(sys.argv[3])).run(pathlib.Path(sys.argv[4]), progress=lambda *told: print(*told, flush=True))
"""


def run_killed(study: type, settings: Mapping[str, Any], out: Path, *, times: int, within: float) -> None:
    """Kill a study so many times, each within so many seconds after its first cell; then run it to its end."""
    given = json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in settings.items()})
    command = [sys.executable, "-c", CODE, study.__module__, study.__name__, given, str(out)]
    moments, struck = random.Random(0), 0
    for _ in range(times):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()  # a cell is done, or found done
        time.sleep(moments.uniform(0, within))
        struck += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert struck > times / 2, "it was through before it could be killed"
    subprocess.run(command, check=True, stdout=subprocess.PIPE)


def check_same(out: Path, undisturbed: Path, tables: Sequence[str]) -> None:
    """The same bytes in every table, and nothing half written is left."""
    for name in tables:
        assert (out / f"{name}.parquet").read_bytes() == (undisturbed / f"{name}.parquet").read_bytes(), name
    assert not list((out / "parts").glob(".*"))
