"""A detector ready for use: fitted, bound to a model, with the scores of clean images that its threshold rests on."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gazeshift.data import made_folder, replace_file
from gazeshift.detectors import Detector, calibrate, p_values
from gazeshift.errors import DataError, GazeshiftError, SettingsError
from gazeshift.models import DEFAULT, Classifier, ModelCard
from gazeshift.models import load as load_model
from gazeshift.precision import exact, wide
from gazeshift.registry import build
from gazeshift.summaries import Summary, fitted, percent, plural, span

FORMAT = 1
SHIPPED = "shipped"  # folder of the detectors that come with the package
WORDS, NUMBERS = "detector.json", "detector.safetensors"
SCORES, OF_DETECTOR = "calibration_scores", "detector."
MODEL = ("name", "weights_sha256", "preprocessing", "dtype")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CalibratedDetector(Summary):
    """A fitted detector with its promise. Saved as a JSON and a safetensors file; no code is ever loaded from it.

    Args:
        name: of the detector's kind, as the registry knows it.
        detector: fitted.
        model: what the manifest of a run says of the model (`Classifier.card`).
        layers: names of the layers that it looks at.
        scores: of the clean images that it was calibrated on.
        false_alarms: the promised rate.
        fitted_on: fingerprints of the images that it learned from.
        calibrated_on: likewise, of the calibration.
        facts: how it came about: command, images, sets; and model, weights and input size, which lead to it again.
    """

    name: str
    detector: Detector
    model: ModelCard
    layers: tuple[str, ...]
    scores: Float[Tensor, " n"]
    false_alarms: float
    fitted_on: tuple[str, ...]
    calibrated_on: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # free: tools and notebooks write down what they like

    def _says(self) -> Iterator[str]:
        learned = f"fitted on {plural(len(self.fitted_on), 'image')}, calibrated on {len(self.scores):,}"
        yield f"{self.name} for {fitted(str(self.model.get('name')))} at {span(self.layers)}; {learned}"
        with suppress(GazeshiftError):  # scores that keep no rate have no threshold
            yield f"threshold {self.threshold:.3g} for {percent(self.false_alarms)} false alarms"

    @cached_property
    def threshold(self) -> float:
        """Suspicion above it is an attack; see `calibrate`."""
        return calibrate(self.scores, self.false_alarms)

    def p_value(self, suspicion: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Share of clean images at least as suspicious; see `p_values`."""
        return p_values(suspicion, self.scores)

    def calibrated(
        self, scores: Float[Tensor, " n"], prints: Sequence[str], *, false_alarms: float | None = None
    ) -> Self:
        """The same detector with the promise made anew on other clean images.

        Raises:
            SettingsError: it was fitted on some of these images, which would look safer than fresh ones.
            BoundsError: too few images for the rate.
        """
        known = set(self.fitted_on)
        seen = sum(one in known for one in prints)
        if seen:
            raise SettingsError(
                f"{seen} of these {len(prints)} images are among those the detector was fitted on, so that their "
                "scores are lower than fresh images' and no rate can be promised. Calibrate on others."
            )
        rate = self.false_alarms if false_alarms is None else false_alarms
        calibrate(scores, rate)
        return replace(self, scores=exact(scores).cpu(), calibrated_on=tuple(prints), false_alarms=rate)

    def check(self, classifier: Classifier, images: Float[Tensor, "n channels h w"] | None = None) -> None:
        """Refuse another model, other preprocessing or other layers than it was fitted for.

        Args:
            classifier: whose images it is to judge.
            images: these images, on whose size the layers depend, if they are there already.

        Raises:
            SettingsError: says what differs.
        """
        card, known = (json.loads(json.dumps(dict(one), default=str)) for one in (classifier.card(), self.model))
        for key in MODEL:
            if card[key] != known[key]:
                raise SettingsError(
                    f"the detector was fitted for {known['name']} with {key} {_short(known[key])}, and this "
                    f"is {card['name']} with {_short(card[key])}. Fit one for it: gazeshift detect fit."
                )
        if images is not None:
            self._check_layers(classifier, (images.shape[2], images.shape[3]))

    def _check_layers(self, classifier: Classifier, size: tuple[int, int]) -> None:
        found = self.detector.layers(classifier.layers(size))
        if found != self.layers:
            other = next(
                (one for one in (*self.layers, *found) if (one in found) != (one in self.layers)), "their order"
            )
            raise SettingsError(
                f"the detector was fitted on {len(self.layers)} layers and images of {size[0]} x {size[1]} show "
                f"{len(found)}; what differs is {other}. Give it images of the size that it was fitted on."
            )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write both files; each appears whole or not at all, the JSON last.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        words, numbers = {}, {SCORES: exact(self.scores).cpu().contiguous()}
        settings: Any = self.detector  # a dataclass
        for name, value in ((one.name, getattr(settings, one.name)) for one in fields(settings) if one.init):
            if isinstance(value, Tensor):
                numbers[OF_DETECTOR + name] = value.cpu().contiguous()
            elif isinstance(value, Mapping) and value and all(isinstance(one, Tensor) for one in value.values()):
                numbers |= {f"{OF_DETECTOR}{name}.{key}": one.cpu().contiguous() for key, one in value.items()}
            else:
                words[name] = value
        content = save(numbers)
        told = {
            "format": FORMAT,
            "detector": self.name,
            "settings": words,
            "numbers_sha256": hashlib.sha256(content).hexdigest(),
            **{key: getattr(self, key) for key in ("model", "layers", "false_alarms", "fitted_on", "calibrated_on")},
            "threshold": self.threshold,
            "facts": self.facts,
        }
        text = json.dumps(told, indent=1, default=str) + "\n"
        made_folder(folder)
        replace_file(folder / NUMBERS, lambda file: file.write_bytes(content))
        replace_file(folder / WORDS, lambda file: file.write_bytes(text.encode()))

    @classmethod
    def shipped(cls, model: str = DEFAULT) -> Self:
        """The detector that comes with the package for a model. `tools/ship_detector.py` makes it.

        Raises:
            SettingsError: none does.
        """
        home = Path(str(files("gazeshift.detectors"))) / SHIPPED
        known = sorted(folder.name for folder in home.iterdir() if folder.is_dir()) if home.is_dir() else []
        if model not in known:
            raise SettingsError(
                f"no detector ships for {model}, only for {', '.join(known) or 'no model'}. Name one: --detector "
                "FOLDER; make one: gazeshift detect fit."
            )
        return cls.load(home / model)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: there is no detector, it is damaged, or of a later version.
        """
        folder = Path(folder)
        try:
            told, content = json.loads((folder / WORDS).read_bytes()), (folder / NUMBERS).read_bytes()
        except FileNotFoundError as cause:
            raise DataError(
                f"{folder} holds no detector: {Path(str(cause.filename)).name} is missing. Make one: gazeshift detect "
                f"fit --out {folder}."
            ) from cause
        except (OSError, ValueError) as cause:
            raise DataError(f"{folder / WORDS} is damaged ({cause}). Fit the detector again.") from cause
        if not isinstance(told, dict) or not isinstance(told.get("format"), int):
            raise DataError(f"{folder / WORDS} is not a detector's. Fit the detector again.")
        if told["format"] > FORMAT:
            raise DataError(
                f"{folder} holds a detector of format {told['format']}, and this gazeshift reads up to {FORMAT}. "
                "Update gazeshift, or fit the detector with this one."
            )
        try:
            return cls._restored(told, content)
        except (KeyError, TypeError, AttributeError, SafetensorError) as cause:
            raise DataError(f"{folder} holds a damaged detector ({cause!r}). Fit it again.") from cause

    @classmethod
    def _restored(cls, told: Mapping[str, Any], content: bytes) -> Self:  # a file's JSON, of which nothing is certain
        if hashlib.sha256(content).hexdigest() != told["numbers_sha256"]:
            raise DataError(
                f"{NUMBERS} does not belong to {WORDS} beside it, or was cut short. Fit the detector again."
            )
        numbers, settings = load(content), {key: _plain(value) for key, value in told["settings"].items()}
        for key, value in numbers.items():
            name, _, inner = key.removeprefix(OF_DETECTOR).partition(".")
            if not key.startswith(OF_DETECTOR):
                continue
            settings[name] = {**settings.get(name, {}), inner: value} if inner else value
        made: Any = build("detectors", told["detector"], **settings)
        return cls(
            name=told["detector"],
            detector=made,
            model=told["model"],
            layers=tuple(told["layers"]),
            scores=numbers[SCORES],
            false_alarms=told["false_alarms"],
            fitted_on=tuple(told["fitted_on"]),
            calibrated_on=tuple(told["calibrated_on"]),
            facts=told["facts"],
        )


def open_guarded(
    folder: Path | None, *, model: str | None, weights: str | None, device: str
) -> tuple[CalibratedDetector, Classifier]:
    """A detector and the model that it was fitted for.

    Args:
        folder: of the detector; None takes the one that ships for the model.
        model: None takes the one that the detector names, with its weights.
        weights: of the model, if not its usual ones.
        device: to run it on.

    Raises:
        SettingsError: no detector ships for this model, or it is another model's.
        DataError: the folder holds no detector.
    """
    deployed = CalibratedDetector.load(folder) if folder else CalibratedDetector.shipped(model or DEFAULT)
    classifier = load_model(
        model or deployed.facts["model"],
        weights=weights or (deployed.facts["weights"] if model is None else None),
        device=device,
        input_size=deployed.facts["input_size"],
    )
    deployed.check(classifier)
    return deployed, classifier


def fingerprints(images: Float[Tensor, "n channels h w"]) -> tuple[str, ...]:
    """One name per image that follows from its 8-bit pixels: 20 digits of SHA-256."""
    levels = (wide(images).clamp(0, 1) * 255).round().to(torch.uint8).cpu().contiguous()
    return tuple(hashlib.sha256(one.numpy().tobytes()).hexdigest()[:20] for one in levels)


def _plain(value: Any) -> Any:
    """JSON's lists as the tuples that frozen settings hold."""
    return tuple(_plain(one) for one in value) if isinstance(value, list) else value


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)
