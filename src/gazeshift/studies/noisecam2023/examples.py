"""The noisecam2023 study's examples: what fools the model, at every strength, beside matched noise and clean images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gazeshift.detectors.noisecam_dbscan import CHOICES, NoisecamDbscan
from gazeshift.records import Attacked, Batch
from gazeshift.runs.deviation_rows import DeviationInputs
from gazeshift.runs.examples import attacked_batch
from gazeshift.seeds import generator_for
from gazeshift.transforms.matched_noise import MatchedNoise

if TYPE_CHECKING:
    from gazeshift.studies.noisecam2023.settings import Noisecam2023

ALPHA_NORMS = ("none", "positive", "all")
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class NoisecamPlan:
    """What the study's cells need beside the deviation's.

    Args:
        settings: of the study.
        opened: model, layers and strengths.
        spec: name of the attack.
        made: the attack.
        source: of the images, or the set.
        places: layers for NoiseCAM.
        place: the one that is looked at for all strengths.
    """

    settings: "Noisecam2023"
    opened: DeviationInputs
    spec: str
    made: Any
    source: object
    places: tuple[str, ...]
    place: str

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
        found = attacked_batch(model, batch, self.made, spec=self.spec, seed=settings.seed, source=self.source)
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
