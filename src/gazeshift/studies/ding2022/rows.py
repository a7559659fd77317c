"""The rows of the study of Ding et al. 2022 that need no training: what was seen, painted, silenced and enlarged."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.model_edits.mask_maps import MaskMaps
from gazeshift.model_edits.scale_filters import ScaleFilters, convolution_before
from gazeshift.models import Classifier
from gazeshift.precision import exact
from gazeshift.records import Attacked, Batch, Layer
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.ding2022.feature_maps import Ranking, summed
from gazeshift.studies.ding2022.opened import OpenedSet
from gazeshift.transforms.roi_pixels import RoiPixels

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


def seen_cell(run: OpenedSet, batch: Batch) -> CellResult:
    """What the model answers to each pair, histograms, and how far its feature maps move."""
    if not batch.ids:
        return CellResult({"seen": SEEN.empty_table()})
    found, rows, counts = run.pairs(batch), Rows(SEEN), Rows(HISTOGRAMS)
    _add_seen(rows, run, batch.ids, found)
    for side, images in zip(SIDES, (found.clean, found.images), strict=True):
        for channel, bins in histograms(images).items():
            counts.add(1, set=run.name, side=side, channel=channel, counts=[bins])
    sums = summed(run.classifier, found.clean, found.images, dict(run.layers))
    tables = {"seen": rows.table(), "histograms": counts.table(), "sums": sums}
    return CellResult(tables, CellNotes(right=int(found.clean_correct.sum())))


def _add_seen(rows: Rows, run: OpenedSet, ids: Sequence[str], found: Attacked) -> None:
    """One row per pair."""
    name = run.classifier.class_name
    clean, attacked = (
        answers(run.classifier, logits, side)
        for side, logits in zip(SIDES, (found.clean_logits, found.logits), strict=True)
    )
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
        **clean,
        **attacked,
    )


def answers(classifier: Classifier, logits: Float[Tensor, "n c"], what: str) -> dict[str, object]:
    """Columns of the top-1 class, its name and its probability, whose names begin with `what`."""
    best = logits.softmax(1).max(1)
    names = [classifier.class_name(int(index)) for index in best.indices]
    return {f"{what}_class": best.indices, f"{what}_name": names, f"{what}_confidence": best.values}


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
    for experiment, value, draw, changed in _painted(run, pairs, batch.ids):
        after = _logits(run.classifier, changed)
        _add(rows, run, batch.ids, pairs, after, experiment=experiment, value=value, draw=draw)
    for experiment, changed_model in _mended(run, found):
        with changed_model as model:
            after = _logits(model, torch.cat([pairs.clean, pairs.images]))
        _add(rows, run, batch.ids, pairs, after, experiment=experiment)
    return CellResult({"rows": rows.table()})


def _painted(run: OpenedSet, pairs: Attacked, ids: Sequence[str]) -> Iterator[tuple[str, float, int, Tensor]]:
    """Pixels painted at the same places of both images, inside the clean image's region and outside it: experiment,
    value, draw, and the clean images before the attacked ones.
    """
    settings, height, width = run.settings, pairs.clean.shape[2], pairs.clean.shape[3]
    brush = RoiPixels(count=settings.pixels, level=settings.level)
    inside = brush.region(run.cam(pairs.clean), (height, width))
    for experiment, region in (("roi", inside), ("outside", ~inside)):
        for draw in range(settings.draws):
            draws = [generator_for(settings.seed, experiment, str(draw), name) for name in ids]
            places = brush.positions(region, generator=draws)
            for value in settings.values:
                painted = [brush(images, places, value / 255) for images in (pairs.clean, pairs.images)]
                yield experiment, value, draw, torch.cat(painted)


def _mended(run: OpenedSet, found: Ranking) -> Iterator[tuple[str, AbstractContextManager[Classifier]]]:
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
def _logits(model: Classifier, images: Tensor) -> Float[Tensor, "n c"]:
    return model(images)  # type: ignore[no-any-return]


def _add(
    rows: Rows,
    run: OpenedSet,
    ids: Sequence[str],
    pairs: Attacked,
    after: Tensor,
    *,
    experiment: str,
    value: float | None = None,
    draw: int | None = None,
) -> None:
    """One row per image of both sides; `after` holds the clean images' logits first."""
    label_names = [run.classifier.class_name(int(index)) for index in pairs.labels]
    sides = (pairs.clean_logits, after[: len(ids)]), (pairs.logits, after[len(ids) :])
    for side, (before, changed) in zip(SIDES, sides, strict=True):
        rows.add(
            len(ids),
            set=run.name,
            image=list(ids),
            label=pairs.labels,
            label_name=label_names,
            experiment=experiment,
            side=side,
            value=value,
            draw=draw,
            **answers(run.classifier, exact(before), "before"),
            **answers(run.classifier, exact(changed), "after"),
        )
