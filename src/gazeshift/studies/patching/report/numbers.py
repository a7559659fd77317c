"""What the tables of the patching study say: curves, half points, and tests of what they mean."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float
from scipy.stats import rankdata, wilcoxon

from gazeshift.report.statistics import wilson
from gazeshift.report.study import Study

RANKINGS = ("effect", "rmse", "random")
DIRECTIONS = ("restore", "flip")
PERMUTATIONS = 9999


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How often the answer turns when k units of one layer are replaced.

    Args:
        steps: numbers of replaced units, ascending; the last is all of them.
        turned: by step and image.
    """

    steps: tuple[int, ...]
    turned: Bool[np.ndarray, "s n"]

    @property
    def shares(self) -> list[float]:
        """Of the images, by step."""
        return [float(row.mean()) for row in self.turned]

    @property
    def intervals(self) -> tuple[list[float], list[float]]:
        """Ends of the 95 % intervals of the shares (Wilson)."""
        ends = [wilson(int(row.sum()), len(row)) for row in self.turned]
        return [low for low, _ in ends], [high for _, high in ends]

    @property
    def half(self) -> float | None:
        """Units at which half of the images turn, between two steps on the logarithm of k; None if never."""
        shares = self.shares
        if shares[0] >= 0.5:
            return float(self.steps[0])
        for at in range(1, len(shares)):
            if shares[at] >= 0.5:
                part = (0.5 - shares[at - 1]) / (shares[at] - shares[at - 1])
                low, high = np.log2(self.steps[at - 1]), np.log2(self.steps[at])
                return float(2 ** (low + part * (high - low)))
        return None

    @property
    def early(self) -> Float[np.ndarray, " n"]:
        """Of each image, the share of the steps before all units at which it turned: 1 if the first one is enough."""
        before = self.turned[:-1] if len(self.steps) > 1 else self.turned
        return np.asarray(before.mean(0), dtype=float)


@dataclass(frozen=True, kw_only=True)
class LayerCause:
    """One layer.

    Args:
        name: of the layer.
        channels: of its maps.
        side: height and width of its maps.
        curves: by direction and ranking.
        exact: share of the images whose clean answer all its activations give exactly: nothing goes around it.
        cosine: median similarity of Grad-CAM to the clean image's, each image's own class.
        agreement: median rank correlation of effect and RMSE over its units.
    """

    name: str
    channels: int
    side: tuple[int, int]
    curves: dict[tuple[str, str], Curve]
    exact: float
    cosine: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Test:
    """A statistical test.

    Args:
        value: the statistic.
        p: two-sided for a correlation, one-sided for a difference.
        n: of what it rests on.
    """

    value: float
    p: float
    n: int


def causes(study: Study) -> tuple[LayerCause, ...]:
    """Every layer, in the order of the forward pass."""
    rows, layers = study.table("rows"), study.table("layers")
    names = dict.fromkeys(layers.sort_by("layer_index")["layer"].to_pylist())
    return tuple(_cause(name, _where(rows, layer=name), _where(layers, layer=name)) for name in names)


def _cause(name: str, rows: pa.Table, own: pa.Table) -> LayerCause:
    first = own.slice(0, 1).to_pylist()[0]
    return LayerCause(
        name=name,
        channels=first["channels"],
        side=(first["height"], first["width"]),
        curves={
            (direction, ranking): _curve(_where(rows, direction=direction, ranking=ranking))
            for direction in DIRECTIONS
            for ranking in RANKINGS
        },
        exact=float(pc.mean(own["exact"]).as_py()),
        cosine=float(np.nanmedian(own["cosine"].to_numpy())),
        agreement=float(np.nanmedian(own["agreement"].to_numpy())),
    )


def _curve(rows: pa.Table) -> Curve:
    steps = tuple(sorted(set(rows["k"].to_pylist())))
    turned = [_where(rows, k=k).sort_by("image")["turned"].to_numpy(zero_copy_only=False) for k in steps]
    return Curve(steps=steps, turned=np.stack(turned))


def _where(table: pa.Table, **wanted: str | int) -> pa.Table:
    for column, value in wanted.items():
        table = table.filter(pc.equal(table[column], value))
    return table


def moved_and_mending(found: tuple[LayerCause, ...]) -> Test:
    """Whether layers whose maps move further mend with fewer units: Spearman over layers, two-sided by permutation."""
    moved = np.array([-layer.cosine for layer in found])
    mends = np.array([layer.curves["restore", "effect"].early.mean() for layer in found])
    if len(found) < 3 or len(set(moved)) < 2 or len(set(mends)) < 2:
        return Test(value=float("nan"), p=float("nan"), n=len(found))
    one, other = (ranks - ranks.mean() for ranks in (rankdata(moved), rankdata(mends)))
    chance = np.random.default_rng(0).permuted(np.tile(one, (PERMUTATIONS, 1)), axis=1) @ other
    extreme = int((np.abs(chance) >= abs(one @ other) - 1e-9).sum())
    value = one @ other / np.sqrt((one @ one) * (other @ other))
    return Test(value=float(value), p=(1 + extreme) / (1 + PERMUTATIONS), n=len(found))


def earlier(found: tuple[LayerCause, ...], direction: str, ranking: str, than: str) -> Test:
    """Whether one ranking turns images with fewer units than another: Wilcoxon's signed ranks over images.

    The value is the mean difference of `Curve.early`, over all layers.
    """
    one, other = (np.mean([layer.curves[direction, name].early for layer in found], axis=0) for name in (ranking, than))
    apart = one - other
    if not apart.any():
        return Test(value=0.0, p=1.0, n=len(apart))
    return Test(value=float(apart.mean()), p=float(wilcoxon(apart, alternative="greater").pvalue), n=len(apart))
