"""This checkout against another one, such as that of the last release: the same calls, in turns, in two processes.

Each process is asked for one call at a time, so that both meet the same machine; what counts is the call's CPU time.
Give the other one's folder of sources: ``python -m bench versions --other ../before/src``.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench._table import show

HERE = Path(__file__).resolve().parent.parent / "src"
TURNS = {"look": 40, "pgd": 24, "judge": 24, "study": 8}
SERVED = """
import sys, tempfile, time, torch
torch.set_num_threads(1)
import gazeshift as gs
model = gs.load("efficientnet_lite0", device="cpu")
batch = gs.demo_images().read(0, 4, model.preprocessing)
cams = ("grad_cam", "grad_cam_pp", "layer_cam", "noise_cam")
detector = (gs.CalibratedDetector if "CalibratedDetector" in gs.__all__ else gs.Deployed).shipped()
study = gs.find("studies", "deviation")(limit=4, attack="fgsm", strengths="1", batch_size=4, device="cpu")
calls = {
    "look": lambda: gs.look(model, batch.images, cams=cams),
    "pgd": lambda: gs.attack(model, batch.images, batch.labels, by="pgd:steps=5,epsilon=2/255"),
    "judge": lambda: gs.judge(model, batch.images, detector, generator=gs.generator_for(0, "views")),
    "study": lambda: study.run(tempfile.mkdtemp()),
}
for call in calls.values():
    call()
sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    start = time.process_time()
    calls[line.strip()]()
    sys.stdout.write(f"{time.process_time() - start}\\n")
    sys.stdout.flush()
"""


class Version:
    """A process that makes the calls with the sources of a folder.

    Args:
        source: the folder.
    """

    def __init__(self, source: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVED],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while self._line() != "ready":
            pass

    def seconds(self, call: str) -> float:
        """CPU time of one call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{call}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a version ended before it had answered: see its error above")
        return line.strip()


def main(other: Path | None) -> None:
    """Print one table: seconds of each, and the ratio of this one to the other."""
    if other is None:
        raise SystemExit("name the sources of the other version: python -m bench versions --other FOLDER/src")
    versions, rows = [Version(HERE), Version(other.resolve())], []
    for call, turns in TURNS.items():
        pairs = []
        for turn in range(turns):
            order = (-1) ** turn  # who begins
            pairs.append([version.seconds(call) for version in versions[::order]][::order])
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        low, middle, high = statistics.quantiles([one / two for one, two in pairs], n=4)
        rows.append([call, f"{ours:.3f}", f"{theirs:.3f}", f"{middle:.3f} ({low:.3f} to {high:.3f})"])
    for version in versions:
        version.close()
    show("CPU seconds of a call, EfficientNet-Lite0, 4 images", ["call", "here", "there", "ratio (quartiles)"], rows)
