"""Attacks of Foolbox."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter
from gazeshift.errors import SettingsError, check_known
from gazeshift.packages import check_settings, kinds_in, opened, settled

__all__ = ["Foolbox"]

# What Foolbox says when an image cannot be started from, and when an attack cannot be sent to a class.
NO_START, NO_DRAW, UNSUPPORTED = (
    "init_attack failed",
    ".* failed to draw sufficient random inputs",
    "unsupported criterion",
)

BATCHED = frozenset(
    {
        "BinarySearchContrastReductionAttack",
        "GaussianBlurAttack",
        "InversionAttack",
        "L1AdamBasicIterativeAttack",
        "L1AdamProjectedGradientDescentAttack",
        "L1BasicIterativeAttack",
        "L1FastGradientAttack",
        "L1MomentumIterativeFastGradientMethod",
        "L1ProjectedGradientDescentAttack",
        "L2AdamBasicIterativeAttack",
        "L2AdamProjectedGradientDescentAttack",
        "L2BasicIterativeAttack",
        "L2ContrastReductionAttack",
        "L2DeepFoolAttack",
        "L2FastGradientAttack",
        "L2MomentumIterativeFastGradientMethod",
        "L2ProjectedGradientDescentAttack",
        "LinfAdamBasicIterativeAttack",
        "LinfAdamProjectedGradientDescentAttack",
        "LinfBasicIterativeAttack",
        "LinfDeepFoolAttack",
        "LinfFastGradientAttack",
        "LinfMomentumIterativeFastGradientMethod",
        "LinfProjectedGradientDescentAttack",
        "NewtonFoolAttack",
        "SparseL1DescentAttack",
        "SpatialAttack",
    }
)  # shown by a real run: see docs/adapters.md
BLACK = ("EADAttack", "L2CarliniWagnerAttack")  # what they give where they find nothing
REFUSED = {
    "BinarizationRefinementAttack": "it refines images that were attacked before, and starts from none",
    "DatasetAttack": "it takes its images from a data set, which it must be fed with",
}
# They take a target and do what they do without one; those that Foolbox itself refuses one for are not listed.
NEVER_TARGETED = (
    "GaussianBlurAttack",
    "InversionAttack",
    "L2AdditiveGaussianNoiseAttack",
    "L2AdditiveUniformNoiseAttack",
    "L2ClippingAwareAdditiveGaussianNoiseAttack",
    "L2ClippingAwareAdditiveUniformNoiseAttack",
    "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack",
    "L2ClippingAwareRepeatedAdditiveUniformNoiseAttack",
    "L2ContrastReductionAttack",
    "L2RepeatedAdditiveGaussianNoiseAttack",
    "L2RepeatedAdditiveUniformNoiseAttack",
    "LinfAdditiveUniformNoiseAttack",
    "LinfRepeatedAdditiveUniformNoiseAttack",
)


@dataclass(frozen=True, kw_only=True)
class Foolbox(Adapter):
    """Attacks of Foolbox (Rauber et al. 2020, doi:10.21105/joss.02607): ``foolbox:LinfPGD,steps=20,epsilon=4/255``.

    The model's bounds are (0, 1), the criterion is misclassification of the labels or the class `target`, and what
    comes back is what Foolbox clipped to epsilon. Which attacks work is told in docs/adapters.md. Among them:
    ``L2CarliniWagnerAttack`` and ``L2DeepFoolAttack`` look for the smallest change, ``HopSkipJumpAttack`` and
    ``BoundaryAttack`` need nothing but decisions. Foolbox draws from the global random state: see
    `gazeshift.attacks._adapter` for what is made of that. An image that a decision-based attack finds no start for
    comes back as it is, and so does one that needs no change, where the smallest is looked for.

    Args:
        name: of the attack's class, or Foolbox's short name for it.
        epsilon: largest size of the change in the attack's own distance, images in [0, 1]. None takes 8/255 for
            attacks that need a budget and measure in L-inf, and no bound for attacks that look for the smallest change.
        target: the class to reach, from 0; None leaves the label for any other. An image whose label is the target
            comes back as it is.
        settings: what the attack's class takes: ``steps``, ``rel_stepsize``...; ``distance`` by name, such as ``l2``.

    Raises:
        MissingPackageError: Foolbox is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, needs an epsilon or a target, takes none, or cannot be used here.
        BoundsError: epsilon out of range.
    """

    name: str = "LinfBasicIterativeAttack"

    package: ClassVar[str] = "foolbox"
    always_targeted: ClassVar[tuple[str, ...]] = ("GenAttack",)
    batched: ClassVar[frozenset[str]] = BATCHED
    single: ClassVar[tuple[str, ...]] = ("SpatialAttack",)
    never_targeted: ClassVar[tuple[str, ...]] = NEVER_TARGETED
    refused: ClassVar[Mapping[str, str]] = REFUSED

    def _offered(self) -> Mapping[str, type]:
        attacks = opened("foolbox", "foolbox").attacks
        return kinds_in(attacks, attacks.base.Attack)

    def _needs_epsilon(self) -> bool:
        attack = self._made()
        if self.epsilon is not None and _distance(attack) is None:
            raise SettingsError(
                f"{self.spec} has no distance that epsilon could bound. Say which, distance=l2, or no epsilon."
            )
        return isinstance(attack, opened("foolbox", "foolbox").attacks.base.FixedEpsilonAttack)

    def _norm(self) -> str | None:
        names: dict[Any, str] = {math.inf: "linf", 2: "l2"}
        return names.get(getattr(_distance(self._made()), "p", None))

    def _made(self) -> Any:
        check_settings(self.spec, self.settings, self._known())
        package = opened("foolbox", "foolbox")
        settings = {key: _read(package, key, value) for key, value in self.settings.items()}
        return settled(self.spec, self._kind(), **settings)

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        package, attack = opened("foolbox", "foolbox"), self._made()
        if not isinstance(attack, package.attacks.base.MinimizationAttack):
            return self._made_of(attack, seen, images, labels)
        with torch.no_grad():
            left = ~self._criterion(labels)(images, seen(images))
        made = images.clone()  # what is there already needs no change; some attacks would divide by that
        if left.any():
            made[left] = self._made_of(attack, seen, images[left], labels[left])
        return made

    def _criterion(self, labels: Tensor) -> Any:
        criteria = opened("foolbox", "foolbox").criteria
        return (criteria.Misclassification if self.target is None else criteria.TargetedMisclassification)(labels)

    def _made_of(self, attack: Any, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        package = opened("foolbox", "foolbox")
        model = package.PyTorchModel(seen, bounds=(0, 1), device=images.device)
        sizes = {"epsilons": self.epsilon} if isinstance(attack, package.attacks.base.AttackWithDistance) else {}
        try:
            with warnings.catch_warnings():  # an image without a start is nothing to warn of: it comes back
                warnings.filterwarnings("ignore", NO_DRAW)
                raw, clipped, _ = attack(model, images, self._criterion(labels), **sizes)
        except ValueError as cause:
            if str(cause) == UNSUPPORTED:
                raise self._no_target() from cause
            if not str(cause).startswith(NO_START):
                raise
            if len(images) == 1:
                return images
            one = [slice(at, at + 1) for at in range(len(images))]
            return torch.cat([self._made_of(attack, seen, images[at], labels[at]) for at in one])
        if type(attack).__name__ in BLACK:
            clipped = torch.where((raw == 0).flatten(1).all(1)[:, None, None, None], images, clipped)
        return clipped  # type: ignore[no-any-return]


def _distance(attack: Any) -> Any:
    """What the attack measures a change with, or None: some have no distance until they are told one."""
    try:
        return attack.distance
    except (AttributeError, ValueError):
        return None


def _read(package: Any, key: str, value: Any) -> Any:
    """A setting as Foolbox takes it: distances are objects there."""
    if key != "distance" or not isinstance(value, str):
        return value
    known = {name: getattr(package.distances, name) for name in ("l0", "l1", "l2", "linf")}
    check_known(value, known, f"no distance named '{value}'")
    return known[value]
