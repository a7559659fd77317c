"""Any evasion attack of the Adversarial Robustness Toolbox."""

import math
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

__all__ = ["Art"]

INSTALL = "adversarial-robustness-toolbox"
OURS = {"targeted": False, "verbose": False, "summary_writer": False}  # unless the user says otherwise
OVERSHOOT = 0.02  # of DeepFool, as its paper has it: with ART's 1e-6 images stay on the boundary


@dataclass(frozen=True, kw_only=True)
class Art:
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
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        spec, known = f"art:{self.name}", self._known()
        check_settings(spec, self.settings, known)
        if self.epsilon is not None and "eps" not in known:
            raise SettingsError(f"{spec} has no epsilon: it looks for the smallest change. Write {spec},epsilon=none.")
        object.__setattr__(self, "epsilon", budget(spec, self.epsilon, self._norm(known), needs="eps" in known))

    @property
    def norm(self) -> str | None:
        """The norm that epsilon bounds: ``linf`` or ``l2``; None without a bound, or in another norm."""
        return None if self.epsilon is None else self._norm(self._known())

    def __call__(
        self, model: Model, images: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n 3 h w"]:
        """The attacked images."""
        spec, epsilon, norm = f"art:{self.name}", self.epsilon, self.norm
        return run_attack(self._run, model, images, labels, generator, spec=spec, epsilon=epsilon, norm=norm)

    def _kind(self) -> type:
        evasion = opened("art.attacks.evasion", INSTALL)
        return chosen("art", kinds_in(evasion, opened("art.attacks", INSTALL).EvasionAttack), self.name)

    def _known(self) -> dict[str, Parameter]:
        """Its settings and ART's `eps`."""
        return parameters_of(self._kind(), "estimator", "classifier")

    def _norm(self, known: Mapping[str, Parameter]) -> str | None:
        if "norm" not in known:
            return "linf"
        return {math.inf: "linf", "inf": "linf", 2: "l2"}.get(self.settings.get("norm", known["norm"].default))

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known, spec = self._known(), f"art:{self.name}"
        usual: dict[str, Any] = OURS | {"batch_size": len(images)}
        if self.epsilon is not None:
            usual |= {"eps": self.epsilon, "eps_step": self.epsilon / 4}
        if self.name == "DeepFool":
            usual |= {"epsilon": OVERSHOOT}
        settings = {name: value for name, value in usual.items() if name in known} | dict(self.settings)
        attack = settled(spec, self._kind(), _estimator(seen, images), **settings)
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
