"""Evasion attacks of the Adversarial Robustness Toolbox that change images."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import Adapter, too_few_classes
from gazeshift.errors import SettingsError
from gazeshift.packages import KeywordArguments, check_settings, kinds_in, opened, settled

__all__ = ["Art"]

INSTALL = "adversarial-robustness-toolbox"
OURS = {"verbose": False, "summary_writer": False}  # unless the user says otherwise
PROBABILITIES = ("SimBA", "VirtualAdversarialMethod")  # they go by probabilities, and refuse logits
TRIES_EVERY_CLASS = ("AutoAttack",)  # its `targeted` adds attacks towards every other class
USUAL: Mapping[str, KeywordArguments] = {
    "DeepFool": {"epsilon": 0.02},  # as its paper has it: with ART's 1e-6 images stay on the boundary
    "ThresholdAttack": {"es": 1},  # differential evolution; CMA-ES (0) is seeded by the clock
}

BATCHED = frozenset(
    {
        "BasicIterativeMethod",
        "DeepFool",
        "FastGradientMethod",
        "MomentumIterativeMethod",
        "NewtonFool",
        "ProjectedGradientDescent",
        "ProjectedGradientDescentNumpy",
        "ProjectedGradientDescentPyTorch",
    }
)  # shown by a real run: see docs/adapters.md
PATCH = "it learns a patch to be printed and photographed, and changes no image that it is given"
DETECTORS = "it attacks object detectors"
SPEECH, VIDEO = "it attacks speech recognition", "it attacks video"
TENSORFLOW = "it attacks TensorFlow models"
GUIDES = "it needs images to imitate, which a spec cannot hold"
REFUSED = {
    "AdversarialPatch": PATCH,
    "AdversarialPatchNumpy": PATCH,
    "AdversarialPatchPyTorch": PATCH,
    "AdversarialPatchTensorFlowV2": PATCH,
    "AdversarialTexturePyTorch": "it attacks object trackers in video",
    "CarliniWagnerASR": SPEECH,
    "DPatch": DETECTORS,
    "DecisionTreeAttack": "it attacks decision trees",
    "FeatureAdversariesNumpy": GUIDES,
    "FeatureAdversariesPyTorch": GUIDES,
    "FeatureAdversariesTensorFlowV2": GUIDES,
    "FrameSaliencyAttack": VIDEO,
    "GeoDA": "it writes a file into the current folder, and reads what lies there under that name",
    "GRAPHITEBlackbox": "it makes stickers for objects that are photographed from several sides",
    "GRAPHITEWhiteboxPyTorch": "it makes stickers for objects that are photographed from several sides",
    "HighConfidenceLowUncertainty": "it attacks Gaussian processes",
    "ImperceptibleASR": SPEECH,
    "ImperceptibleASRPyTorch": SPEECH,
    "LaserAttack": "it needs a generator of laser beams, which a spec cannot hold",
    "LowProFool": "it attacks models of tables",
    "MalwareGDTensorFlow": "it attacks models of programs' bytes",
    "OverTheAirFlickeringPyTorch": VIDEO,
    "OverloadPyTorch": DETECTORS,
    "ProjectedGradientDescentTensorFlowV2": f"{TENSORFLOW}; take ProjectedGradientDescent",
    "RobustDPatch": DETECTORS,
    "SNAL": DETECTORS,
}


@dataclass(frozen=True, kw_only=True)
class Art(Adapter):
    """Attacks of ART on images (Nicolae et al. 2018, arXiv:1807.01069): ``art:SquareAttack,max_iter=500``.

    Attacks are untargeted without a `target`, without progress bars, `eps_step` is a quarter of epsilon, DeepFool
    oversteps by 0.02 and ThresholdAttack has es=1, unless the settings say otherwise. ART computes in NumPy's float32
    and draws from the global random state: see `gazeshift.attacks._adapter` for what is made of that. Which attacks
    work is told in docs/adapters.md.

    Args:
        name: of the attack's class in ``art.attacks.evasion``.
        epsilon: largest change, images in [0, 1], in the norm of the attack; ART's `eps`. None takes 8/255 for attacks
            in L-inf; attacks without `eps` (``CarliniL2Method``, ``DeepFool``, ``HopSkipJump``) take none.
        target: the class to reach, from 0; None leaves the label for any other. An image whose label is the target
            comes back as it is.
        settings: what the attack's class takes: ``max_iter``, ``norm=2``...; its own ``epsilon``, where it has one
            beside `eps`, can be given here alone.

    Raises:
        MissingPackageError: ART is not installed.
        UnknownNameError: it has no such attack.
        SettingsError: the attack has no such setting, needs an epsilon or a target, takes none, cannot be used here, or
            ranks more classes than the model has.
        BoundsError: epsilon out of range.
    """

    name: str = "BasicIterativeMethod"

    package: ClassVar[str] = "art"
    given: ClassVar[tuple[str, ...]] = ("estimator", "classifier")
    batched: ClassVar[frozenset[str]] = BATCHED
    refused: ClassVar[Mapping[str, str]] = REFUSED
    always_targeted: ClassVar[tuple[str, ...]] = ("SaliencyMapMethod", "TargetedUniversalPerturbation")
    harmless: ClassVar[frozenset[str]] = frozenset({"torch"})  # DataLoaders draw a seed for workers they do not have

    def _check_target(self) -> None:
        super()._check_target()
        written = None if self.name in TRIES_EVERY_CLASS else self.settings.get("targeted")
        if written is True and self.target is None:
            raise self._without_target()
        if self.target is not None and not self._takes_target():
            raise self._no_target()
        if self.target is not None and written is False:
            raise SettingsError(f"{self.spec} is given both targeted=false and target={self.target}. Leave one out.")

    def _takes_target(self) -> bool:
        return self.name in self.always_targeted or (self.name not in TRIES_EVERY_CLASS and "targeted" in self._known())

    def _check_classes(self, classes: int) -> None:
        super()._check_classes(classes)
        ranks = self.name == "AutoAttack" or self.settings.get("loss_type") == "difference_logits_ratio"
        if ranks and classes < 3:
            instead = "art:AutoProjectedGradientDescent,loss_type=cross_entropy"
            raise SettingsError(too_few_classes(self.spec, 3, classes, instead))

    def _needs_epsilon(self) -> bool:
        known = self._known()
        check_settings(self.spec, self.settings, known)
        if self.settings.get("es") == 0:
            raise SettingsError(f"{self.spec} with es=0, CMA-ES, is seeded by the clock. Take es=1.")
        return self._fills(bounded="eps" in known)

    def _offered(self) -> Mapping[str, type]:
        evasion = opened("art.attacks.evasion", INSTALL)
        return kinds_in(evasion, opened("art.attacks", INSTALL).EvasionAttack)

    def _norm(self) -> str | None:
        known = self._known()
        if "norm" not in known:
            return "linf"
        return {math.inf: "linf", "inf": "linf", 2: "l2"}.get(self.settings.get("norm", known["norm"].default))

    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known = self._known()
        size = {} if self.epsilon is None else {"eps": self.epsilon, "eps_step": self.epsilon / 4}
        usual = {**OURS, "batch_size": len(images), "targeted": self.target is not None, **size}
        usual |= USUAL.get(self.name, {})
        settings = {name: value for name, value in usual.items() if name in known} | dict(self.settings)
        estimator = _estimator(nn.Sequential(seen, nn.Softmax(1)) if self.name in PROBABILITIES else seen, images)
        attack = settled(self.spec, self._kind(), estimator, **settings)
        wanted = np.eye(estimator.nb_classes, dtype=np.float32)[labels.cpu().numpy()]  # some take no indices
        with _seeded_generators():
            made = attack.generate(x=images.float().cpu().numpy(), y=wanted)
        return torch.from_numpy(made).to(images.device)


class _Seeded(np.random.RandomState):
    """Without a seed, seeded from NumPy's global generator."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(np.random.randint(2**31) if seed is None else seed)


@contextmanager
def _seeded_generators() -> Iterator[None]:
    """Seed the generators that HopSkipJump and BoundaryAttack make for themselves."""
    kind = np.random.RandomState
    np.random.RandomState = _Seeded  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        np.random.RandomState = kind  # type: ignore[misc]


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
