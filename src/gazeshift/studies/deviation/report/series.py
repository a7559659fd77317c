"""What charts and tables show, for every choice a reader can make, as plain lists of whole thousandths.

Thousandths keep the page small, and are rounded the same wherever they are printed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.report.cube import Cube
from gazeshift.report.measure_scale import COSINE, NISSIM, MeasureScale
from gazeshift.report.statistics import chance_band, compromise, mod, spread, vid

POPULATIONS = ("fooled", "all")
COMPARED = ("measure", "attack", "strength", "target", "cam", "images")  # axes of `Series.compare`
SPLIT = ("measure", "attack", "strength", "cam")
STRUCTURE = ("attack", "target", "cam")
Thousandths = Sequence[int | None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a reader chose: places on the axes, and which images."""

    measure: int
    attack: int
    strength: int
    target: int
    cam: int
    images: str

    def key(self, axes: Sequence[str]) -> str:
        """The key of the choice on these axes."""
        return key(*(getattr(self, axis) for axis in axes))


@dataclass(frozen=True, kw_only=True)
class RoundedSpread:
    """How values spread over images, for each layer; None where no value is defined.

    Args:
        mean: of the values.
        low: 25 % point.
        median: 50 % point.
        high: 75 % point.
        count: defined values.
    """

    mean: Thousandths
    low: Thousandths
    median: Thousandths
    high: Thousandths
    count: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class AgainstNoise:
    """Attacked maps against those under noise, for each layer; see `gazeshift.report.statistics.Compromise`.

    Args:
        images: that take part.
        attacked: what the measure says of attacked images' maps.
        noise: the same under noise.
        probability: share of images whose map is less alike than the median under noise.
        paired: share of images whose map is less alike than their own under noise.
        pairs: images with both values.
        lowest: images in which this layer is the least alike.
        histogram: images by their number of compromised layers; empty if nothing was compared.
        undefined: values left out.
        blank: comparisons with a blank map.
        band: where a probability lies in 19 of 20 layers if attack and noise do not differ.
    """

    images: int
    attacked: RoundedSpread
    noise: RoundedSpread
    probability: Thousandths
    paired: Thousandths
    pairs: Sequence[int]
    lowest: Sequence[int]
    histogram: Sequence[int]
    undefined: int
    blank: int
    band: tuple[int, int]

    def side(self, kind: str) -> RoundedSpread:
        """``attacked`` or ``noise``."""
        return self.noise if kind == "noise" else self.attacked


@dataclass(frozen=True, kw_only=True)
class LayerMeans:
    """Means over images, for each layer, and over all layers and images."""

    mean: Thousandths
    count: Sequence[int]
    total: int | None


@dataclass(frozen=True, kw_only=True)
class ClassGroup:
    """Images whose class switched, or stayed.

    Args:
        images: how many.
        attacked: what the measure says of their maps, by the class explained.
        noise: the same under noise, for the last of these classes.
    """

    images: int
    attacked: Mapping[str, LayerMeans]
    noise: LayerMeans


@dataclass(frozen=True, kw_only=True)
class SplitByClass:
    """The images of one choice, by whether the attack switched their class."""

    switched: ClassGroup
    stayed: ClassGroup


@dataclass(frozen=True, kw_only=True)
class StructureLevels:
    """NISSIM over the strengths.

    Args:
        mod: for each strength and layer.
        spread: over the images, for each strength.
        vid: over the images; None if there is one strength.
    """

    mod: Sequence[Thousandths]
    spread: Sequence[RoundedSpread]
    vid: RoundedSpread | None


@dataclass(frozen=True, kw_only=True)
class Structure:
    """NISSIM under attack and under noise."""

    attacked: StructureLevels
    noise: StructureLevels

    def side(self, kind: str) -> StructureLevels:
        """``attacked`` or ``noise``."""
        return self.noise if kind == "noise" else self.attacked


@dataclass(frozen=True, kw_only=True)
class Series:
    """The axes, and the numbers by choice; a key like ``0.0.2.1.0.fooled`` gives places on the axes, and the images.

    Args:
        measures: how maps were compared.
        least: where the axis of each begins: at 0 if none of its values is below, else at the lowest possible.
        attacks: labels, such as ``pgd 2/255``.
        strengths: ascending.
        targets: classes explained.
        cams: names.
        layers: names, in order.
        images: how many.
        chosen: what is shown first.
        compare: by the axes `COMPARED`.
        split: by the axes `SPLIT`.
        structure: by the axes `STRUCTURE`, for what NISSIM was computed for. All images take part.
    """

    measures: Sequence[MeasureScale]
    least: Sequence[float]
    attacks: Sequence[str]
    strengths: Sequence[float]
    targets: Sequence[str]
    cams: Sequence[str]
    layers: Sequence[str]
    images: int
    chosen: Selection
    compare: Mapping[str, AgainstNoise]
    split: Mapping[str, SplitByClass]
    structure: Mapping[str, Structure]

    def compared(self, choice: Selection) -> AgainstNoise:
        """Attack against noise for one choice."""
        return self.compare[choice.key(COMPARED)]

    def measure(self, choice: Selection) -> MeasureScale:
        """The measure of one choice."""
        return self.measures[choice.measure]


def series(cube: Cube) -> Series:
    """Everything that the page shows of a study's rows."""
    return Series(
        measures=cube.measures,
        least=[-math.inf if (values < 0).any() else 0 for values in cube.values],
        attacks=[attack.label for attack in cube.attacks],
        strengths=[float(f"{strength:.6g}") for strength in cube.strengths],
        targets=cube.targets,
        cams=cube.cams,
        layers=cube.layers,
        images=len(cube.images),
        chosen=_default(cube),
        compare=_compare(cube),
        split=_split(cube),
        structure=_structure(cube),
    )


