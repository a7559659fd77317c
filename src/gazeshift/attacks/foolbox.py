"""Any attack of Foolbox."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter
from gazeshift.attacks._packages import check_settings, chosen, kinds_in, opened, parameters_of, settled
from gazeshift.errors import SettingsError, UnknownNameError, did_you_mean

__all__ = ["Foolbox"]

# What Foolbox says when an image cannot be started from, and when an attack only works towards a class.
NO_START, NO_DRAW, TARGETED = (
    "init_attack failed",
    ".* failed to draw sufficient random inputs",
    "unsupported criterion",
)


@dataclass(frozen=True, kw_only=True)
class Foolbox(Adapter):
    """Any attack of Foolbox (Rauber et al. 2020, doi:10.21105/joss.02607): ``foolbox:LinfPGD,steps=20,epsilon=4/255``.

    The model's bounds are (0, 1) and the criterion is misclassification of the labels; what comes back is what Foolbox
    clipped to epsilon. Among the attacks: ``L2CarliniWagnerAttack`` and ``L2DeepFoolAttack`` look for the smallest
    change, ``HopSkipJumpAttack`` and ``BoundaryAttack`` need nothing but decisions. Foolbox attacks a batch as a whole
    from the global random state: see `gazeshift.attacks._adapter` for what is made of that. An image that a
    decision-based attack finds no start for comes back as it is.

    Args:
        name: of the attack's class, or Foolbox's short name for it.
        epsilon: largest size of the change in the attack's own distance, images in [0, 1]. None takes 8/255 for
            attacks that need a budget and measure in L-inf, and no bound for attacks that look for the smallest change.
        settings: what the attack's class takes: ``steps``, ``rel_stepsize``...; ``distance`` by name, such as ``l2``.

    Raises:
        MissingPackageError: Foolbox is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, or needs an epsilon.
        BoundsError: epsilon out of range.
    """

    name: str = "LinfBasicIterativeAttack"

    package: ClassVar[str] = "foolbox"

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
        package = opened("foolbox", "foolbox")
        kind = chosen("foolbox", kinds_in(package.attacks, package.attacks.base.Attack), self.name)
        known = parameters_of(kind)
        check_settings(self.spec, self.settings, known)
        settings = {key: _read(package, key, value) for key, value in self.settings.items()}
        return settled(self.spec, kind, **settings)

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        package = opened("foolbox", "foolbox")
        model = package.PyTorchModel(seen, bounds=(0, 1), device=images.device)
        attack, criterion = self._made(), package.criteria.Misclassification(labels)
        sizes = {"epsilons": self.epsilon} if isinstance(attack, package.attacks.base.AttackWithDistance) else {}
        try:
            with warnings.catch_warnings():  # an image without a start is nothing to warn of: it comes back
                warnings.filterwarnings("ignore", NO_DRAW)
                clipped: Tensor = attack(model, images, criterion, **sizes)[1]
        except ValueError as cause:
            if str(cause) == TARGETED:
                raise SettingsError(
                    f"{self.spec} needs a class to reach, and here any class but the label will do. "
                    "Use an untargeted one, such as foolbox:HopSkipJumpAttack."
                ) from cause
            if not str(cause).startswith(NO_START):
                raise
            if len(images) == 1:
                return images
            return torch.cat([self._run(seen, images[i : i + 1], labels[i : i + 1]) for i in range(len(images))])
        return clipped


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
    if value not in known:
        raise UnknownNameError(f"no distance named '{value}'. {did_you_mean(value, known)}")
    return known[value]
