"""Pictures and maps of a finished study: those that it kept, else drawn anew where images and model are still there."""

import threading
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.data import ImageSource, demo_images, open_source
from gazeshift.errors import DataError, GazeshiftError
from gazeshift.manifest import StudyManifest
from gazeshift.models import Classifier, Preprocessing
from gazeshift.pipeline import attack, look
from gazeshift.records import Batch, Evidence
from gazeshift.registry import find
from gazeshift.runs.open import open_attack, open_classifier, open_images
from gazeshift.runs.parts import open_cams
from gazeshift.seeds import generator_for
from gazeshift.serve.explorer.serialize import PictureSide, side_json
from gazeshift.transforms.matched_noise import MatchedNoise
from gazeshift.transforms.strength import Strengths

CODE = ("module:",)  # models that are code from a file: loaded only if named at the command line
SHARED = ("images", "labels", "limit", "model", "weights", "input_size", "classes", "seed")
SHAPE = ("resize", "crop", "interpolation", "mean", "std", "fit")
DRAWN = ("deviation", "scorecard")


@dataclass(frozen=True, kw_only=True)
class StudyReplay:
    """A finished study's images, model and attacks, to draw its maps again.

    Args:
        manifest: of the study.
        model: named when the study is opened, in place of the manifest's.
        weights: likewise.
    """

    manifest: StudyManifest
    model: str | None = None
    weights: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def settings(self) -> Any:
        """The study's settings; of another study, what it has in common with this one.

        Raises:
            DataError: the manifest does not say them.
        """
        deviation = find("studies", "deviation")
        said = {key: value for key, value in self.manifest.settings.items() if key in deviation.model_fields}
        named = {key: value for key, value in (("model", self.model), ("weights", self.weights)) if value is not None}
        if "model" not in said:
            raise DataError("the manifest does not say the study's settings, so that its images cannot be seen again.")
        known = said if self.manifest.study == "deviation" else {key: said[key] for key in SHARED if key in said}
        return deviation.model_validate({**known, **named})

    @cached_property
    def source(self) -> ImageSource:
        """The images, without labels; nothing is decoded yet.

        Raises:
            DataError: they are not there any more, or belong to a set.
        """
        if self.manifest.settings.get("set") is not None:
            raise DataError("the study's images came from an adversarial set, and are not read again.")
        return demo_images() if self.settings.images is None else open_source(self.settings.images)

    def picture(self, name: str) -> Float[Tensor, "channels h w"]:
        """A clean image as the model took it.

        Raises:
            GazeshiftError: it cannot be read any more.
        """
        card = self.manifest.model.preprocessing
        shape: dict[str, Any] = {"resize": None, "crop": None}  # as `Preprocessing` checks it
        shape |= {key: tuple(side) if isinstance(side := card[key], list) else side for key in SHAPE if key in card}
        channels = len(shape["mean"]) if isinstance(shape.get("mean"), tuple) else None
        batch = self.source.read(ids=[name], preprocessing=Preprocessing(**shape, channels=channels))
        if not batch.ids:
            raise DataError(batch.skipped[0].reason if batch.skipped else f"{name} cannot be read.")
        return batch.images[0]

    @cached_property
    def classifier(self) -> Classifier:
        """The model, loaded when it is first needed and checked to be the study's.

        Raises:
            GazeshiftError: it cannot be loaded, is another one, or is code that was not named.
        """
        spec = self.settings.model
        if self.model is None and spec.startswith(CODE):
            raise DataError(f"the study's model is code ({spec}), which runs only if you say so: --model {spec}")
        found = open_classifier(self.settings)
        if found.weights_sha256 != self.manifest.model.weights_sha256:
            raise DataError(f"{spec} has other weights now than when the study ran. Name the right ones: --weights.")
        return found

    def drawn(self, name: str, attack_spec: str, strength: float) -> dict[str, PictureSide]:
        """Clean, attacked and noisy image with all maps, computed anew as the study did.

        Raises:
            GazeshiftError: images or model are not there any more.
        """
        with self._lock:
            return self._drawn(name, attack_spec, strength)

    def _drawn(self, name: str, spec: str, strength: float) -> dict[str, PictureSide]:
        settings, classifier = self.settings, self.classifier
        batch = open_images(settings, classifier).read(ids=[name], preprocessing=classifier.preprocessing)
        if not batch.ids:
            raise DataError(batch.skipped[0].reason if batch.skipped else f"{name} cannot be read.")
        images, kinds = batch.images.to(classifier.device), ["clean"]
        if spec:
            images, kinds = torch.cat([images, *self._changed(batch, spec, strength)]), ["clean", "attacked", "noise"]
        cams = open_cams(settings.cams)
        see = partial(look, classifier, images, layers=list(self.layers), cams=cams, score=settings.score)
        own = see()
        targets: dict[str, Evidence] = {"predicted": own}
        if (own.predicted != own.predicted[0]).any():
            targets["reference"] = see(target=own.predicted[:1].repeat(len(images)))
        return {kind: side_json(targets, None, at) for at, kind in enumerate(kinds)}

    def _changed(self, batch: Batch, spec: str, strength: float) -> tuple[Tensor, Tensor]:
        """The attacked image and the noisy one, with the study's own random numbers."""
        seed, name, made = self.settings.seed, batch.ids[0], open_attack(spec, self.settings.epsilon)
        labels = None if batch.labels is None else batch.labels.to(self.classifier.device)
        found = attack(self.classifier, batch.images, labels, by=made, generator=[generator_for(seed, spec, name)])
        noise = MatchedNoise()(found.perturbation, generator=[generator_for(seed, "noise", spec, name)])
        [(_, attacked, noisy)] = Strengths(values=(strength,))(found.clean, found.perturbation, noise)
        return attacked, noisy

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers of the study's maps; the trunk's if it drew none."""
        named = tuple(layer.name for layer in self.manifest.layers)
        return named or ("trunk",)

    def hindrance(self) -> str:
        """Why maps cannot be drawn anew, as far as that is known without loading the model; empty if they can."""
        if self.manifest.study not in DRAWN:
            return f"maps of a {self.manifest.study} study are not drawn again."
        try:
            spec = self.settings.model
            if self.model is None and spec.startswith(CODE):
                raise DataError(f"the model is code ({spec}); open the study with --model {spec} to let it run.")
            _ = self.source
        except (GazeshiftError, ValueError) as error:
            return str(error)
        return ""
