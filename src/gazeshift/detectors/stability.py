"""Whether the gaze holds still, at every layer, when an image is changed in ways that keep its content."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.detectors._places import chosen
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError, check_known, did_you_mean
from gazeshift.precision import exact
from gazeshift.records import DetectorInput, Layer, LayerTrace
from gazeshift.registry import build, parse
from gazeshift.seeds import Generators

__all__ = ["Stability"]

FLOOR = 1e-6  # of 1 - cosine: what float32 sums cannot tell from 0
TINY = 1e-30
ANCHOR = 10  # times the suspicion learned from clean images alone, as one more number of the regression
SIDES = ("high", "both")
UNFITTED = "stability knows no clean images yet: fit it first."


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Suspicion = how much more an image's gaze moves under small changes of the image than clean images' gaze does.

    A perturbation is tuned to the very pixels it lies on, and to the grid of strides behind them: a shift by a pixel or
    two takes much of its effect. Then the channels' mean activations and mean gradients (what Grad-CAM weighs by) move,
    at all layers, and the answer does, while a clean image's hardly do. Views that move clean images more, such as
    larger shifts, blur or a median filter, add nothing. Random views are drawn anew for each request.

    Each number is taken for each view, layer and feature, in units of its spread over clean images. Learned from clean
    images alone it knows no attack: the suspicion is the mean over the features, each being the mean of its numbers, in
    units of the spread of that. With adversarial images too, a logistic regression weighs the numbers, and that mean as
    one more: what it learns of the attacks that it saw must pay for leaving the rule that knows none.

    Args:
        shifts: views shifted at random, along each axis by 1 to `most` pixels.
        most: largest shift, in pixels.
        others: more views, as specs of interventions in a tuple, or joined by ``+`` in a text; may be none.
        features: any of ``activation`` and ``gradient`` (log of 1 - cosine of the channels' means), ``grad_cam`` and
            ``layer_cam`` (likewise of the rectified maps), ``grad_cam_norm`` and ``layer_cam_norm`` (logarithm of the
            ratio of their sizes, view to image), and ``logits`` (distance of the softmax outputs, once for each view);
            in a tuple, or joined by ``+``.
        at: layers; ``convs``, ``blocks``, ``trunk``, a name, alias or glob.
        side: ``high``: a gaze that moves is suspicious; ``both``: one that holds too still is, too.
        penalty: of the logistic regression: the variance of the weights' prior, scikit-learn's C.
        centre: learned: each number's mean over clean images.
        spread: learned: its standard deviation.
        weights: learned: each number's weight.
        range: learned for ``both``: 5 %, 50 % and 95 % points of the clean images' mean.

    Raises:
        UnknownNameError: no such feature, side or intervention.
        BoundsError: no view, no feature, or an impossible shift.
    """

    min_clean: ClassVar[int] = 20  # images from which a spread can be learned
    shifts: int = 4
    most: int = 3
    others: tuple[str, ...] = ()
    features: tuple[str, ...] = ("activation", "gradient", "logits")
    at: str = "trunk"
    side: str = "high"
    penalty: float = 0.01
    centre: Tensor | None = field(default=None, repr=False, compare=False)
    spread: Tensor | None = field(default=None, repr=False, compare=False)
    weights: Tensor | None = field(default=None, repr=False, compare=False)
    range: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("others", "features"):  # texts as the command line hands them on
            given: Any = getattr(self, name)
            parts = given.split("+") if isinstance(given, str) else given or ()
            object.__setattr__(self, name, tuple(part.strip() for part in parts if part.strip()))
        if self.shifts < 0 or not self.changes or not self.features:
            raise BoundsError(
                "stability needs at least one view and one feature, got "
                f"{self.shifts} shifts, {len(self.others)} others and {len(self.features)} features."
            )
        for feature in self.features:
            if feature not in (*FEATURES, "logits"):
                raise UnknownNameError(f"stability has no feature '{feature}'. {did_you_mean(feature, FEATURES)}")
        check_known(self.side, SIDES, f"stability has no side '{self.side}'")
        _ = self._changes

    @property
    def changes(self) -> tuple[str, ...]:
        """What makes the views, as specs of interventions."""
        return (f"shift:most={self.most},least=1",) * self.shifts + self.others

    @cached_property
    def _changes(self) -> tuple[Callable[..., Tensor], ...]:
        return tuple(build("transforms", spec) for spec in self.changes)

    @property
    def cams(self) -> tuple[str, ...]:
        """The maps that the features compare; none for channels' means."""
        return tuple(dict.fromkeys(one.removesuffix("_norm") for one in self.features if "cam" in one))

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """All that `at` names."""
        return chosen(known, self.at)

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> tuple[Tensor, ...]:
        """One changed copy for each of `changes`."""
        return tuple(change(images, generator=generator).clamp(0, 1) for change in self._changes)

    @property
    def names(self) -> tuple[str, ...]:
        """What the views are called: the interventions' names, numbered where one stands there twice."""
        given = [parse(spec)[0] for spec in self.changes]
        numbers = [given[: place + 1].count(name) for place, name in enumerate(given)]
        return tuple(
            f"{name} {number}" if given.count(name) > 1 else name for name, number in zip(given, numbers, strict=True)
        )

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """Every feature at every layer for every view, views first, layers next; then the logits' for every view.

        Raises:
            SettingsError: other views than the detector asks for.
        """
        if len(seen.views) != len(self.changes):
            raise SettingsError(
                f"stability compares with {len(self.changes)} views, got {len(seen.views)}. Let "
                "pipeline.detector_inputs look with the same detector."
            )
        chosen = [FEATURES[name] for name in self.features if name != "logits"]
        moved = [
            feature(seen.own.traces[layer], view.traces[layer])
            for view in seen.views
            for layer in seen.own.layers
            for feature in chosen
        ]
        if "logits" in self.features:
            own = exact(seen.own.logits).softmax(1)
            moved += [(exact(view.logits).softmax(1) - own).abs().sum(1) for view in seen.views]
        return torch.stack(moved, 1).cpu()

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:
        """With the clean images' centre and spread, and weights if there are adversarial images.

        Raises:
            BoundsError: fewer than 20 clean images, or no adversarial one where they are given.
        """
        if len(benign) < self.min_clean:
            raise BoundsError(f"stability learns from at least {self.min_clean} clean images, got {len(benign)}.")
        if attacked is not None and not len(attacked):
            raise BoundsError("stability was to learn from adversarial images too, got none. Give some, or None.")
        spread = benign.std(0).clamp_min(FLOOR)
        learned = replace(self, centre=benign.mean(0), spread=spread, weights=None, range=None)
        clean = learned.scaled(benign)
        weights = _balanced(clean, self._kinds(benign.shape[1]))
        if attacked is not None:
            weights = _regressed(clean, learned.scaled(attacked), weights, self.penalty)
        learned = replace(learned, weights=weights)
        means = learned.mean(benign)
        return replace(learned, range=torch.quantile(means, torch.tensor([0.05, 0.5, 0.95], dtype=means.dtype)))

    def scaled(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """What was measured, in standard deviations of clean images from their mean.

        Raises:
            SettingsError: nothing was learned.
        """
        if self.centre is None or self.spread is None:
            raise SettingsError(UNFITTED)
        return (measured - self.centre.to(measured)) / self.spread.to(measured)

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """Suspicion per image: the weighted mean, or for ``both`` its distance from clean images' median.

        That distance is counted in steps from the median to the 95 % point above it, and to the 5 % point below it.
        """
        means = self.mean(measured)
        if self.side == "high" or self.range is None:
            return means
        low, middle, high = self.range.to(means)
        return torch.maximum((means - middle) / (high - middle), (middle - means) / (middle - low))

    def reasons(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, "n views places"]:
        """Each view's and layer's part in the mean, the features of a layer together; the logits' part after them."""
        parts, views = self.scaled(measured) * self._weights(measured), len(self.changes)
        kinds = self._kinds(measured.shape[1])
        layered = torch.unflatten(parts[:, kinds < self._layered], 1, (views, -1, max(1, self._layered))).sum(3)
        answers = torch.unflatten(parts[:, kinds >= self._layered], 1, (views, -1))
        return torch.cat([layered, answers], 2)

    def mean(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """The weighted mean of what was measured, in clean images' standard deviations."""
        return self.scaled(measured) @ self._weights(measured)

    def _weights(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " f"]:
        if self.weights is None:
            raise SettingsError(UNFITTED)
        return self.weights.to(measured)

    @property
    def _layered(self) -> int:
        """How many features are taken at every layer."""
        return sum(name != "logits" for name in self.features)

    def _kinds(self, count: int) -> Int[Tensor, " f"]:
        """Which feature each measured number is of; the logits, one number for each view, come last."""
        answers = len(self.changes) if "logits" in self.features else 0
        layered = torch.arange(count - answers) % max(1, self._layered)
        return torch.cat([layered, torch.full((answers,), self._layered)])


def _balanced(clean: Float[Tensor, "n f"], kinds: Int[Tensor, " f"]) -> Float[Tensor, " f"]:
    """Weights that make the score the mean over features of each one's mean, in units of its spread over clean images.

    Without the units, the feature whose numbers go together most would count most.
    """
    weights, found = torch.zeros_like(clean[0]), set(kinds.tolist())
    for kind in found:
        own = kinds == kind
        weights[own] = 1 / (len(found) * own.sum() * clean[:, own].mean(1).std().clamp_min(FLOOR))
    return weights


def _moved(first: Float[Tensor, "n ..."], second: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """The logarithm of 1 - cosine, from below log(1e-6); two zeros are alike, one is not like the other."""
    one, two = exact(first).flatten(1), exact(second).flatten(1)
    sizes = one.square().sum(1) * two.square().sum(1)
    cosine = (one * two).sum(1) / torch.where(sizes > 0, sizes, 1.0).sqrt()
    cosine = cosine + ((one == 0).all(1) & (two == 0).all(1)).to(cosine)
    return (1 - cosine).clamp_min(FLOOR).log()


def _grown(first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Logarithm of the ratio of sizes, second to first; sizes below 1e-15 count as that."""
    one, two = (exact(maps).flatten(1).square().sum(1).clamp_min(TINY) for maps in (first, second))
    return 0.5 * (two.log() - one.log())


def _of_maps(cam: str, compared: Callable[[Tensor, Tensor], Tensor]) -> Callable[[LayerTrace, LayerTrace], Tensor]:
    return lambda own, view: compared(own.maps[cam].clamp_min(0), view.maps[cam].clamp_min(0))


FEATURES: Mapping[str, Callable[[LayerTrace, LayerTrace], Tensor]] = {
    "activation": lambda own, view: _moved(own.activation, view.activation),
    "gradient": lambda own, view: _moved(own.gradient, view.gradient),
    "grad_cam": _of_maps("grad_cam", _moved),
    "layer_cam": _of_maps("layer_cam", _moved),
    "grad_cam_norm": _of_maps("grad_cam", _grown),
    "layer_cam_norm": _of_maps("layer_cam", _grown),
}


def _regressed(
    benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"], known: Float[Tensor, " f"], penalty: float
) -> Float[Tensor, " f"]:
    """Weights of a logistic regression in which both classes count the same, and weights `known` before cost little."""
    from sklearn.linear_model import LogisticRegression  # takes seconds to load

    values = torch.cat([benign, attacked])
    numbers = torch.cat([values, ANCHOR * (values @ known)[:, None]], 1).numpy()
    labels = [0] * len(benign) + [1] * len(attacked)
    found = LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000).fit(numbers, labels)
    learned = torch.from_numpy(found.coef_[0].copy()).double()
    return learned[:-1] + ANCHOR * learned[-1] * known
