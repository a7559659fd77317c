"""Which views, layers and features of stability are worth their price, on development images alone.

A detector with more views and features than the default measures clean images of the calibration part to learn from,
and development images to be judged on: clean, with benign changes, and attacked. Subsets of its numbers are scored as
`stability` would score them, learned from clean images only. The test part is not looked at.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from bench._table import show
from bench.detection import gazeshift, image_flags, set_flags, split_and_sets
from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors.stability import Stability, _balanced
from gazeshift.runs.detector.run import read_learned

FEATURES = ("activation", "gradient", "grad_cam", "layer_cam", "logits")
OTHERS = ("shift:most=8", "jpeg:quality=60", "median", "blur:sigma=1.0")
WIDE = f"stability:shifts=4,others={'+'.join(OTHERS)},features={'+'.join(FEATURES)}"
DEFAULT = ("activation", "gradient", "logits")
Seen = Mapping[str, Float[Tensor, "n f"]]


def main(out: Path, images: int, model: str = "efficientnet_lite0") -> None:
    """Look with a wide detector in the folder of `python -m bench detection`, and print a row for each subset."""
    parts, sets = split_and_sets(out, model)
    base, folder = ["--model", model, "--device", "cpu"], out / model / "wide"
    gazeshift("detect", "fit", "--detector", WIDE, *image_flags(parts["cal"]), *base, out=folder)
    given = [*image_flags(parts["dev"]), *set_flags(sets["dev"]), "--limit", str(images), "--noise-like", "pgd-2"]
    gazeshift("detect", "evaluate", "--detector", f"wide={folder}", *given, *base, out=out / model / "wide-seen")
    detector, learned = CalibratedDetector.load(folder).detector, read_learned(folder)
    assert isinstance(detector, Stability), "the ablation is stability's"
    known, seen = torch.cat([learned.benign, learned.calibration]), _seen(out / model / "wide-seen")
    rows = []
    for label, chosen in _subsets(detector, known.shape[1]):
        found = _worth(known[:, chosen], {name: one[:, chosen] for name, one in seen.items()}, _kinds(detector, chosen))
        (mean, hits), worst = np.mean(list(found.values()), 0), min(found, key=lambda name: found[name][0])
        rows.append([label, f"{mean:.3f}", f"{found[worst][0]:.3f} ({worst})", f"{hits:.2f}"])
    sizes = ", ".join(f"{name} {len(values)}" for name, values in seen.items() if name)
    show(
        f"stability on {model}, learned from {len(known)} clean images; {len(seen[''])} clean and benignly changed "
        f"ones against successful examples: {sizes}",
        ["numbers", "mean AUROC", "worst", "TPR at 5 %"],
        rows,
    )


def _seen(folder: Path) -> Seen:
    """What was measured: under '' of all that is no attack, else of a set's successful examples."""
    table = pq.read_table(folder / "seen.parquet")
    kind, condition, success = (table[name].to_numpy(zero_copy_only=False) for name in ("kind", "condition", "success"))
    values = torch.tensor(table["measured"].to_pylist(), dtype=torch.float64)
    attacks = dict.fromkeys(condition[(kind == "attack") & success].tolist())
    found = {name: values[torch.from_numpy((condition == name) & success)] for name in attacks}
    return {"": values[torch.from_numpy(kind != "attack")], **found}


def _places(detector: Stability, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """View, layer (-1 for the answer) and feature of each measured number."""
    views, features = len(detector.changes), len(FEATURES) - 1
    layers = (count - views) // views // features
    view, layer, feature = (part.ravel() for part in np.indices((views, layers, features)))
    answers = np.arange(views)
    return (
        np.concatenate([view, answers]),
        np.concatenate([layer, np.full(views, -1)]),
        np.concatenate([feature, np.full(views, features)]),
    )


def _kinds(detector: Stability, chosen: Bool[Tensor, " f"]) -> Tensor:
    return torch.from_numpy(_places(detector, len(chosen))[2])[chosen]


def _subsets(detector: Stability, count: int) -> Iterator[tuple[str, Bool[Tensor, " f"]]]:
    """Names and masks over the measured numbers."""
    view, layer, feature = _places(detector, count)
    names, last = np.array(FEATURES)[feature], int(layer.max())
    usual, shifts = np.isin(names, DEFAULT), view < detector.shifts
    masks = {"four shifts; activation, gradient, logits (default)": usual & shifts}
    masks["all views, all features"] = np.ones(count, dtype=bool)
    masks |= {f"{most} shift{'s' * (most > 1)}": usual & (view < most) for most in (1, 2, 3)}
    masks |= {
        f"four shifts and {name}": usual & (shifts | (view == detector.shifts + at)) for at, name in enumerate(OTHERS)
    }
    masks |= {f"four shifts, {name} alone": shifts & (names == name) for name in FEATURES}
    masks |= {f"four shifts, without {name}": shifts & usual & (names != name) for name in DEFAULT}
    masks["four shifts, with maps too"] = shifts
    for at, third in enumerate(("first", "middle", "last")):
        inside = (layer * 3 // (last + 1) == at) & (layer >= 0)
        masks[f"four shifts, {third} third of the layers, no logits"] = shifts & usual & inside
    masks["four shifts, last layer alone, no logits"] = shifts & usual & (layer == last)
    yield from ((name, torch.from_numpy(mask)) for name, mask in masks.items())


def _worth(known: Tensor, seen: Seen, kinds: Tensor) -> Mapping[str, tuple[float, float]]:
    """AUROC, and TPR where 5 % of all that is no attack are flagged, by set."""
    centre, spread = known.mean(0), known.std(0).clamp_min(1e-6)
    weights = _balanced((known - centre) / spread, kinds)
    scores = {name: ((one - centre) / spread @ weights).numpy() for name, one in seen.items()}
    negatives, found = scores.pop(""), {}
    line = np.quantile(negatives, 0.95)
    for name, positives in scores.items():
        truth = np.r_[np.zeros(len(negatives)), np.ones(len(positives))]
        area = float(roc_auc_score(truth, np.r_[negatives, positives]))
        found[name] = (area, float((positives > line).mean()))
    return found
