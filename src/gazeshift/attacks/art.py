"""Any evasion attack of the Adversarial Robustness Toolbox."""

import math
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter, fills
from gazeshift.attacks._packages import check_settings, chosen, kinds_in, opened, parameters_of, settled

__all__ = ["Art"]

INSTALL = "adversarial-robustness-toolbox"
OURS = {"targeted": False, "verbose": False, "summary_writer": False}  # unless the user says otherwise
OVERSHOOT = 0.02  # of DeepFool, as its paper has it: with ART's 1e-6 images stay on the boundary


@dataclass(frozen=True, kw_only=True)
class Art(Adapter):
    """Any evasion attack of ART (Nicolae et al. 2018, arXiv:1807.01069): ``art:SquareAttack,max_iter=500``.

    Attacks are untargeted, without progress bars, `eps_step` is a quarter of epsilon, and DeepFool oversteps by 0.02,
    unless the settings say otherwise. ART computes in NumPy's float32 and draws from the global random state: see
    `gazeshift.attacks._adapter` for what is made of that.

    Args:
        name: of the attack's class in ``art.attacks.evasion``.
        epsilon: largest change, images in [0, 1], in the norm of the attack; ART's `eps`. None takes 8/255 for attacks
            in L-inf; attacks without `eps` (``CarliniL2Method``, ``DeepFool``, ``HopSkipJump``) take none.
        settings: what the attack's class takes: ``max_iter``, ``norm=2``...; its own ``epsilon``, where it has one
            beside `eps`, can be given here alone.

    Raises:
        MissingPackageError: ART is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, needs an epsilon, or takes none.
        BoundsError: epsilon out of range.
    """

    name: str = "BasicIterativeMethod"

    package: ClassVar[str] = "art"

    def _needs_epsilon(self) -> bool:
        known = self._known()
        check_settings(self.spec, self.settings, known)
        return fills(self.spec, self.epsilon, bounded="eps" in known)

    def _kind(self) -> type:
        evasion = opened("art.attacks.evasion", INSTALL)
        return chosen("art", kinds_in(evasion, opened("art.attacks", INSTALL).EvasionAttack), self.name)

    def _known(self) -> dict[str, Parameter]:
        """Its settings and ART's `eps`."""
        return parameters_of(self._kind(), "estimator", "classifier")

    def _norm(self) -> str | None:
        known = self._known()
        if "norm" not in known:
            return "linf"
        return {math.inf: "linf", "inf": "linf", 2: "l2"}.get(self.settings.get("norm", known["norm"].default))

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known = self._known()
        usual: dict[str, Any] = OURS | {"batch_size": len(images)}
        if self.epsilon is not None:
            usual |= {"eps": self.epsilon, "eps_step": self.epsilon / 4}
        if self.name == "DeepFool":
            usual |= {"epsilon": OVERSHOOT}
        settings = {name: value for name, value in usual.items() if name in known} | dict(self.settings)
        attack = settled(self.spec, self._kind(), _estimator(seen, images), **settings)
        made = attack.generate(x=images.float().cpu().numpy(), y=labels.cpu().numpy())
        return torch.from_numpy(made).to(images.device)


def _estimator(seen: nn.Module, images: Tensor) -> Any:
    """The model as ART takes it."""
    with torch.no_grad():
        classes = seen(images[:1]).shape[1]
    return opened("art.estimators.classification", INSTALL).PyTorchClassifier(
        model=seen,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )
