"""Any attack of Foolbox."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gazeshift.attacks._adapter import (
    budget,
    check_settings,
    chosen,
    kinds_in,
    opened,
    parameters_of,
    run_attack,
    settled,
)
from gazeshift.attacks._gradient import Model
from gazeshift.errors import SettingsError, UnknownNameError, did_you_mean
from gazeshift.seeds import Generators

__all__ = ["Foolbox"]

# What Foolbox says when an image cannot be started from, and when an attack only works towards a class.
NO_START, NO_DRAW, TARGETED = (
    "init_attack failed",
    ".* failed to draw sufficient random inputs",
    "unsupported criterion",
)


@dataclass(frozen=True, kw_only=True)
class Foolbox:
    """Any attack of Foolbox (Rauber et al. 2020, doi:10.21105/joss.02607): ``foolbox:LinfPGD,steps=20,epsilon=4/255``.

    The model's bounds are (0, 1) and the criterion is misclassification of the labels; what comes back is what Foolbox
    clipped to epsilon. Among the attacks: ``L2CarliniWagnerAttack`` and ``L2DeepFoolAttack`` look for the smallest
    change, ``HopSkipJumpAttack`` and ``BoundaryAttack`` need nothing but decisions. Foolbox attacks a batch as a whole
    from the global random state: see `gazeshift.attacks._adapter` for what is made of that.

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
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        attack, spec = self._made(), f"foolbox:{self.name}"
        if self.epsilon is not None and _distance(attack) is None:
            raise SettingsError(
                f"{spec} has no distance that epsilon could bound. Say which, distance=l2, or no epsilon."
            )
        needs = isinstance(attack, opened("foolbox", "foolbox").attacks.base.FixedEpsilonAttack)
        object.__setattr__(self, "epsilon", budget(spec, self.epsilon, _norm(attack), needs=needs))

    @property
    def norm(self) -> str | None:
        """The norm that epsilon bounds: ``linf`` or ``l2``; None without a bound, or in another distance."""
        return None if self.epsilon is None else _norm(self._made())

    def __call__(
        self, model: Model, images: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n 3 h w"]:
        """The attacked images; one that a decision-based attack finds no start for comes back as it is."""
        spec, epsilon, norm = f"foolbox:{self.name}", self.epsilon, self.norm
        return run_attack(self._run, model, images, labels, generator, spec=spec, epsilon=epsilon, norm=norm)

    def _made(self) -> Any:
        package = opened("foolbox", "foolbox")
        kind = chosen("foolbox", kinds_in(package.attacks, package.attacks.base.Attack), self.name)
        known = parameters_of(kind)
        check_settings(f"foolbox:{self.name}", self.settings, known)
        settings = {key: _read(package, key, value) for key, value in self.settings.items()}
        return settled(f"foolbox:{self.name}", kind, **settings)

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
                    f"foolbox:{self.name} needs a class to reach, and here any class but the label will do. "
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


def _norm(attack: Any) -> str | None:
    names: dict[Any, str] = {math.inf: "linf", 2: "l2"}
    return names.get(getattr(_distance(attack), "p", None))


def _read(package: Any, key: str, value: Any) -> Any:
    """A setting as Foolbox takes it: distances are objects there."""
    if key != "distance" or not isinstance(value, str):
        return value
    known = {name: getattr(package.distances, name) for name in ("l0", "l1", "l2", "linf")}
    if value not in known:
        raise UnknownNameError(f"no distance named '{value}'. {did_you_mean(value, known)}")
    return known[value]
