"""Images a second of DLFuzz, seeds side by side, beside the serial algorithm with its shared tables.

Two serial candidates: the plain one of the tests, written from the specification (one image at a time, dictionaries of
neurons, predict then differentiate), and this package's own loop held to one seed at a time with ``tables="shared"``,
which has everything of the batched one but the batch. All fuzz the same real images with the same generators; what
they find is shown beside what they cost.
"""

import math
import os
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench._table import show
from bench._timing import fair, ratio
from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.data import demo_images, open_source
from gazeshift.models import Classifier, load
from gazeshift.seeds import generator_for

ROOT = Path(__file__).resolve().parent.parent
OURS, OWN_LOOP, PLAIN = "side by side", "own loop, one by one, shared tables", "plain serial, shared tables"
SEEDS = 32
LEAST = 4.0  # times the plain serial version


@dataclass(kw_only=True)
class Found:
    """What one candidate found in its last run."""

    fooled: list[bool] = field(default_factory=list)
    coverage: float = 0.0
    ratios: list[float] = field(default_factory=list)


def main(rounds: int) -> None:
    """A table of costs and findings on EfficientNet-Lite0."""
    classifier = load("efficientnet_lite0", device="cpu")
    images, where = _seeds(classifier, SEEDS)
    found = {name: Found() for name in (OURS, OWN_LOOP, PLAIN)}
    candidates = {
        OURS: lambda: _package(classifier, images, DLFuzz(), found[OURS]),
        OWN_LOOP: lambda: _package(classifier, images, DLFuzz(tables="shared"), found[OWN_LOOP]),
        PLAIN: lambda: _plain(classifier, images, DLFuzz(tables="shared"), found[PLAIN]),
    }
    seconds = fair(candidates, rounds)
    rows = []
    for name, taken in seconds.items():
        rate = statistics.mean(found[name].fooled)
        error = math.sqrt(rate * (1 - rate) / len(images))
        rows.append(
            [
                name,
                f"{len(images) / statistics.median(taken):.2f}",
                str(ratio(taken, seconds[OURS])),
                f"{rate:.1%} ± {error:.1%}",
                f"{found[name].coverage:.4f}",
                f"{statistics.mean(found[name].ratios or [math.nan]):.4f}",
            ]
        )
    reached = ratio(seconds[PLAIN], seconds[OURS]).median
    verdict = "met" if reached >= LEAST else "NOT MET"
    show(
        f"DLFuzz on EfficientNet-Lite0, {len(images)} seeds ({where})",
        ["", "images a second", "our rate to theirs", "success", "coverage", "mean l2 ratio"],
        rows,
        f"our rate to that of the plain serial version {reached:.2f}, at least {LEAST:.0f} on two cores: "
        f"{verdict if torch.get_num_threads() == 2 else 'ask with --threads 2'}",
    )


def _seeds(classifier: Classifier, count: int) -> tuple[Tensor, str]:
    """Real images: of GAZESHIFT_DATA where it is, else the demo's twenty."""
    folder = Path(os.environ.get("GAZESHIFT_DATA", ROOT.parent / "shared" / "data")) / "imagenet700"
    source = open_source(folder) if folder.is_dir() else demo_images()
    batch = next(iter(source.batches(count, classifier.preprocessing)))
    return batch.images, "imagenet700" if folder.is_dir() else "demo images"


def _generators(count: int) -> list[torch.Generator]:
    return [generator_for(0, "bench", str(at)) for at in range(count)]


def _package(classifier: Classifier, images: Tensor, fuzz: DLFuzz, found: Found) -> None:
    result = fuzz.run(classifier, images, generator=_generators(len(images)))
    found.fooled = [bool(seed.adversarials) for seed in result.seeds]
    found.coverage = result.coverage_curve[-1].item()
    found.ratios = [adversarial.l2_ratio for adversarial in result.adversarials]


def _plain(classifier: Classifier, images: Tensor, fuzz: DLFuzz, found: Found) -> None:
    plain = _plain_version(replace(fuzz), classifier)
    seeds = [plain.fuzz(images[at : at + 1], one, at) for at, one in enumerate(_generators(len(images)))]
    found.fooled = [bool(seed.adversarials) for seed in seeds]
    found.coverage = seeds[-1].coverage_after
    found.ratios = [adversarial.l2_ratio for seed in seeds for adversarial in seed.adversarials]


def _plain_version(fuzz: DLFuzz, classifier: Classifier) -> Any:
    """The tests' version, told which modules of EfficientNet-Lite0 give the layers."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.plain_dlfuzz import PlainDLFuzz

    modules = classifier.module.named_modules()
    layers = {name: module for name, module in modules if type(module).__name__ == "BatchNormAct2d"}
    return PlainDLFuzz(fuzz, classifier, layers | {"pool": classifier.module.global_pool.pool})
