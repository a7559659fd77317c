"""The rows of the study of Ding et al. 2022 that need no training: what was seen, painted, silenced and enlarged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import ModelError
from gazeshift.model_edits.mask_maps import MaskMaps
from gazeshift.model_edits.scale_filters import ScaleFilters, convolution_before
from gazeshift.models import Classifier, select
from gazeshift.pipeline import look
from gazeshift.precision import exact
from gazeshift.records import Attacked, Batch, Layer
from gazeshift.runs.examples import SetSource, attacked_pairs
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.ding2022.feature_maps import Ranking, summed
from gazeshift.transforms.roi_pixels import RoiPixels

if TYPE_CHECKING:
    from gazeshift.studies.ding2022.settings import Ding2022

WEIGHTS = (0.299, 0.587, 0.114)  # of luminance, ITU-R BT.601
SIDES = ("clean", "attacked")
SEEN = pa.schema(
    [
        *(("set", pa.string()), ("image", pa.string()), ("label", pa.int32()), ("label_name", pa.string())),
        *((f"{side}_{what}", kind) for side in SIDES for what, kind in (("class", pa.int32()), ("name", pa.string()))),
        *((f"{side}_confidence", pa.float32()) for side in SIDES),
        *((name, pa.float32()) for name in ("rms", "linf")),
        *((name, pa.bool_()) for name in ("clean_correct", "success")),
    ]
)
HISTOGRAMS = pa.schema(
    [("set", pa.string()), ("side", pa.string()), ("channel", pa.string()), ("counts", pa.list_(pa.int64()))]
)
ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("set", "image", "label_name", "experiment", "side")),
        ("label", pa.int32()),
        ("value", pa.float32()),
        ("draw", pa.int16()),
        *((f"{when}_class", pa.int32()) for when in ("before", "after")),
        *((f"{when}_name", pa.string()) for when in ("before", "after")),
        *((f"{when}_confidence", pa.float64()) for when in ("before", "after")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """One set of the study, with the model and the layers that everything about it needs.

    Args:
        settings: of the study.
        name: of the set.
        source: its examples.
        classifier: whom they fool.
        layers: whose maps are ranked, by the name shown.
        last: where `cam` is defined.
        size: height and width of the images.
    """

    settings: "Ding2022"
    name: str
    source: SetSource
    classifier: Classifier
    layers: Mapping[str, Layer]
    last: Layer
    size: tuple[int, int]

    def pairs(self, batch: Batch) -> Attacked:
        """The examples of a batch, both sides predicted anew."""
        return attacked_pairs(self.classifier, self.source.pairs(batch.ids))

    def cam(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n hl wl"]:
        """CAM of each image's own class."""
        return look(self.classifier, images, layers=self.last.name, cams="cam").maps(self.last.name, "cam")


def last_layer(classifier: Classifier, images: Float[Tensor, "n channels h w"]) -> Layer:
    """The layer where `cam` is defined: average pooling and one linear layer follow.

    Raises:
        ModelError: there is none.
    """
    layer = select(classifier.layers((images.shape[2], images.shape[3])), "trunk", classifier.name)[-1]
    if look(classifier, images[:1], layers=layer.name, cams="cam").maps(layer.name, "cam").isnan().any():
        raise ModelError(
            f"this study draws CAM, which needs average pooling and one linear layer at the end; {classifier.name} has "
            "another head. Choose a model such as torchvision:resnet50 or efficientnet_lite0."
        )
    return layer


def seen_cell(run: OpenedSet, batch: Batch) -> CellResult:
    """What the model answers to each pair, histograms, and how far its feature maps move."""
    if not batch.ids:
        return CellResult({"seen": SEEN.empty_table()})
    found, rows, counts = run.pairs(batch), Rows(SEEN), Rows(HISTOGRAMS)
    add_seen(rows, run, batch.ids, found)
    for side, images in zip(SIDES, (found.clean, found.images), strict=True):
        for channel, bins in histograms(images).items():
            counts.add(1, set=run.name, side=side, channel=channel, counts=[bins])
    sums = summed(run.classifier, found.clean, found.images, dict(run.layers))
    tables = {"seen": rows.table(), "histograms": counts.table(), "sums": sums}
    return CellResult(tables, CellNotes(right=int(found.clean_correct.sum())))


def add_seen(rows: Rows, run: OpenedSet, ids: Sequence[str], found: Attacked) -> None:
    """One row per pair."""
    name = run.classifier.class_name
    told: dict[str, Any] = {}
    for side, logits in zip(SIDES, (found.clean_logits, found.logits), strict=True):
        best = logits.softmax(1).max(1)
        told |= {
            f"{side}_class": best.indices,
            f"{side}_name": [name(int(index)) for index in best.indices],
            f"{side}_confidence": best.values,
        }
    rows.add(
        len(ids),
        set=run.name,
        image=list(ids),
        label=found.labels,
        label_name=[name(int(index)) for index in found.labels],
        rms=found.rms,
        linf=found.linf,
        clean_correct=found.clean_correct,
        success=found.success,
        **told,
    )


