"""What flows between the parts. Frozen, and nothing here computes; each says in a few lines what it holds.

Shapes: n images of channels x h x w in [0, 1]; c classes; a layer has k channels of its own height and width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict  # typing.TypedDict is not read by pydantic before Python 3.12

from gazeshift.errors import check_known
from gazeshift.summaries import (
    Summary,
    answer,
    class_name,
    finite,
    fitted,
    images_of,
    levels,
    listed,
    percent,
    plural,
    size,
    span,
    table,
    without_folders,
)

ANSWER = "answer"  # stands where a layer does, for the classifier's output
Value = TypeVar("Value")
Finite = float | None  # a number as JSON has it: None where it is not finite

ClassProbability = TypedDict("ClassProbability", {"class": int, "name": str, "confidence": Finite})
ClassProbability.__doc__ = "A class and its probability."


class Reasons(TypedDict):
    """Each view's and each layer's part in the suspicion, ``answer`` being the output; empty if it does not say."""

    views: dict[str, Finite]
    layers: dict[str, Finite]


class VerdictDict(ClassProbability):
    """A verdict on one image as plain data; HTTP documents itself with it."""

    suspicion: Annotated[
        Finite, Field(description="Larger is more suspicious; null if the image cannot be judged, an alarm.")
    ]
    threshold: Annotated[Finite, Field(description="A suspicion above it is an attack.")]
    p_value: Annotated[Finite, Field(description="Share of clean images at least as suspicious.")]
    is_attack: bool
    false_alarms: Annotated[float, Field(description="Promised rate among clean images.")]
    verdict: Annotated[str, Field(description="clean or attack", pattern="^(clean|attack)$")]
    reasons: Reasons
    model: str
    detector: str


def _named(found: Mapping[str, Value], name: str, what: str) -> Value:
    check_known(name, found, f"there is no {what} '{name}' among what was looked at")
    return found[name]


@dataclass(frozen=True, kw_only=True, repr=False)
class Layer(Summary):
    """One named tensor of the forward pass, taken after its batch norm and activation.

    Args:
        name: the name of the module whose output it is, with ``#2``, ``#3``... for later calls in one pass.
        kinds: any of ``conv`` (a convolution's result after norm and activation), ``block`` (a residual or
            inception block's output, or a stage's in a plain network) and ``trunk`` (a block, or a convolution
            outside all blocks); empty for any other module's output.
        shape: channels, height and width, for the classifier's input size.
        aliases: names that papers and modules give the same tensor (``block4_conv1``, the convolution's own name).
        followed_by: ``pool`` or ``stride`` if the next step coarsens the map (LayerCAM's grid effect), else empty.
        module: name of the module whose output anchors the tensor, and `call`, which of its calls, from 1.
        then: functional steps (``F.relu``) to follow from the module's output to the tensor.
        overwritten: the network later writes into this tensor, so the trace must look at a copy.
    """

    name: str
    kinds: frozenset[str]
    shape: tuple[int, int, int]
    aliases: tuple[str, ...] = ()
    followed_by: str = ""
    module: str
    call: int = 1
    then: int = 0
    overwritten: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and everything else it may be asked for by."""
        return self.name, *self.aliases

    def _says(self) -> Iterator[str]:
        kinds = f", {' and '.join(sorted(self.kinds))}" if self.kinds else ""
        also = f", also {', '.join(self.aliases)}" if self.aliases else ""
        yield f"{self.name}: {size(self.shape)}{kinds}{also}"


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerTrace(Summary):
    """Every map of one layer, for a batch.

    Args:
        layer: what was looked at.
        maps: CAM name to raw signed maps (n, layer height, layer width). A map that the CAM does not define
            here (``cam`` at a layer that is not pooled into the linear head) is NaN throughout.
        poles: activations left out of Grad-CAM++'s sums because their denominator was below 1e-3, per image (n).
        activation: each channel's mean activation (n, k).
        gradient: each channel's mean gradient (n, k), which is Grad-CAM's weight.
    """

    layer: Layer
    maps: Mapping[str, Float[Tensor, "n hl wl"]]
    poles: Int[Tensor, " n"]
    activation: Float[Tensor, "n k"]
    gradient: Float[Tensor, "n k"]

    def _says(self) -> Iterator[str]:
        yield f"{self.layer.name}: {plural(len(self.poles), 'image')}, {plural(self.activation.shape[1], 'channel')}"
        for cam, maps in self.maps.items():
            undefined = int(maps.isnan().flatten(1).any(1).sum())
            yield f"{cam}: {size(maps.shape[1:])}" + (f", {undefined:,} undefined" if undefined else "")


@dataclass(frozen=True, kw_only=True, repr=False)
class Evidence(Summary):
    """What a classifier did with a batch of images, and where it looked. Shows itself as a picture in a notebook.

    Args:
        images: as given, (n, channels, h, w) in [0, 1].
        logits: (n, c).
        explained: the class that the maps explain, per image (n).
        target: ``predicted`` if each image's own top class was explained, else ``reference``.
        score: ``logit`` or ``prob``: what was differentiated.
        traces: layer name to its maps, in the order of the forward pass.
        model: name of the classifier.
        class_names: one per class, or empty.
    """

    images: Float[Tensor, "n channels h w"]
    logits: Float[Tensor, "n c"]
    explained: Int[Tensor, " n"]
    target: str
    score: str
    traces: Mapping[str, LayerTrace]
    model: str
    class_names: tuple[str, ...] = ()

    @property
    def predicted(self) -> Int[Tensor, " n"]:
        """Top class of each image."""
        return self.logits.argmax(1)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in the order of the forward pass."""
        return tuple(self.traces)

    @property
    def cams(self) -> tuple[str, ...]:
        """Names of the CAMs drawn at every layer."""
        return tuple(next(iter(self.traces.values())).maps) if self.traces else ()

    def class_name(self, index: int) -> str:
        """Name of a class, or ``class 7`` if the model does not know its names."""
        return class_name(self.class_names, index)

    def maps(self, layer: str, cam: str = "grad_cam") -> Float[Tensor, "n hl wl"]:
        """Raw signed maps of one layer at its own resolution.

        Raises:
            UnknownNameError: the layer was not looked at, or the CAM not drawn.
        """
        return _named(_named(self.traces, layer, "layer").maps, cam, "CAM")

    def _says(self) -> Iterator[str]:
        drawn = f"{' and '.join(self.cams) or 'no maps'} of the {self.target} class at {span(self.layers)}"
        yield f"{images_of(self.images)} seen by {fitted(self.model)}; {drawn}"
        yield from listed(len(self.images), partial(_line, self))

    def _repr_png_(self) -> bytes:
        from gazeshift.pictures import evidence_sheet

        return evidence_sheet(self)


@dataclass(frozen=True, kw_only=True, repr=False)
class DetectorInput(Summary):
    """What a detector is shown: a batch of images of unknown origin, and changed copies of them.

    Args:
        own: evidence of the images, each explained for its own top class.
        views: evidence of the same images under each view, in the detector's order, explained for that same class.
    """

    own: Evidence
    views: tuple[Evidence, ...] = ()

    def _says(self) -> Iterator[str]:
        views = f"{plural(len(self.views), 'view')} of each"
        yield f"{images_of(self.own.images)} and {views}, seen by {fitted(self.own.model)}"
        yield from listed(len(self.own.images), partial(_line, self.own))

    def _repr_png_(self) -> bytes:
        return self.own._repr_png_()


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict(Summary):
    """What a detector says of a batch of images.

    Args:
        seen: what it was shown.
        suspicion: per image (n); larger is more suspicious. NaN if the image cannot be judged, which is an alarm.
        p_value: share of clean images at least as suspicious (n), with the image itself counted.
        is_attack: whether the suspicion is above the threshold (n).
        threshold: that keeps the promised rate of false alarms.
        false_alarms: that rate.
        reasons: (view, layer) to its part in the suspicion, per image (n), in a detector's own unit; for the
            classifier's output the layer is `ANSWER`. Empty if the detector does not say.
        detector: its name.
    """

    seen: DetectorInput
    suspicion: Float[Tensor, " n"]
    p_value: Float[Tensor, " n"]
    is_attack: Bool[Tensor, " n"]
    threshold: float
    false_alarms: float
    reasons: Mapping[tuple[str, str], Float[Tensor, " n"]] = field(default_factory=dict)
    detector: str = ""

    @property
    def predicted(self) -> Int[Tensor, " n"]:
        """Top class of each image."""
        return self.seen.own.predicted

    @property
    def confidence(self) -> Float[Tensor, " n"]:
        """Softmax probability of it."""
        return self.seen.own.logits.softmax(1).amax(1)

    @cached_property
    def summed_reasons(self) -> dict[str, dict[str, Float[Tensor, " n"]]]:
        """What each view, and each layer or the classifier's output, adds to the suspicion, per image (n)."""
        summed: dict[str, dict[str, Tensor]] = {"views": {}, "layers": {}}
        for (view, layer), part in self.reasons.items():
            for parts, name in ((summed["views"], view), (summed["layers"], layer)):
                parts[name] = parts.get(name, 0) + part
        return summed

    def as_dict(self, at: int = 0) -> VerdictDict:
        """The verdict on one image as plain data: what HTTP, the command line and the explorer say of it.

        Numbers have six digits, and are None where they are not finite. The model's name is without its folder.

        Args:
            at: which image of the batch.
        """
        predicted, is_attack = int(self.predicted[at]), bool(self.is_attack[at])
        return {
            "class": predicted,
            "name": self.seen.own.class_name(predicted),
            "confidence": finite(self.confidence[at]),
            "suspicion": finite(self.suspicion[at]),
            "threshold": finite(self.threshold),
            "p_value": finite(self.p_value[at]),
            "is_attack": is_attack,
            "false_alarms": self.false_alarms,
            "verdict": "attack" if is_attack else "clean",
            "reasons": {
                "views": {name: finite(part[at]) for name, part in self.summed_reasons["views"].items()},
                "layers": {name: finite(part[at]) for name, part in self.summed_reasons["layers"].items()},
            },
            "model": without_folders(self.seen.own.model),
            "detector": self.detector,
        }

    def _says(self) -> Iterator[str]:
        yield self._summary()
        yield from listed(len(self.suspicion), lambda at: "{}: {}, suspicion {}, p {}, {}".format(*self._row(at)))

    def _summary(self) -> str:
        attacks, clean = int(self.is_attack.sum()), int((~self.is_attack).sum())
        rule = f"threshold {self.threshold:.3g} for {percent(self.false_alarms)} false alarms"
        return f"{plural(attacks + clean, 'image')}: {plural(attacks, 'attack')}, {clean:,} clean; {rule}"

    def _row(self, at: int) -> tuple[str, ...]:
        """Number, verdict, suspicion, p-value and answer of one image."""
        verdict = "attack" if self.is_attack[at] else "clean"
        numbers = (f"{float(values[at]):.3g}" for values in (self.suspicion, self.p_value))
        return str(at), verdict, *numbers, answer(self.seen.own.logits[at], self.seen.own.class_names)

    def _repr_html_(self) -> str:
        head = ("image", "verdict", "suspicion", "p", "predicted class")
        return table(self._summary(), head, len(self.suspicion), self._row)


@dataclass(frozen=True, kw_only=True, repr=False)
class Attacked(Summary):
    """What an attack made of a batch, judged by the caller and not by the attack.

    Args:
        clean: the images before, (n, channels, h, w).
        images: the images after, clipped to [0, 1].
        labels: the classes the attack was to leave (n).
        clean_logits: before (n, c).
        logits: after, predicted again on the final images (n, c).
        forwards: forward passes that the attack took, in images, divided by n.
        backwards: backward passes likewise.
        class_names: one per class, or empty.
    """

    clean: Float[Tensor, "n channels h w"]
    images: Float[Tensor, "n channels h w"]
    labels: Int[Tensor, " n"]
    clean_logits: Float[Tensor, "n c"]
    logits: Float[Tensor, "n c"]
    forwards: float
    backwards: float
    class_names: tuple[str, ...] = ()

    def pick(self, at: Int[Tensor, " m"]) -> Self:
        """The same of some of the images."""
        names = ("clean", "images", "labels", "clean_logits", "logits")
        return replace(self, **{name: getattr(self, name)[at] for name in names})

    @property
    def perturbation(self) -> Float[Tensor, "n channels h w"]:
        """Attacked minus clean image."""
        return self.images - self.clean

    @property
    def clean_correct(self) -> Bool[Tensor, " n"]:
        """Whether the clean image was classified as its label says."""
        return self.clean_logits.argmax(1) == self.labels

    @property
    def success(self) -> Bool[Tensor, " n"]:
        """Classified as labelled before and otherwise after. Images wrong from the start are no success."""
        return self.clean_correct & (self.logits.argmax(1) != self.labels)

    @property
    def margin(self) -> Float[Tensor, " n"]:
        """Logit of the label minus the best other logit, after the attack: below 0 means fooled."""
        label = self.logits.gather(1, self.labels[:, None])
        others = self.logits.scatter(1, self.labels[:, None], -torch.inf)
        return label[:, 0] - others.amax(1)

    @property
    def linf(self) -> Float[Tensor, " n"]:
        """Largest change of a value, in [0, 1] units."""
        return self.perturbation.abs().amax((1, 2, 3))

    @property
    def l2(self) -> Float[Tensor, " n"]:
        """Euclidean length of the perturbation, in [0, 1] units."""
        return self.perturbation.square().sum((1, 2, 3)).sqrt()

    @property
    def rms(self) -> Float[Tensor, " n"]:
        """Root mean square of the perturbation, in [0, 1] units."""
        return self.perturbation.square().mean((1, 2, 3)).sqrt()

    def _says(self) -> Iterator[str]:
        right, fooled, linf = self.clean_correct, self.success, self.linf
        count = f"{int(fooled.sum()):,} of {int(right.sum()):,} fooled that were right before"
        sizes = f"; L-inf up to {levels(linf.max())}, RMS up to {levels(self.rms.max())}" if len(linf) else ""
        yield f"{images_of(self.images)}: {count}{sizes}"
        outcomes = [("wrong before", "not fooled", "fooled")[code] for code in (right.int() + fooled.int()).tolist()]
        yield from listed(len(linf), lambda at: f"{at}: {self._answers(at)}, {outcomes[at]}, L-inf {levels(linf[at])}")

    def _answers(self, at: int) -> str:
        """What one image was taken for before and after."""
        return " -> ".join(answer(logits[at], self.class_names) for logits in (self.clean_logits, self.logits))

    def _repr_png_(self) -> bytes:
        from gazeshift.pictures import attack_sheet

        return attack_sheet(self)


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Summary):
    """How far the gaze moved between two looks at the same batch.

    Args:
        values: (layer, cam) to measure name to one number per image (n). NaN where a map is undefined.
        blank: (layer, cam) to a code per image: 0 both maps show something, 1 the clean one is blank, 2 the changed
            one, 3 both.
        switched: whether the predicted class differs (n).
    """

    values: Mapping[tuple[str, str], Mapping[str, Float[Tensor, " n"]]]
    blank: Mapping[tuple[str, str], Int[Tensor, " n"]]
    switched: Bool[Tensor, " n"]

    def table(self, measure: str = "cosine", cam: str = "grad_cam") -> Float[Tensor, "layers n"]:
        """One measure of one CAM: a row per layer in the order of the forward pass, a column per image.

        Raises:
            UnknownNameError: the CAM or the measure was not compared.
        """
        by_cam: dict[str, list[Mapping[str, Tensor]]] = {}
        for (_, drawn), found in self.values.items():
            by_cam.setdefault(drawn, []).append(found)
        return torch.stack([_named(found, measure, "measure") for found in _named(by_cam, cam, "CAM")])

    def _says(self) -> Iterator[str]:
        columns = [*self._columns().items()]
        yield self._summary()
        yield from listed(len(columns), lambda at: _spread(*columns[at]))

    def _summary(self) -> str:
        layers, cams = ([*dict.fromkeys(key[part] for key in self.values)] for part in (0, 1))
        switched = f"{int(self.switched.sum()):,} of {plural(len(self.switched), 'image')}"
        return f"{' and '.join(cams) or 'no maps'} at {span(layers)}; the predicted class switched in {switched}"

    def _columns(self) -> dict[str, dict[str, Tensor]]:
        """Each measure of each CAM, by layer."""
        columns: dict[str, dict[str, Tensor]] = {}
        for (layer, cam), found in self.values.items():
            for measure, values in found.items():
                columns.setdefault(f"{measure} of {cam}", {})[layer] = values.float()
        return columns

    def _repr_html_(self) -> str:
        columns = self._columns()
        layers = [*dict.fromkeys(layer for layer, _ in self.values)]

        def row(at: int) -> tuple[str, ...]:
            found = [by_layer.get(layers[at]) for by_layer in columns.values()]
            return layers[at], *("" if values is None else f"{float(values.nanmean()):.3f}" for values in found)

        return table(f"{self._summary()}; means over the images", ("layer", *columns), len(layers), row)


@dataclass(frozen=True, kw_only=True, repr=False)
class Finding(Summary):
    """One check of a model or a run: what was checked, whether it held, and what was seen.

    Args:
        check: name of the check.
        level: ``ok``, ``note`` (the reader should know) or ``error`` (results would be wrong).
        detail: one sentence, with figures.
    """

    check: str
    level: str
    detail: str

    def _says(self) -> Iterator[str]:
        yield f"{self.level}, {self.check}: {self.detail}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Sample(Summary):
    """One image of a source, ready for a classifier.

    Args:
        id: unique in its source and stable: the path below the source's folder, or the row number.
        image: (channels, h, w) in [0, 1].
        label: class index, or None if the source has no labels.
        sha256: of the encoded file as read.
    """

    id: str
    image: Float[Tensor, "channels h w"]
    label: int | None
    sha256: str

    def _says(self) -> Iterator[str]:
        yield f"{self.id}: {size(self.image.shape)}, {'no label' if self.label is None else f'label {self.label}'}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Skipped(Summary):
    """One image that could not be used, and why."""

    id: str
    reason: str

    def _says(self) -> Iterator[str]:
        yield f"{self.id}: {self.reason}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Batch(Summary):
    """Images of a source, stacked, and what had to be left out on the way.

    Args:
        ids: one per image.
        images: (n, channels, h, w) in [0, 1]; n may be 0.
        labels: class indices (n), or None if the source has no labels.
        skipped: what was left out.
    """

    ids: tuple[str, ...]
    images: Float[Tensor, "n channels h w"]
    labels: Int[Tensor, " n"] | None
    skipped: tuple[Skipped, ...] = ()

    def _says(self) -> Iterator[str]:
        labels = (
            ["no label"] * len(self.ids) if self.labels is None else [f"label {one}" for one in self.labels.tolist()]
        )
        yield f"{images_of(self.images)}; {len(self.skipped):,} skipped"
        yield from listed(len(self.ids), lambda at: f"{at}: {self.ids[at]}, {labels[at]}", 4)
        yield from listed(len(self.skipped), lambda at: f"skipped {self.skipped[at].id}: {self.skipped[at].reason}", 2)


def _line(seen: Evidence, at: int) -> str:
    """One image's answer, and the class that its maps explain if that is another."""
    explained, predicted = int(seen.explained[at]), int(seen.predicted[at])
    other = f", maps of {fitted(seen.class_name(explained))}" if explained != predicted else ""
    return f"{at}: {answer(seen.logits[at], seen.class_names)}{other}"


def _spread(name: str, by_layer: Mapping[str, Tensor]) -> str:
    """A measure's mean of what is defined over layers and images, and the layers where it is lowest and highest."""
    every = torch.cat([*by_layer.values()])
    means = {layer: float(values.nanmean()) for layer, values in by_layer.items() if not values.isnan().all()}
    if not means:
        return f"{name}: undefined"
    low, high = (pick(means, key=means.__getitem__) for pick in (min, max))
    ends = " to ".join(f"{means[layer]:.3g} at {fitted(layer, 20)}" for layer in (low, high))
    undefined = int(every.isnan().sum())
    return f"{name}: mean {float(every.nanmean()):.3g}, {ends}" + (f", {undefined:,} undefined" if undefined else "")
