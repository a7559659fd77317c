"""Detectors of the package pytorch-ood that work on logits or on features."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._answers import FromAnswers
from gazeshift.detectors._places import chosen
from gazeshift.errors import SettingsError, check_known
from gazeshift.packages import KeywordArguments, check_settings, opened, parameters_of, settled
from gazeshift.precision import exact
from gazeshift.records import DetectorInput, Layer

__all__ = ["PytorchOod"]

PACKAGE = ("pytorch-ood", "detectors")
OURS = ("model", "encoder")  # arguments that are left empty: a detector here is given what the network said
LEFT_OUT = (
    "OpenMax",  # an image's score depends on the classes predicted of its batch
    "TemperatureScaling",  # learns from true labels, which a detector is not told
)
REFUSALS = (ValueError, AssertionError, RuntimeError, IndexError)


@dataclass(frozen=True, kw_only=True)
class PytorchOod(FromAnswers):
    """Any detector of pytorch-ood (Kirchheim et al. 2022) on logits or features alone: ``pytorch_ood:KNN,k=10``.

    On logits: ``MaxLogit``, ``EnergyBased``, ``GEN``, ``KLMatching``... On features, which are the channels' mean
    activations: ``KNN``, ``Mahalanobis``, ``RMD``, ``GMM``. What asks for the network itself or for the weights of its
    head (``ViM``, ``ODIN``, ``ReAct``...) is not offered, nor ``OpenMax``, which scores an image by its batch. They are
    made for images of other classes, not for attacks. What is learned are the clean images' numbers; the package's
    detector is fitted to these anew when it is opened.

    Args:
        name: of the class in ``pytorch_ood.detector``.
        at: for features, the layers: ``last`` of the trunk, ``trunk``, ``convs``, ``blocks``, names, aliases or globs.
        by_class: for features, the class predicted is an image's class; otherwise all images are of one, which
            suits few images of many classes; ``RMD`` is 0 then.
        settings: what the class takes: ``k``, ``gamma``...
        known: learned: what was measured of clean images.

    Raises:
        MissingPackageError: pytorch-ood is not installed.
        UnknownNameError: it has no such detector of these kinds.
        SettingsError: the detector has no such setting.
    """

    name: str = "KNN"
    at: str = "last"
    by_class: bool = False
    settings: KeywordArguments = field(default_factory=dict, hash=False)
    known: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        self._made()

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """All that `at` names; for logits the last of the trunk, because there must be one."""
        return super().layers(known) if self.at == "last" or self._is_on_logits else chosen(known, self.at)

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """The class predicted, then the logits or all channels' mean activations."""
        found = [trace.activation for trace in seen.own.traces.values()]
        columns = [seen.own.predicted[:, None], *([seen.own.logits] if self._is_on_logits else found)]
        return torch.cat([exact(one).cpu() for one in columns], 1)

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:  # noqa: ARG002
        """With what was measured of clean images; itself if the package's detector learns nothing.

        Raises:
            SettingsError: the package's detector cannot be fitted to these images; says why in its words.
        """
        if not self._kind.requires_fit:
            return self
        learned = replace(self, known=benign)
        _ = learned.opened  # says now what it would say at the first score
        return learned

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """What the package's detector says; there too, larger is further away.

        Raises:
            SettingsError: it learns from clean images, and did not.
        """
        given, made = measured[:, 1:].float(), self.opened
        if not len(given):  # some of them cannot look at nothing
            return torch.zeros(0, dtype=torch.float64)
        said: Tensor = made.predict_logits(given) if self._is_on_logits else made.predict_features(given)
        return said.detach().double()

    @cached_property
    def opened(self) -> Any:
        """The package's detector, fitted.

        Raises:
            SettingsError: it learns from clean images, and did not, or cannot.
        """
        made = self._made()
        if not made.requires_fit:
            return made
        if self.known is None:
            raise SettingsError(f"pytorch_ood:{self.name} knows no clean images yet: fit it first.")
        values, classes = self.known[:, 1:].float(), self.known[:, 0].long()
        try:
            if self._is_on_logits:
                return made.fit_logits(values, classes)
            # The package counts classes from 0 without gaps.
            numbers = torch.unique(classes, return_inverse=True)[1] if self.by_class else torch.zeros_like(classes)
            return made.fit_features(values, numbers)
        except REFUSALS as cause:
            why = str(cause) or "it does not say why"
            raise SettingsError(
                f"pytorch_ood:{self.name} cannot be fitted to these {len(values)} clean images: {why}."
            ) from cause

    @property
    def _is_on_logits(self) -> bool:
        return issubclass(self._kind, opened("pytorch_ood.api", *PACKAGE).LogitsDetector)

    @cached_property
    def _kind(self) -> Any:
        known = _offered()
        what = f"pytorch_ood has no detector named '{self.name}' that works on logits or features alone"
        check_known(self.name, known, what)
        return known[self.name]

    def _made(self) -> Any:
        spec, known = f"pytorch_ood:{self.name}", parameters_of(self._kind)
        empty = {name: None for name in known if name in OURS}
        check_settings(spec, self.settings, {name: one for name, one in known.items() if name not in OURS})
        return settled(spec, self._kind, **empty, **self.settings)


def _offered() -> dict[str, type]:
    """Every detector of the package that is content with logits or with features, by name."""
    api, module = opened("pytorch_ood.api", *PACKAGE), opened("pytorch_ood.detector", *PACKAGE)
    kinds = {name: kind for name, kind in vars(module).items() if inspect.isclass(kind) and name not in LEFT_OUT}
    return {
        name: kind
        for name, kind in kinds.items()
        if issubclass(kind, (api.LogitsDetector, api.FeaturesDetector)) and not _needs(kind)
    }


def _needs(kind: type) -> list[str]:
    known = parameters_of(kind)
    return [name for name, one in known.items() if one.default is one.empty and name not in OURS]
