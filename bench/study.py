"""How the deviation study grows with the number of images: seconds an image, and memory, at 50 and at 500.

Each study runs in a process of its own on real images (GAZESHIFT_DATA/imagenet700), with cheap settings. Seconds are
CPU time of one torch thread from the end of the first cell to the end of the last, so that loading the model is not
in them; memory is the highest that the process has had resident, all included.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._table import show, verdict

COUNTS = (50, 500)
SETTINGS = {
    "attack": "fgsm",
    "strengths": "1",
    "cams": "grad_cam",
    "layers": "blocks.5*",
    "gallery": 2,
    "batch_size": 10,
}
MOST_SECONDS, MOST_MEMORY = 1.10, 1.10  # what counts as linear, and as flat


def main(threads: int) -> None:
    """Print the table, or a sentence if there are no images."""
    images = (
        Path(os.environ.get("GAZESHIFT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "imagenet700"
    )
    if not images.is_dir():
        print(f"The study is left out: {images} is absent. Set GAZESHIFT_DATA to the folder that holds imagenet700.")
        return
    few, many = (_in_its_own_process(images, count, threads) for count in COUNTS)
    seconds, memory = many["seconds"] / few["seconds"], many["megabytes"] / few["megabytes"]
    show(
        "Deviation study, EfficientNet-Lite0: " + ", ".join(f"{key} {value}" for key, value in SETTINGS.items()),
        ["images", "seconds an image", "memory, MB"],
        [
            *(
                [str(count), f"{found['seconds']:.3f}", f"{found['megabytes']:.0f}"]
                for count, found in zip(COUNTS, (few, many), strict=True)
            ),
            ["ratio", f"{seconds:.2f}", f"{memory:.2f}"],
        ],
        f"seconds an image, many to few {seconds:.2f}, {verdict(seconds, MOST_SECONDS)}",
        f"memory, many to few {memory:.2f}, {verdict(memory, MOST_MEMORY)}",
    )


def _in_its_own_process(images: Path, count: int, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.study", str(images), str(count), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(images: Path, count: int, threads: int) -> dict[str, float]:
    """Run one study in this process."""
    import torch

    from gazeshift.studies.deviation.settings import Deviation

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    ends: list[tuple[int, float]] = []
    settings = Deviation(images=images / "images", labels=images / "labels.csv", limit=count, device="cpu", **SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        settings.run(Path(folder) / "study", progress=lambda done, *_: ends.append((done, clock())))
    (first, start), (last, end) = ends[0], ends[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": (end - start) / (last - first), "megabytes": peak / 1e6}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
