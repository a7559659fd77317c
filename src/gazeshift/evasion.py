"""Attacks that know the detector, and how many images get past it."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.attacks import DetectorOutput
from gazeshift.calibrated import CalibratedDetector
from gazeshift.models import Classifier, SmoothSecondDerivative, prepared
from gazeshift.pipeline import attack, detector_inputs
from gazeshift.precision import placed
from gazeshift.records import Attacked
from gazeshift.registry import build
from gazeshift.seeds import Generators, each
from gazeshift.summaries import Summary, plural
from gazeshift.transforms.bit_depth import BitDepth


@dataclass(frozen=True, kw_only=True)
class DefendedModel:
    """A deployed detector as an attacker knows it: see `gazeshift.attacks._defended.DefendedModel`.

    Args:
        classifier: that the detector guards.
        deployed: fitted and calibrated.
        bits: images arrive as files of so many bits per colour; None: as they are.
    """

    classifier: Classifier
    deployed: CalibratedDetector
    bits: int | None = 8

    @property
    def threshold(self) -> float:
        """The detector's."""
        return self.deployed.threshold

    def glimpse(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> DetectorOutput:
        """What `judge` would see, in the graph of the images if they ask for gradients."""
        detector, live = self.deployed.detector, torch.is_grad_enabled() and images.requires_grad
        with SmoothSecondDerivative():
            seen = detector_inputs(
                self.classifier, self.arrived(images), detector, generator=generator, differentiable=live
            )
            suspicion = placed(detector.score(detector.measure(seen)), seen.own.logits.device)
        return DetectorOutput(suspicion=suspicion, logits=torch.stack([one.logits for one in (seen.own, *seen.views)]))

    def views(
        self, images: Float[Tensor, "n channels h w"], *, generator: Generators
    ) -> Sequence[Float[Tensor, "n channels h w"]]:
        """The images as they arrive, and the detector's views of them."""
        arrived = self.arrived(images)
        return arrived, *self.deployed.detector.views(arrived, generator=generator)

    def arrived(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
        """The images as files hold them; the gradient passes through the rounding."""
        return images if self.bits is None else BitDepth(bits=self.bits)(images)


@dataclass(frozen=True, kw_only=True, repr=False)
class Evasion(Summary):
    """What became of attacked images, judged with fresh draws.

    Args:
        misclassified: the image as it arrives has another class than its label (n).
        flagged: an alarm (n).
        suspicion: see `Verdict` (n).
    """

    misclassified: Bool[Tensor, " n"]
    flagged: Bool[Tensor, " n"]
    suspicion: Float[Tensor, " n"]

    def _says(self) -> Iterator[str]:
        fooled, flagged, evaded = (int(part.sum()) for part in (self.misclassified, self.flagged, self.evaded))
        yield f"{plural(len(self.flagged), 'image')}: {fooled:,} misclassified, {flagged:,} flagged, {evaded:,} evaded"

    @property
    def evaded(self) -> Bool[Tensor, " n"]:
        """Misclassified without an alarm: what the attacker wants."""
        return self.misclassified & ~self.flagged


def evade(
    classifier: Classifier,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"] | None,
    deployed: CalibratedDetector,
    *,
    by: str = "adaptive",
    bits: int | None = 8,
    generator: Generators | None = None,
) -> Attacked:
    """Attack a classifier and the detector that guards it, knowing all but the detector's next draws.

    Args:
        classifier: whom to fool.
        images: in [0, 1].
        labels: classes to leave; None takes the model's own answers.
        deployed: whom to get past; its `score` and `measure` must be made of tensor operations.
        by: the attack with its settings, ``adaptive:epsilon=2/255,method=orthogonal``.
        bits: see `DefendedModel`.
        generator: where chance comes from, one for the batch or one per image; None seeds with 0.

    Raises:
        BoundsError: what came is not a batch of images in [0, 1].
        SettingsError: the detector was fitted for another model, or for images that show other layers; or an attack
            that knows no opponents.
    """
    images = prepared(classifier, images)
    deployed.check(classifier, images)
    opponent = DefendedModel(classifier=classifier, deployed=deployed, bits=bits)
    return attack(classifier, images, labels, by=build("attacks", by, opponent=opponent), generator=generator)


def evaded(
    opponent: DefendedModel,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"],
    *,
    generator: Generators | None = None,
    at_once: int = 8,
) -> Evasion:
    """Judge attacked images, whatever made them.

    Args:
        opponent: who judges; says as what files the images arrive.
        images: in [0, 1].
        labels: classes that they should have.
        generator: of the draws; None draws anew each time. The attack must not have seen it.
        at_once: images looked at side by side.

    Raises:
        BoundsError: what came is not a batch of images in [0, 1].
        SettingsError: neither one generator nor one per image.
    """
    images = prepared(opponent.classifier, images)
    chance = each(generator or torch.Generator().manual_seed(secrets.randbits(63)), len(images))
    parts = [
        opponent.glimpse(images[at].detach(), generator=[chance[index] for index in at.tolist()])
        for at in torch.split(torch.arange(len(images)), at_once)
    ]
    suspicion = torch.cat([part.suspicion for part in parts])
    predicted = torch.cat([part.logits[0].argmax(1) for part in parts])
    return Evasion(
        misclassified=predicted != labels.to(predicted.device),
        flagged=~(suspicion <= opponent.threshold),
        suspicion=suspicion,
    )