def key(*places: int | str) -> str:
    """The key of a choice."""
    return ".".join(map(str, places))


def thousandths(values: Iterable[float]) -> list[int | None]:
    """Numbers as whole thousandths; None where undefined.

    >>> thousandths([0.5, float("nan"), -0.0004])
    [500, None, 0]
    """
    return [half_up(value * 1000) if np.isfinite(value) else None for value in values]


def half_up(value: float) -> int:
    """The nearest whole number; of two that are as near, the upper one."""
    return math.floor(value + 0.5)


def _default(cube: Cube) -> Selection:
    """Shown first: cosine, the attack that fooled most images, strength 1 or the nearest, Grad-CAM, the own class."""
    attack, names = int(cube.fooled.sum(1).argmax()), [measure.name for measure in cube.measures]
    return Selection(
        measure=names.index(COSINE) if COSINE in names else 0,
        attack=attack,
        strength=int(np.abs(np.log(np.maximum(cube.strengths, 1e-9))).argmin()),
        target=0,
        cam=cube.cams.index("grad_cam") if "grad_cam" in cube.cams else 0,
        images=POPULATIONS[0] if cube.fooled[attack].any() else POPULATIONS[1],
    )


def _compare(cube: Cube) -> dict[str, AgainstNoise]:
    """Attack against noise, for every measure, attack, strength, target, CAM and choice of images."""
    everybody = np.ones(len(cube.images), dtype=bool)
    return {
        key(m, a, s, t, c, population): _against_noise(cube, (m, a, s, t, c), images)
        for m, a, s, t, c in product(*map(range, cube.values[:, :, :, 0, :, :, 0, 0].shape))
        for population, images in zip(POPULATIONS, (cube.fooled[a], everybody), strict=True)
    }


def _against_noise(cube: Cube, place: tuple[int, int, int, int, int], images: Bool[np.ndarray, " n"]) -> AgainstNoise:
    m, a, s, t, c = place
    measured = cube.values[m, a, s, :, t, c]
    attacked, noise = measured[:, :, images]
    found = compromise(*(cube.measures[m].alike(values) for values in (attacked, noise)))
    missing = cube.present[m, a, s, :, t, c] & np.isnan(measured)
    low, high = chance_band(int(min(found.attacked.count.max(), found.noise.count.max())))
    return AgainstNoise(
        images=int(images.sum()),
        attacked=_spread(attacked),
        noise=_spread(noise),
        probability=thousandths(found.probability),
        paired=thousandths(found.paired),
        pairs=found.pairs.tolist(),
        lowest=found.lowest.tolist(),
        histogram=np.bincount(found.per_image, minlength=len(cube.layers) + 1).tolist() if len(found.per_image) else [],
        undefined=int(missing[:, :, images].sum()),
        blank=int(cube.blank[m, a, s, :, t, c][:, :, images].sum()),
        band=(half_up(1000 * low), half_up(1000 * high)),
    )


def _split(cube: Cube) -> dict[str, SplitByClass]:
    """What attacked maps have where the class switched and where it stayed, for both targets; noise beside them."""
    axes = (cube.measures, cube.attacks, cube.strengths, cube.cams)
    made = {}
    for m, a, s, c in product(*(range(len(axis)) for axis in axes)):
        switched, there = cube.switched[a, s, 0], cube.present[:, a, s, 0, :, c].any((0, 1, 2))
        values = cube.values[m, a, s, :, :, c]
        made[key(m, a, s, c)] = SplitByClass(
            switched=_group(values, cube.targets, there & switched),
            stayed=_group(values, cube.targets, there & ~switched),
        )
    return made


def _group(values: Float[np.ndarray, "k t l n"], targets: Sequence[str], images: Bool[np.ndarray, " n"]) -> ClassGroup:
    attacked, noise = values[..., images]
    return ClassGroup(
        images=int(images.sum()),
        attacked={target: _means(each) for target, each in zip(targets, attacked, strict=True)},
        noise=_means(noise[-1]),
    )


def _structure(cube: Cube) -> dict[str, Structure]:
    """NISSIM: MOD per strength and layer, VID per layer, for what it was computed for."""
    nissim = cube.of(NISSIM)
    if nissim is None:
        return {}
    made = {}
    for a, t, c in product(range(len(cube.attacks)), range(len(cube.targets)), range(len(cube.cams))):
        values = nissim[a, :, :, t, c]
        if np.isfinite(values).any():
            made[key(a, t, c)] = Structure(attacked=_levels(values[:, 0]), noise=_levels(values[:, 1]))
    return made


def _levels(nissim: Float[np.ndarray, "s l n"]) -> StructureLevels:
    return StructureLevels(
        mod=[thousandths(mod(level)) for level in nissim],
        spread=[_spread(level) for level in nissim],
        vid=_spread(vid(nissim)) if len(nissim) > 1 else None,
    )


def _means(values: Float[np.ndarray, "l n"]) -> LayerMeans:
    defined, found = values[np.isfinite(values)], spread(values)
    (total,) = thousandths([defined.mean() if defined.size else np.nan])
    return LayerMeans(mean=thousandths(found.mean), count=found.count.tolist(), total=total)


def _spread(values: Float[np.ndarray, "l n"]) -> RoundedSpread:
    found = spread(values)
    low, middle, high = map(thousandths, found.quartiles)
    return RoundedSpread(mean=thousandths(found.mean), low=low, median=middle, high=high, count=found.count.tolist())
