"""Which views, layers and features of stability are worth their price, on development images alone.

A detector with more views and features than the default is fitted, and subsets of the numbers that it measured are
scored: benign only (signed mean), half of the clean images to learn from and the other half as negatives, both ways.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from bench._table import show
from bench.detection import gazeshift, image_flags, set_flags, split_and_sets
from gazeshift.detectors._deployed import Deployed
from gazeshift.detectors.stability import Stability
from gazeshift.studies._detector_run import Learned, read_learned

WIDE = "stability:shifts=3,others=jpeg:quality=60+median+blur:sigma=1.0,features=activation+gradient+grad_cam+layer_cam"


def main(out: Path, model: str = "efficientnet_lite0") -> None:
    """Fit a wide detector in the folder of `python -m bench detection`, and print one table: a row for each subset."""
    parts, sets = split_and_sets(out, model)
    folder, limit = out / model / "wide", ["--limit", "160"]
    arguments = [*image_flags(parts["dev"]), *set_flags(sets["dev"]), *limit, "--model", model, "--device", "cpu"]
    gazeshift("detect", "fit", "--detector", WIDE, *arguments, out=folder)
    deployed, learned = Deployed.load(folder), read_learned(folder)
    detector = deployed.detector
    assert isinstance(detector, Stability), "the ablation is stability's"
    shape = (len(detector.changes), len(deployed.layers), len(detector.features))
    rows = []
    for label, chosen in _subsets(detector, shape):
        found = _worth(learned, torch.from_numpy(np.flatnonzero(chosen.ravel())))
        (mean, hits), worst = np.mean(list(found.values()), 0), min(found, key=lambda name: found[name][0])
        rows.append([label, f"{mean:.3f}", f"{found[worst][0]:.3f} ({worst})", f"{hits:.2f}"])
    clean = len(learned.benign) + len(learned.calibration)
    sizes = ", ".join(f"{name} {len(values)}" for name, values in learned.attacked.items())
    show(
        f"stability on {deployed.model['name']}, {clean} clean development images; examples: {sizes}",
        ["numbers", "mean AUROC", "worst", "TPR at 5 %"],
        rows,
    )


def _subsets(detector: Stability, shape: tuple[int, int, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks over (views, layers, features)."""
    views, layers, features = np.indices(shape)
    kinds = [name.split()[0] for name in detector.names]
    means = features < 2  # channels' means
    shifts, jpeg = np.isin(views, [at for at, kind in enumerate(kinds) if kind == "shift"]), views == 3
    yield "everything", np.ones(shape, dtype=bool)
    for at, name in enumerate(detector.features):
        yield f"{name}, shifts", shifts & (features == at)
    for at, name in enumerate(detector.names):
        yield f"channels' means, {name} alone", means & (views == at)
    yield "channels' means, two shifts (fast)", means & (views < 2)
    yield "channels' means, three shifts", means & shifts
    yield "channels' means, three shifts and JPEG (default)", means & (shifts | jpeg)
    third = shape[1] // 3
    for label, low, high in (("first", 0, third), ("middle", third, 2 * third), ("last", 2 * third, shape[1])):
        yield (
            f"default at the {label} third of the layers",
            (means & (shifts | jpeg) & (layers >= low) & (layers < high)),
        )
    yield "default at the last layer", means & (shifts | jpeg) & (layers == shape[1] - 1)


def _worth(learned: Learned, at: torch.Tensor) -> Mapping[str, tuple[float, float]]:
    """AUROC, and TPR where 5 % of clean images are flagged, by set; mean over both halves."""
    clean = torch.cat([learned.benign, learned.calibration])[:, at]
    halves = clean[0::2], clean[1::2]
    found: dict[str, list[tuple[float, float]]] = {}
    for known, fresh in (halves, halves[::-1]):
        detector = Stability().fit(known)
        negatives = detector.score(fresh).numpy()
        line = np.quantile(negatives, 0.95)
        for name, values in learned.attacked.items():
            positives = detector.score(values[:, at]).numpy()
            truth = np.r_[np.zeros(len(negatives)), np.ones(len(positives))]
            area = float(roc_auc_score(truth, np.r_[negatives, positives]))
            found.setdefault(name, []).append((area, float((positives > line).mean())))
    return {name: tuple(np.mean(pairs, 0)) for name, pairs in found.items()}
