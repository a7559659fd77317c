"""Images a second on a GPU, against its bare forward and backward pass; and what each way to be faster does to numbers.

Without a CUDA device the first table is left out, and the second one is measured on the CPU, where the settings gain
little: it is the change of the numbers that it tells.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench._subjects import SUBJECTS
from bench._table import show
from bench._timing import fair, ratio, seconds_of
from bench.judge import _deployed
from gazeshift.attacks.pgd import Pgd
from gazeshift.data import demo_images
from gazeshift.detectors.stability import Stability
from gazeshift.measures.cosine import Cosine
from gazeshift.models import Classifier, load, sped_up
from gazeshift.pipeline import attack, compare, judge, look
from gazeshift.records import Evidence

LEAST = {"look": 0.85, "PGD": 0.95}
STEPS, BATCH_GPU, SIZE = 10, 64, 224
WAYS: Mapping[str, Mapping[str, bool]] = {
    "eager": {},
    "compiled": {"compiled": True},
    "channels last": {"channels_last": True},
    "bf16": {"bf16": True},
    "all three": {"compiled": True, "channels_last": True, "bf16": True},
}


def main(models: list[str], batch: int, rounds: int) -> None:
    """Print both tables, or the second one alone."""
    if torch.cuda.is_available():
        for model in models or SUBJECTS:
            _speeds(model, max(batch, BATCH_GPU), rounds)
    else:
        print("No CUDA device is at hand: images a second on a GPU are left out.\n")
    _effects(models[0] if models else "efficientnet_lite0", batch, rounds)


def _opened(model: str, way: str, device: str) -> Classifier:
    """EfficientNet-Lite0 as shipped; others untrained, which costs the same."""
    trained = model.startswith("efficientnet_lite")
    made = load(model if trained else f"torchvision:{model}", weights=None if trained else "random", device=device)
    return sped_up(made, **WAYS[way])


def _speeds(model: str, batch: int, rounds: int) -> None:
    """A row for each way to run the model. Everything is warmed up once, and the device waited for."""
    images = torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).cuda()
    rows, met = [], True
    for way in WAYS:
        classifier = _opened(model, way, "cuda")
        deployed = _deployed(classifier, Stability(), images[:8])
        candidates: dict[str, Callable[[], Any]] = {
            "bare": lambda c=classifier: _bare(c, images),
            "look": lambda c=classifier: look(c, images, layers=SUBJECTS[model], cams="grad_cam"),
            "PGD": lambda c=classifier: attack(c, images, by=Pgd(steps=STEPS)),
            "judge": lambda c=classifier, d=deployed: judge(c, images, d),
        }
        took = fair({name: _waited(run) for name, run in candidates.items()}, rounds)
        passes = {"look": 1, "PGD": STEPS, "judge": 1 + len(Stability().changes)}
        rates = {name: ratio([one * passes[name] for one in took["bare"]], took[name]) for name in passes}
        met = met and (way != "eager" or all(rates[name].median >= least for name, least in LEAST.items()))
        speed = {name: batch / min(seconds) for name, seconds in took.items()}
        rows.append(
            [way, f"{speed['bare']:.0f}", *(f"{speed[name]:.0f} ({rates[name].median:.2f})" for name in passes)]
        )
    show(
        f"{model} on {torch.cuda.get_device_name()}, {batch} images: images a second (share of the bare passes' rate)",
        ["", "bare pass", "look()", f"PGD, {STEPS} steps", "judge()"],
        rows,
        f"eager look() at least {LEAST['look']}, PGD at least {LEAST['PGD']}: {'met' if met else 'NOT MET'}",
    )


def _waited(run: Callable[[], Any]) -> Callable[[], None]:
    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited


def _bare(classifier: Classifier, images: Tensor) -> None:
    asked = images.clone().requires_grad_()
    torch.autograd.grad(classifier(asked).amax(1).sum(), asked)


def _effects(model: str, batch: int, rounds: int) -> None:
    """What each way changes, on the demo's photographs."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = _opened(model, "eager", device)
    images = demo_images().read(0, batch, plain.preprocessing).images.to(device)
    wanted, rows = look(plain, images, layers="trunk", cams="grad_cam"), []
    for way in list(WAYS)[1:]:
        other = _opened(model, way, device)
        _bare(other, images)
        turns = [[seconds_of(partial(_bare, one, images)) for one in (plain, other)] for _ in range(rounds)]
        gain = ratio(*map(list, zip(*turns, strict=True)))
        rows.append([way, str(gain), *_changes(other, wanted)])
    show(
        f"{model} on {device}, {len(images)} photographs: what each way changes",
        ["", "times as fast", "largest change of a logit", "same class", "median similarity of maps", "least"],
        rows,
        "Similarity of Grad-CAM maps to those of the plain model, all layers of its trunk, same class explained.",
    )


def _changes(other: Classifier, wanted: Evidence) -> list[str]:
    """Of logits, classes and maps."""
    found = look(other, wanted.images, layers="trunk", cams="grad_cam", target=wanted.predicted)
    apart = (found.logits.float() - wanted.logits).abs().max().item()
    same = (found.logits.argmax(1) == wanted.predicted).float().mean().item()
    compared = compare(wanted, found, measures={"cosine": Cosine()})
    alike = torch.cat([values["cosine"].float() for values in compared.values.values()])
    with torch.no_grad():
        bare = (other(wanted.images).float() - wanted.logits).abs().max().item()
    return [f"{max(apart, bare):.2g}", f"{same:.0%}", f"{alike.median():.6f}", f"{alike.min():.4f}"]
