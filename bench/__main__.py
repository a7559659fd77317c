"""``python -m bench TOPIC``: measure one topic, or the short ones (``all``), and print tables of ratios."""

import argparse
import os
import warnings
from pathlib import Path

TOPICS = (
    "look",
    "memory",
    "pgd",
    "study",
    "dlfuzz",
    "sets",
    "renkhoff",
    "allocator",
    "judge",
    "gateway",
)  # those that `all` measures
LONG = ("detection", "ablation", "adaptive", "hostile", "scale", "gpu", "explore", "versions")  # an hour and more


def main() -> None:
    """Read the command line and measure what it names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("topic", nargs="?", default="all", choices=[*TOPICS, *LONG, "all"])
    parser.add_argument(
        "--model", action="append", default=[], help="resnet50, vgg16, efficientnet_lite0; default: all"
    )
    parser.add_argument("--batch", type=int, default=4, help="images side by side (default 4)")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each candidate gets (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1; see bench/_timing.py)")
    parser.add_argument("--images", type=int, default=64, help="seeds of the studies that are timed (default 64)")
    parser.add_argument("--out", type=Path, help="folder that detection, ablation or adaptive keeps its work in")
    parser.add_argument(
        "--detector", action="append", default=[], help="of detection (default: all) or, as a spec, of adaptive"
    )
    parser.add_argument("--seconds", type=float, default=60, help="of each number of clients (gateway, default 60)")
    parser.add_argument("--requests", type=int, default=5000, help="hostile ones (default 5000)")
    parser.add_argument("--other", type=Path, help="sources of another version (versions)")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(asked.threads))  # for NumPy and OpenCV too, before they start

    import torch

    warnings.filterwarnings("ignore", module="torchattacks|captum|pytorch_grad_cam|torchcam|foolbox")
    torch.set_num_threads(asked.threads)
    print(_circumstances(torch.__version__, asked.threads), end="\n\n")
    run(asked)


def run(asked: argparse.Namespace) -> None:
    """One topic after the other."""
    from bench import (
        ablation,
        adaptive,
        allocator,
        detection,
        dlfuzz,
        explore,
        gateway,
        gpu,
        hostile,
        judge,
        look,
        memory,
        pgd,
        renkhoff,
        scale,
        sets,
        study,
        versions,
    )

    topics = {
        "look": lambda: look.main(asked.model, asked.batch, asked.rounds),
        "memory": lambda: memory.main(asked.model, asked.batch, asked.threads),
        "pgd": lambda: pgd.main(asked.model, asked.batch, asked.rounds),
        "study": lambda: study.main(asked.threads),
        "dlfuzz": lambda: dlfuzz.main(asked.rounds),
        "sets": sets.main,
        "renkhoff": lambda: renkhoff.main(asked.images),
        "detection": lambda: detection.main(asked.out or Path("detection"), asked.model, asked.detector),
        "ablation": lambda: ablation.main(asked.out or Path("detection"), asked.images),
        "adaptive": lambda: adaptive.main(
            asked.out or Path("adaptive"),
            *asked.detector[:1],
            images=asked.images,
            restarts=asked.rounds,
            methods=adaptive.METHODS[:1],
        ),
        "judge": lambda: judge.main(asked.model, asked.rounds),
        "gateway": lambda: gateway.main(asked.seconds, asked.threads),
        "hostile": lambda: hostile.main(asked.requests),
        "gpu": lambda: gpu.main(asked.model, asked.batch, asked.rounds),
        "scale": lambda: scale.main(asked.images),
        "explore": explore.main,
        "versions": lambda: versions.main(asked.other),
        "allocator": lambda: allocator.main(asked.model, asked.rounds),
    }
    for topic, measure in topics.items():
        if asked.topic == topic or (asked.topic == "all" and topic in TOPICS):
            measure()


def _circumstances(torch_version: str, threads: int) -> str:
    timed = "CPU time of the process" if threads == 1 else "Time on the wall"
    return (
        f"torch {torch_version}, CPU, {threads} of {os.cpu_count()} cores, 224 x 224 pixels, float32.\n"
        f"{timed}, candidates in turn after a warm-up; ratios are medians over the rounds (lowest to highest)."
    )


main()
