"""What it brings to keep freed memory in the process: one look at eight images, with the setting and without."""

import statistics
import subprocess
import sys

from bench._table import show

CODE = """
import resource, sys, time, torch
from gazeshift.runs.executors.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import gazeshift as gs
torch.set_num_threads(1)
classifier = gs.load(sys.argv[2])
size = classifier.input_size or 224
images = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(0))
gs.look(classifier, images)
started = time.process_time()
for _ in range(3):
    gs.look(classifier, images)
print((time.process_time() - started) / 3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main(models: list[str], rounds: int) -> None:
    """Print one table: seconds of a look and peak memory of a process, its turns taken one after the other."""
    for model in models or ["efficientnet_lite0"]:
        found = _turns(model, rounds)
        seconds = {way: [one[0] for one in runs] for way, runs in found.items()}
        ratios = [usual / kept for usual, kept in zip(seconds["usual"], seconds["kept"], strict=True)]
        show(
            f"{model}, look() at the trunk, 8 images",
            ["freed memory", "CPU seconds", "peak MB"],
            [
                [way, f"{statistics.median(seconds[way]):.3f}", f"{max(one[1] for one in runs):.0f}"]
                for way, runs in found.items()
            ],
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})",
        )


def _turns(model: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    turns = [(_measured("usual", model), _measured("kept", model)) for _ in range(rounds)]
    return {"usual": [usual for usual, _ in turns], "kept": [kept for _, kept in turns]}


def _measured(way: str, model: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", CODE, way, model], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes
