"""The noisecam2023 study's examples: what fools the model, at every strength, beside matched noise and clean images."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from gazeshift.detectors.behaviour_deviation import BehaviourDeviation
from gazeshift.detectors.noisecam_dbscan import CHOICES, NoisecamDbscan
from gazeshift.models import select
from gazeshift.records import Attacked, Batch, Layer
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import DeviationInputs
from gazeshift.runs.examples import attacked_batch
from gazeshift.runs.open import open_attack
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.seeds import generator_for
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from gazeshift.transforms.matched_noise import MatchedNoise
from gazeshift.transforms.strength import Strengths

ALPHA_NORMS = ("none", "positive", "all")
CLEAN = "clean"
CAM = "grad_cam"


class NoisecamPlan(Reopened):
    """What the study's cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Noisecam2023]) -> None:
        self.recipe, self.work, self.settings = (NoisecamPlan, (work,)), work, work.settings
        self.spec, self.made = work.settings.attack, open_attack(work.settings.attack, None)
        self.detector = BehaviourDeviation(
            layer=work.settings.probe,
            cleaning=work.settings.cleaning,
            noise_images=work.settings.noise_images,
            rule=work.settings.rule,
            alpha=work.settings.alpha,
        )

    @cached_property
    def known(self) -> tuple[Layer, ...]:
        """All the model's layers."""
        return self.work.classifier.layers(self.work.size)

    def named(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Names of the layers that a selection means."""
        return tuple(layer.name for layer in select(self.known, wanted, self.work.classifier.name))

    @cached_property
    def place(self) -> str:
        """The layer of NoiseCAM that is looked at for all strengths."""
        (place,) = self.named(NoisecamDbscan(layer=self.settings.noise_layer).layers(self.known))
        return place

    @cached_property
    def places(self) -> tuple[str, ...]:
        """All layers for NoiseCAM."""
        convs = [layer.name for layer in self.known if "conv" in layer.kinds]
        return tuple(dict.fromkeys((*self.named(self.settings.noise_layers or convs[1:5] or convs), self.place)))

    @cached_property
    def opened(self) -> DeviationInputs:
        """Model, layers and strengths."""
        return DeviationInputs(
            self.settings,
            self.work.classifier,
            {self.spec: self.made},
            {CAM: build("cams", CAM)},
            Strengths(values=self.settings.strengths),
            select(self.known, self.settings.layers, self.work.classifier.name),
        )

    @property
    def main(self) -> NoisecamDbscan:
        """The combination that is followed through all strengths."""
        one = self.settings
        return self._one(self.place, one.alpha_norm, one.factor, one.binarise)

    @property
    def everywhere(self) -> tuple[NoisecamDbscan, ...]:
        """The same in every way to binarise."""
        one = self.settings
        return tuple(self._one(self.place, one.alpha_norm, one.factor, how) for how in CHOICES["binarise"])

    @property
    def all(self) -> tuple[NoisecamDbscan, ...]:
        """Every combination of layer, normalisation, factor and way to binarise."""
        return tuple(
            self._one(*pick) for pick in product(self.places, ALPHA_NORMS, CHOICES["factor"], CHOICES["binarise"])
        )

    def _one(self, layer: str, alpha_norm: str, factor: str, binarise: str) -> NoisecamDbscan:
        grid = self.settings.grid
        return NoisecamDbscan(layer=layer, alpha_norm=alpha_norm, factor=factor, binarise=binarise, grid=grid)

    def find(self, batch: Batch) -> tuple[Attacked, Batch, Attacked]:
        """What the attack made of a batch; and the images, and what was made of them, whose class it changed."""
        model, settings = self.opened.classifier, self.settings
        found = attacked_batch(model, batch, self.made, spec=self.spec, seed=settings.seed, source=self.work.source)
        at = (found.logits.argmax(1) != found.clean_logits.argmax(1)).nonzero()[:, 0]
        names = ("clean", "images", "labels", "clean_logits", "logits")
        some = Attacked(**{name: getattr(found, name)[at] for name in names}, forwards=0, backwards=0)
        ids = tuple(batch.ids[place] for place in at.tolist())
        return found, Batch(ids=ids, images=some.clean, labels=some.labels), some

    def conditions(self, ids: Sequence[str], found: Attacked) -> Iterator[tuple[str, float, Tensor]]:
        """Kind, strength and images: clean, then attacked and noisy ones of every strength."""
        yield CLEAN, 0.0, found.clean
        draws = [generator_for(self.settings.seed, "noise", self.spec, name) for name in ids]
        noise = MatchedNoise()(found.perturbation, generator=draws)
        for strength, attacked, noisy in self.opened.strengths(found.clean, found.perturbation, noise):
            yield "attacked", strength, attacked
            yield "noise", strength, noisy

    def generators(self, ids: Sequence[str], *names: str) -> list[torch.Generator]:
        """One for each image and purpose."""
        return [generator_for(self.settings.seed, *names, image) for image in ids]