def histograms(images: Float[Tensor, "n channels h w"]) -> dict[str, list[int]]:
    """256 bins over all pixels of a batch, rounded to 8 bits: red, green, blue, and luminance.

    Channels that are no colours are numbered, and their mean stands for the luminance; a single one has no other.
    """
    count = images.shape[1]
    names = ("red", "green", "blue") if count == 3 else tuple(f"channel {at}" for at in range(1, count + 1))
    weights = torch.tensor(WEIGHTS if count == 3 else (1 / count,) * count, device=images.device)
    luminance = {"luminance": torch.einsum("nchw,c->nhw", images, weights)}
    channels = luminance if count == 1 else dict(zip(names, images.unbind(1), strict=True)) | luminance
    levels = {name: (values * 255).round().clamp(0, 255).long().flatten() for name, values in channels.items()}
    return {name: torch.bincount(values, minlength=256).tolist() for name, values in levels.items()}


def change_cell(run: OpenedSet, found: Ranking, batch: Batch) -> CellResult:
    """Top-1 answers before and after every change of pixels, maps and filters, clean and attacked side by side."""
    if not batch.ids:
        return CellResult({"rows": ROWS.empty_table()})
    pairs, rows = run.pairs(batch), Rows(ROWS)
    images = torch.cat([pairs.clean, pairs.images])
    for keys, changed in _painted(run, pairs, batch.ids):
        _add(rows, run, batch.ids, pairs=pairs, after=_answers(run.classifier, changed), **keys)
    for experiment, changed_model in _mended(run, found):
        with changed_model as model:
            after = _answers(model, images)
        _add(rows, run, batch.ids, pairs=pairs, after=after, experiment=experiment, value=None, draw=None)
    return CellResult({"rows": rows.table()})


def _painted(run: OpenedSet, pairs: Attacked, ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Pixels painted at the same places of both images, inside the clean image's region and outside it."""
    settings, height, width = run.settings, pairs.clean.shape[2], pairs.clean.shape[3]
    brush = RoiPixels(count=settings.pixels, level=settings.level)
    inside = brush.region(run.cam(pairs.clean), (height, width))
    for experiment, region in (("roi", inside), ("outside", ~inside)):
        for draw in range(settings.draws):
            draws = [generator_for(settings.seed, experiment, str(draw), name) for name in ids]
            places = brush.positions(region, generator=draws)
            for value in settings.values:
                painted = [brush(images, places, value / 255) for images in (pairs.clean, pairs.images)]
                yield {"experiment": experiment, "value": value, "draw": draw}, torch.cat(painted)


def _mended(run: OpenedSet, found: Ranking) -> Iterator[tuple[str, Any]]:
    """The model with its sensitive maps masked, and with sensitive and with insensitive filters enlarged."""
    enlarge = ScaleFilters(factor=run.settings.factor)
    yield "mask", MaskMaps()(run.classifier, by_layer(run, found.most))
    yield "enlarge_sensitive", enlarge(run.classifier, filters(run, found.most))
    yield "enlarge_insensitive", enlarge(run.classifier, filters(run, found.least))


def by_layer(run: OpenedSet, maps: Sequence[tuple[str, int]]) -> dict[Layer, list[int]]:
    """Channels of the listed maps by their layer, each once."""
    grouped: dict[Layer, list[int]] = {}
    for name, channel in maps:
        channels = grouped.setdefault(run.layers[name], [])
        if channel not in channels:
            channels.append(channel)
    return grouped


def filters(run: OpenedSet, maps: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """Filters that make the listed maps, by the name of their convolution."""
    every = run.classifier.layers(run.size)
    grouped: dict[str, list[int]] = {}
    for own, channels in by_layer(run, maps).items():
        grouped.setdefault(convolution_before(run.classifier, own, every), []).extend(channels)
    return grouped


@torch.no_grad()
def _answers(model: Classifier, images: Tensor) -> Float[Tensor, "n c"]:
    return model(images)  # type: ignore[no-any-return]


def _add(rows: Rows, run: OpenedSet, ids: Sequence[str], *, pairs: Attacked, after: Tensor, **keys: Any) -> None:
    """One row per image of both sides; `after` holds the clean images' logits first."""
    labels, before = pairs.labels, torch.cat([pairs.clean_logits, pairs.logits])
    name, n = run.classifier.class_name, len(ids)
    for side, at in zip(SIDES, (slice(0, n), slice(n, 2 * n)), strict=True):
        told: dict[str, Any] = {}
        for when, logits in (("before", before[at]), ("after", after[at])):
            best = exact(logits).softmax(1).max(1)
            names = [name(int(index)) for index in best.indices]
            told |= {f"{when}_class": best.indices, f"{when}_name": names, f"{when}_confidence": best.values}
        label_names = [name(int(index)) for index in labels]
        rows.add(n, set=run.name, image=list(ids), label=labels, label_name=label_names, side=side, **keys, **told)
