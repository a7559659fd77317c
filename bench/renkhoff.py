"""The renkhoff2022 study against the same study put together from pytorch-grad-cam and NumPy, on the same examples.

The examples are given: a set of DLFuzz examples of real images (GAZESHIFT_DATA/imagenet700). Ours is what the command
does, from opening the set to the joined tables. The other takes the same pairs and the same noise, draws Grad-CAM
layer by layer on an ordinary model, eight images side by side, and compares flattened maps in NumPy; as ours, it draws
maps of the clean image's class only where a class switched. Its package stretches every map from its minimum to its
maximum, which no paper does; here that is left out, so that the rows agree.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from bench._subjects import Subject, subject
from bench._table import show
from bench._timing import clock

ATTACK, BATCH = "dlfuzz", 8
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
LEAST, TOLERANCE = 5.0, 1e-3
Key = tuple[str, float, str, str, str]


def main(count: int) -> None:
    """Print the table, or a sentence if there are no images."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    images = Path(os.environ.get("GAZESHIFT_DATA", default)) / "imagenet700"
    if not images.is_dir():
        print(f"renkhoff2022 is left out: {images} is absent. Set GAZESHIFT_DATA to the folder that holds imagenet700.")
        return
    with tempfile.TemporaryDirectory() as folder:
        made = _make_set(images, count, Path(folder) / "set")
        own = _ours(made, Path(folder) / "warm", 1)[1]
        own, ours = _ours(made, Path(folder) / "study", count)
        other, theirs = _theirs(made)
    apart = max(abs(own[key] - other[key]) for key in own)
    agree = sum(abs(own[key] - other[key]) <= TOLERANCE for key in own)
    assert own.keys() == other.keys(), "the two studies have other rows"
    show(
        f"renkhoff2022, EfficientNet-Lite0, {count} seeds, {len({key[0] for key in own})} examples, {len(own)} rows",
        ["candidate", "seconds"],
        [["gazeshift study renkhoff2022 --set", f"{ours:.1f}"], ["pytorch-grad-cam layer by layer", f"{theirs:.1f}"]],
        f"{theirs / ours:.1f} times, at least {LEAST:.0f}: {'met' if theirs / ours >= LEAST else 'NOT MET'}",
        f"{agree} of {len(own)} similarities agree to {TOLERANCE:g}; the largest difference is {apart:.2g}",
    )


def _make_set(images: Path, count: int, out: Path) -> Path:
    from gazeshift.runs.adversarial_set.run import AttackRun
    from gazeshift.runs.adversarial_set.settings import SetSettings

    settings = SetSettings(
        images=images / "images", labels=images / "labels.csv", limit=count, device="cpu", health_images=0
    )
    return AttackRun(ATTACK, settings, out).run()


def _ours(made: Path, out: Path, count: int) -> tuple[dict[Key, float], float]:
    import pyarrow.parquet as pq

    from gazeshift.studies.renkhoff2022.settings import Renkhoff2022

    settings = Renkhoff2022(
        set=made, attack=ATTACK, limit=count, coverage_seeds=0, gallery=0, batch_size=BATCH, device="cpu"
    )
    start = clock()
    folder = settings.run(out)
    seconds = clock() - start
    names = ("image", "strength", "kind", "target", "layer")
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    return {tuple(row[name] for name in names): row["value"] for row in rows}, seconds


def _theirs(made: Path) -> tuple[dict[Key, float], float]:
    from gazeshift.data import open_set

    given = open_set(made)
    pairs, model = given.pick(given.ids), subject("efficientnet_lite0", 1)
    found: dict[Key, float] = {}
    start = clock()
    with torch.no_grad():
        both = [torch.cat([model.network(part) for part in side.split(BATCH)]).argmax(1) for side in _sides(pairs)]
    flipped = (both[0] != both[1]).nonzero()[:, 0]
    with patch("pytorch_grad_cam.base_cam.scale_cam_image", _resized):
        for places in flipped.split(BATCH):
            names = [pairs.ids[place] for place in places.tolist()]
            clean, attacked = (side[places] for side in _sides(pairs))
            found |= _batch(model, names, clean, attacked - clean)
    return found, clock() - start


def _sides(pairs: object) -> tuple[torch.Tensor, torch.Tensor]:
    return pairs.images, pairs.attacked


def _batch(model: Subject, names: list[str], clean: torch.Tensor, change: torch.Tensor) -> dict[Key, float]:
    with torch.no_grad():
        classes = model.network(clean).argmax(1)
    before, found = _maps(model, clean, classes), {}
    for strength, kind, changed in _changed(names, clean, change):
        with torch.no_grad():
            switched = model.network(changed).argmax(1)
        own = _maps(model, changed, switched)
        fixed = own if torch.equal(switched, classes) else _maps(model, changed, classes)
        for target, after in (("predicted", own), ("reference", fixed)):
            for layer, at in itertools.product(before, range(len(names))):
                key = (names[at], float(np.float32(strength)), kind, target, layer)
                found[key] = _cosine(before[layer][at], after[layer][at])
    return found


def _changed(names: list[str], clean: torch.Tensor, change: torch.Tensor) -> Iterator[tuple[float, str, torch.Tensor]]:
    """Images with perturbation and noise at every strength; the draws are ours, for the same rows."""
    from gazeshift.seeds import generator_for

    draws = [torch.randn(change.shape[1:], generator=generator_for(0, "noise", ATTACK, name)).numpy() for name in names]
    values = change.numpy()
    noise = np.stack([one.mean() + one.std() * draw for one, draw in zip(values, draws, strict=True)])
    for strength in STRENGTHS:
        for kind, step in (("attacked", values), ("noise", noise)):
            changed = np.clip(clean.numpy() + strength * step, 0, 1).astype(np.float32)
            yield strength, kind, torch.from_numpy(changed)


def _maps(model: Subject, images: torch.Tensor, classes: torch.Tensor) -> dict[str, np.ndarray]:
    """Grad-CAM at image size, one layer after the other."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(index) for index in classes.tolist()]
    found = {}
    for layer in subject_layers(model):
        module = model.network.get_submodule(f"1.{layer}")
        with GradCAM(model=model.network, target_layers=[module]) as cam:
            found[layer] = cam(input_tensor=images, targets=targets)
    return found


def subject_layers(model: Subject) -> list[str]:
    """The layers that the study looks at by default."""
    from gazeshift.models import select

    size = tuple(model.images.shape[2:])
    return [layer.name for layer in select(model.classifier.layers(size), "trunk", model.name)]


def _resized(maps: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    import cv2

    return np.float32([one if size is None else cv2.resize(np.float32(one), size) for one in maps])


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    one, two = (np.maximum(maps, 0).ravel().astype(np.float64) for maps in (first, second))
    if not one.any() or not two.any():
        return float(one.any() == two.any())
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))
