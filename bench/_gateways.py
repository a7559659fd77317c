"""A gateway as a process of its own, for benches."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import torch

from bench._fitted import deployed
from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors.stability import Stability
from gazeshift.models import load
from gazeshift.pipeline import detector_inputs
from gazeshift.seeds import generator_for

SMALL = """
import torch
from torch import nn
import torch.nn.functional as F


class Small(nn.Module):
    input_size = 32

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.head = nn.Linear(12, 3)

    def forward(self, images):
        return self.head(F.relu(self.second(F.relu(self.first(images - 0.5)))).mean((2, 3)))


def small():
    torch.manual_seed(0)
    return Small()
"""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A gateway that listens on a port of this machine."""

    port: int
    process: subprocess.Popen[str] = field(repr=False)

    def metric(self, name: str) -> float:
        """One number of /metrics, summed over its labels."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=60)
        line.request("GET", "/metrics")
        lines = line.getresponse().read().decode().splitlines()
        line.close()
        return sum(float(one.rpartition(" ")[2]) for one in lines if re.match(rf"{name}(\{{.*\}})? ", one))


@contextmanager
def serving(detector: Path | None, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """``gazeshift serve`` with a detector (None: the one that ships), until the end of the block."""
    own = [] if detector is None else ["--detector", str(detector)]
    command = [sys.executable, "-m", "gazeshift", "serve", "--port", "0", "--device", "cpu", *own, *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        found = re.search(r"http://.*:(\d+)", process.stdout.readline() if process.stdout else "")
        if found is None:
            sys.exit("the gateway did not start")
        yield Served(port=int(found[1]), process=process)
    finally:
        process.terminate()
        process.wait(20)


def small_detector(folder: Path) -> Path:
    """A detector for a network so small that requests, and not passes, are what takes time."""
    (folder / "small_network.py").write_text(SMALL)
    random_detector(f"module:{folder / 'small_network.py'}:small", 32).save(folder / "detector")
    return folder / "detector"


def random_detector(spec: str, side: int) -> CalibratedDetector:
    """A stability detector that learned from random pictures, for the model of that name."""
    classifier, detector = load(spec, device="cpu"), Stability()
    images = torch.rand(48, 3, side, side, generator=generator_for(0, "images"))
    measured = detector.measure(detector_inputs(classifier, images, detector, generator=generator_for(0, "views")))
    parts = {"fitted_on": ("a",) * 24, "calibrated_on": ("b",) * 24}
    return deployed(classifier, "stability", detector, measured[:24], measured[24:], side=side, model=spec, **parts)
