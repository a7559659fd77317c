"""Pictures of why an image is suspicious: the layers that moved most, and where."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.data import write_error
from gazeshift.models import Classifier
from gazeshift.pipeline import gaze, look, moved_most
from gazeshift.records import Verdict

CAM = "grad_cam"
MOVED = 0.3  # of a map's maximum: a larger difference is marked


def draw_reasons(classifier: Classifier, verdict: Verdict, at: int, most: int, file: Path) -> str | None:
    """One row for each layer that moved most: the image, its map, the view's map with the moved region outlined.

    Maps are Grad-CAM's for the predicted class, looked at anew. None if the detector gives no reasons.

    Args:
        classifier: the model.
        verdict: of the batch.
        at: the image's place in it.
        most: rows.
        file: a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    parts = moved_most(verdict, at)
    if not parts:
        return None
    seen, views = verdict.seen, list(dict.fromkeys(view for view, _ in verdict.reasons))
    image, target = seen.own.images[at : at + 1], seen.own.predicted[at : at + 1]
    rows = []
    for _, view, layer in parts[:most]:
        changed = seen.views[views.index(view)].images[at : at + 1]
        found = look(classifier, torch.cat([image, changed]), layers=[layer], cams=[CAM], target=target.repeat(2)).maps(
            layer, CAM
        )
        rows.append(_row(image[0], changed[0], found))
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * row.height))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pictures.encode_png(sheet))
    except OSError as cause:
        raise write_error(file, cause, "Name another folder: --maps.") from cause
    return str(file)


def moved(first: Float[Tensor, "h w"], second: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Where two maps of an image, each divided by its maximum, differ by more than 0.3."""
    one, two = (maps / maps.amax().clamp_min(1e-12) for maps in (first, second))
    return (one - two).abs() > MOVED


def _row(image: Tensor, changed: Tensor, maps: Float[Tensor, "2 hl wl"]) -> Image.Image:
    size = (image.shape[1], image.shape[2])
    own, other = gaze(maps, size)
    tiles = [
        pictures.photograph(image),
        pictures.overlay(image, maps[0]),
        pictures.outlined(pictures.overlay(changed, maps[1]), moved(own, other)),
    ]
    row = Image.new("RGB", (3 * size[1], size[0]))
    for place, tile in enumerate(tiles):
        row.paste(tile, (place * size[1], 0))
    return row
