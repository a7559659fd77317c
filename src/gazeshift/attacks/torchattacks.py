"""Any attack of torchattacks."""

from dataclasses import dataclass
from inspect import Parameter
from typing import ClassVar

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter, fills
from gazeshift.attacks._packages import check_settings, chosen, kinds_in, opened, parameters_of, settled

__all__ = ["TorchAttacks"]

BUDGETS = ("eps", "max_epsilon")  # what torchattacks calls epsilon
NORMS = {"Linf": "linf", "L2": "l2"}


@dataclass(frozen=True, kw_only=True)
class TorchAttacks(Adapter):
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

    package: ClassVar[str] = "torchattacks"

    def _needs_epsilon(self) -> bool:
        known = self._known()
        check_settings(self.spec, self.settings, known)
        return fills(self.spec, self.epsilon, bounded=any(name in known for name in BUDGETS))

    def _kind(self) -> type:
        package = opened("torchattacks", "torchattacks")
        return chosen("torchattacks", kinds_in(package, package.attack.Attack), self.name)

    def _known(self) -> dict[str, Parameter]:
        """Its settings and, under torchattacks' name for it, epsilon."""
        return parameters_of(self._kind(), "model")

    def _norm(self) -> str | None:
        known = self._known()
        if "norm" in known:
            return NORMS.get(str(self.settings.get("norm", known["norm"].default)))
        return "l2" if self.name.endswith("L2") else "linf"

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known, settings = self._known(), dict(self.settings)
        settings |= {name: self.epsilon for name in BUDGETS if name in known}
        if "n_classes" in known and "n_classes" not in settings:
            with torch.no_grad():
                settings["n_classes"] = seen(images[:1]).shape[1]
        attack = settled(self.spec, self._kind(), seen, **settings)
        attacked: Tensor = attack(images, labels)
        return attacked
