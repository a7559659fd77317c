"""Any attack of torchattacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter
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
from gazeshift.errors import SettingsError
from gazeshift.seeds import Generators

__all__ = ["TorchAttacks"]

BUDGETS = ("eps", "max_epsilon")  # what torchattacks calls epsilon
NORMS = {"Linf": "linf", "L2": "l2"}


@dataclass(frozen=True, kw_only=True)
class TorchAttacks:
    """Any attack of torchattacks (Kim 2020, arXiv:2010.01950): ``torchattacks:MIFGSM,steps=20,epsilon=4/255``.

    The number of classes, which some attacks take to be 10, is taken from the model. torchattacks attacks a batch as
    a whole from the global random state: see `gazeshift.attacks._adapter` for what is made of that.

    Args:
        name: of the attack's class.
        epsilon: largest change, images in [0, 1], in the norm of the attack. None takes 8/255 for attacks in L-inf;
            attacks that look for the smallest change (``CW``, ``DeepFool``) take none.
        settings: what the attack's class takes: ``steps``, ``alpha``, ``norm=L2``...

    Raises:
        MissingPackageError: torchattacks is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, needs an epsilon, or takes none.
        BoundsError: epsilon out of range.
    """

    name: str = "BIM"
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        spec, known = f"torchattacks:{self.name}", self._known()
        check_settings(spec, self.settings, known)
        bounded = any(name in known for name in BUDGETS)
        if self.epsilon is not None and not bounded:
            raise SettingsError(f"{spec} has no epsilon: it looks for the smallest change. Write {spec},epsilon=none.")
        object.__setattr__(self, "epsilon", budget(spec, self.epsilon, self._norm(known), needs=bounded))

    @property
    def norm(self) -> str | None:
        """The norm that epsilon bounds: ``linf`` or ``l2``; None without a bound, or in another norm."""
        return None if self.epsilon is None else self._norm(self._known())

    def __call__(
        self, model: Model, images: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n 3 h w"]:
        """The attacked images."""
        spec, epsilon, norm = f"torchattacks:{self.name}", self.epsilon, self.norm
        return run_attack(self._run, model, images, labels, generator, spec=spec, epsilon=epsilon, norm=norm)

    def _kind(self) -> type:
        package = opened("torchattacks", "torchattacks")
        return chosen("torchattacks", kinds_in(package, package.attack.Attack), self.name)

    def _known(self) -> dict[str, Parameter]:
        """Its settings and, under torchattacks' name for it, epsilon."""
        return parameters_of(self._kind(), "model")

    def _norm(self, known: Mapping[str, Parameter]) -> str | None:
        if "norm" in known:
            return NORMS.get(str(self.settings.get("norm", known["norm"].default)))
        return "l2" if self.name.endswith("L2") else "linf"

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known, settings = self._known(), dict(self.settings)
        settings |= {name: self.epsilon for name in BUDGETS if name in known}
        if "n_classes" in known and "n_classes" not in settings:
            with torch.no_grad():
                settings["n_classes"] = seen(images[:1]).shape[1]
        attack = settled(f"torchattacks:{self.name}", self._kind(), seen, **settings)
        attacked: Tensor = attack(images, labels)
        return attacked
