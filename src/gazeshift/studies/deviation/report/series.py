"""What charts and tables show, for every choice a reader can make, as plain lists of whole thousandths.

Thousandths keep the page small, and are rounded the same wherever they are printed.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.report.cube import Cube
from gazeshift.report.statistics import chance_band, compromise, mod, spread, vid

Series = Mapping[str, Any]
POPULATIONS = ("fooled", "all")


def series(cube: Cube) -> dict[str, Any]:
    """Axes, then values by choice; a key like ``0.2.1.0.fooled`` gives the places on the axes and the images."""
    places = {
        "attacks": [attack.label for attack in cube.attacks],
        "strengths": [float(f"{strength:.6g}") for strength in cube.strengths],
        "targets": list(cube.targets),
        "cams": list(cube.cams),
        "layers": list(cube.layers),
        "images": len(cube.images),
        "fooled": [int(row.sum()) for row in cube.fooled],
    }
    values = {"compare": _compare(cube), "split": _split(cube), "structure": _structure(cube)}
    return {**places, "chosen": _default(cube), **values}


def key(*places: Any) -> str:
    """The key of a choice."""
    return ".".join(map(str, places))


def compared(series: Series, choice: Mapping[str, Any]) -> Any:
    """Attack against noise for one choice."""
    return series["compare"][key(*(choice[axis] for axis in ("attack", "strength", "target", "cam", "images")))]


def thousandths(values: Iterable[float]) -> list[int | None]:
    """Numbers as whole thousandths; None where undefined.

    >>> thousandths([0.5, float("nan"), -0.0004])
    [500, None, 0]
    """
    return [half_up(value * 1000) if np.isfinite(value) else None for value in values]


def half_up(value: float) -> int:
    """The nearest whole number; of two that are as near, the upper one."""
    return math.floor(value + 0.5)


def _default(cube: Cube) -> dict[str, Any]:
    """What is shown first: the attack that fooled most images, strength 1 or the nearest, Grad-CAM, the own class."""
    attack = int(cube.fooled.sum(1).argmax())
    return {
        "attack": attack,
        "strength": int(np.abs(np.log(np.maximum(cube.strengths, 1e-9))).argmin()),
        "target": 0,
        "cam": cube.cams.index("grad_cam") if "grad_cam" in cube.cams else 0,
        "images": POPULATIONS[0] if cube.fooled[attack].any() else POPULATIONS[1],
    }


def _compare(cube: Cube) -> dict[str, Any]:
    """Attack against noise, for every attack, strength, target, CAM and choice of images."""
    made = {}
    for a, s, t, c in product(*map(range, cube.cosine[:, :, 0, :, :, 0, 0].shape)):
        for population in POPULATIONS:
            images = cube.fooled[a] if population == "fooled" else np.ones(len(cube.images), dtype=bool)
            made[key(a, s, t, c, population)] = _against_noise(cube, (a, s, t, c), images)
    return made


def _against_noise(cube: Cube, place: tuple[int, int, int, int], images: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    a, s, t, c = place
    attacked, noise = cube.cosine[a, s, :, t, c][:, :, images]
    found = compromise(attacked, noise)
    histogram = np.bincount(found.per_image, minlength=len(cube.layers) + 1)
    missing = cube.present[a, s, :, t, c] & np.isnan(cube.cosine[a, s, :, t, c])
    return {
        "images": int(images.sum()),
        "attacked": _spread(attacked),
        "noise": _spread(noise),
        "probability": thousandths(found.probability),
        "paired": thousandths(found.paired),
        "pairs": found.pairs.tolist(),
        "lowest": found.lowest.tolist(),
        "histogram": histogram.tolist() if len(found.per_image) else [],
        "undefined": int(missing[:, :, images].sum()),
        "blank": int(cube.blank[a, s, :, t, c][:, :, images].sum()),
        "band": thousandths(chance_band(int(min(found.attacked.count.max(), found.noise.count.max())))),
    }


def _split(cube: Cube) -> dict[str, Any]:
    """Similarity under attack where the class switched and where it stayed, for both targets; noise beside them."""
    made = {}
    for a, s, c in product(range(len(cube.attacks)), range(len(cube.strengths)), range(len(cube.cams))):
        switched = cube.switched[a, s, 0]
        there = cube.present[a, s, 0, :, c].any((0, 1))
        groups = {}
        for name, images in {"switched": there & switched, "stayed": there & ~switched}.items():
            values = {target: cube.cosine[a, s, :, t, c][:, :, images] for t, target in enumerate(cube.targets)}
            groups[name] = {
                "images": int(images.sum()),
                **{target: _with_total(pair[0]) for target, pair in values.items()},
                "noise": _with_total(values[cube.targets[-1]][1]),
            }
        made[key(a, s, c)] = groups
    return made


def _structure(cube: Cube) -> dict[str, Any]:
    """NISSIM: MOD per strength and layer, VID per layer, for what it was computed for. All images take part."""
    made = {}
    for a, t, c in product(range(len(cube.attacks)), range(len(cube.targets)), range(len(cube.cams))):
        values = cube.nissim[a, :, :, t, c]
        if np.isfinite(values).any():
            made[key(a, t, c)] = {"attacked": _levels(values[:, 0]), "noise": _levels(values[:, 1])}
    return made


def _levels(nissim: Float[np.ndarray, "s l n"]) -> dict[str, Any]:
    several = len(nissim) > 1
    return {
        "mod": [thousandths(mod(level)) for level in nissim],
        "spread": [_spread(level) for level in nissim],
        "vid": _spread(vid(nissim)) if several else None,
    }


def _with_total(values: Float[np.ndarray, "l n"]) -> dict[str, Any]:
    """The spread per layer, and the mean over all layers and images."""
    defined = values[np.isfinite(values)]
    return {**_spread(values), "total": thousandths([defined.mean() if defined.size else np.nan])[0]}


def _spread(values: Float[np.ndarray, "l n"]) -> dict[str, Any]:
    found = spread(values)
    low, middle, high = found.quartiles
    return {
        "mean": thousandths(found.mean),
        "low": thousandths(low),
        "median": thousandths(middle),
        "high": thousandths(high),
        "count": found.count.tolist(),
    }
