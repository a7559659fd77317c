"""Attacks of torchattacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter, too_few_classes
from gazeshift.errors import SettingsError
from gazeshift.packages import check_settings, kinds_in, opened, settled

__all__ = ["TorchAttacks"]

BUDGETS = ("eps", "max_epsilon")  # what torchattacks calls epsilon
NORMS = {"Linf": "linf", "L2": "l2"}

BATCHED = frozenset(
    {
        "BIM",
        "DeepFool",
        "EOTPGD",
        "FGSM",
        "MIFGSM",
        "NIFGSM",
        "PGD",
        "PIFGSM",
        "PIFGSMPP",
        "SINIFGSM",
        "SparseFool",
        "UPGD",
    }
)  # shown by a real run: see docs/adapters.md
REFUSED = {
    "LGV": "it trains networks on a data loader, which a spec cannot hold",
    "MultiAttack": "it runs other attack objects, which a spec cannot hold; torchattacks:AutoAttack runs four",
}


@dataclass(frozen=True, kw_only=True)
class TorchAttacks(Adapter):
    """Attacks of torchattacks (Kim 2020, arXiv:2010.01950): ``torchattacks:MIFGSM,steps=20,epsilon=4/255``.

    The number of classes, which some attacks take to be 10, is taken from the model. torchattacks draws from the global
    random state: see `gazeshift.attacks._adapter` for what is made of that. Which attacks work is told in
    docs/adapters.md.

    Args:
        name: of the attack's class.
        epsilon: largest change, images in [0, 1], in the norm of the attack. None takes 8/255 for attacks in L-inf;
            attacks that look for the smallest change (``CW``, ``DeepFool``) take none.
        target: the class to reach, from 0; None leaves the label for any other. An image whose label is the target
            comes back as it is.
        settings: what the attack's class takes: ``steps``, ``alpha``, ``norm=L2``...

    Raises:
        MissingPackageError: torchattacks is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, needs an epsilon or a target, takes none, cannot be used here, or
            ranks more classes than the model has.
        BoundsError: epsilon out of range.
    """

    name: str = "BIM"

    package: ClassVar[str] = "torchattacks"
    given: ClassVar[tuple[str, ...]] = ("model",)
    batched: ClassVar[frozenset[str]] = BATCHED
    single: ClassVar[tuple[str, ...]] = ("AutoAttack", "EADEN", "EADL1", "FAB", "PIFGSM", "PIFGSMPP", "TIFGSM")
    refused: ClassVar[Mapping[str, str]] = REFUSED
    always_targeted: ClassVar[tuple[str, ...]] = ("JSMA",)  # else it takes (label + 1) % 10, whatever the classes
    never_targeted: ClassVar[tuple[str, ...]] = (
        "FAB",
    )  # it says that it can, and leaves images of other classes alone

    def _needs_epsilon(self) -> bool:
        known = self._known()
        check_settings(self.spec, self.settings, known)
        return self._fills(bounded=any(name in known for name in BUDGETS))

    def _offered(self) -> Mapping[str, type]:
        package = opened("torchattacks", "torchattacks")
        return kinds_in(package, package.attack.Attack)

    def _norm(self) -> str | None:
        known = self._known()
        if "norm" in known:
            return NORMS.get(str(self.settings.get("norm", known["norm"].default)))
        return "l2" if self.name.endswith("L2") else "linf"

    def _check_classes(self, classes: int) -> None:
        super()._check_classes(classes)
        wanted, instead = self._least_classes()
        if classes < wanted:
            raise SettingsError(too_few_classes(self.spec, wanted, classes, instead))

    def _least_classes(self) -> tuple[int, str]:
        """How many classes the loss compares, and what to take instead."""
        version, loss = self.settings.get("version", "standard"), self.settings.get("loss", "ce")
        if self.name == "APGDT" or (self.name == "AutoAttack" and version != "rand"):
            return 4, "torchattacks:APGD"
        if self.name == "AutoAttack" or (self.name == "APGD" and loss == "dlr"):
            return 3, "torchattacks:APGD,loss=ce"
        return 1, ""

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known, settings = self._known(), dict(self.settings)
        settings |= {name: self.epsilon for name in BUDGETS if name in known}
        if self.name == "AutoAttack":  # else the clock is its seed
            settings.setdefault("seed", int(torch.randint(2**31, ())))
        if "n_classes" in known and "n_classes" not in settings:
            with torch.no_grad():
                settings["n_classes"] = seen(images[:1]).shape[1]
        attack = settled(self.spec, self._kind(), seen, **settings)
        if self.target is not None:
            if "targeted" not in attack.supported_mode:
                raise self._no_target()
            attack.set_mode_targeted_by_label(quiet=True)
        attacked: Tensor = attack(images, labels)
        return attacked
