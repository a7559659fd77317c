"""Looks at images and writes what was seen: overlays, raw arrays, a page."""

import io
import re
import shutil
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jinja2 import Environment, PackageLoader

from gazeshift import pictures
from gazeshift.cli._study import none_usable
from gazeshift.data import FIT, Handling, PictureReader, made_folder, open_source, printable, write_error
from gazeshift.errors import OutputError
from gazeshift.models import Classifier, load, preflight
from gazeshift.pipeline import look
from gazeshift.records import Evidence, Finding, Skipped
from gazeshift.runs.settings import Progress

PAGE, MARK = "index.html", ".gazeshift-look"


class PageMap(TypedDict):
    """A map on the page, and whether it shows anything."""

    layer: str
    cam: str
    file: str
    shown: bool


class PageEntry(TypedDict):
    """An image on the page."""

    name: str
    answer: str
    image: str
    channels: str
    maps: list[PageMap]


def look_at(
    images: list[str],
    out: Path,
    *,
    layers: str,
    cams: str,
    batch_size: int,
    progress: Progress,
    pixels: Handling = FIT,
    **model: Any,
) -> list[str]:
    """Look at every image; one line for each, for each that was left out, and for the page.

    Raises:
        DataError: none of the images can be used.
        OutputError: the folder cannot be written, or holds something that is no earlier look.
    """
    source = open_source(images if len(images) > 1 else images[0], labelled=False)
    classifier = load(model.pop("model"), **model)
    _prepare(out)
    reader = PictureReader(source, classifier.preprocessing, pixels)
    skipped: list[Skipped] = list(source.skipped)
    lines: list[str] = []
    entries: list[PageEntry] = []
    findings: tuple[Finding, ...] = ()
    for batch in reader.batches(batch_size):
        skipped.extend(batch.skipped)
        if len(batch.ids):
            findings = findings or preflight(classifier, batch.images)
            evidence = look(classifier, batch.images, layers=layers, cams=cams)
            _try_writing(out / MARK, b"")
            for row, name in enumerate(batch.ids):
                entries.append(_write(evidence, row, name, out, len(entries)))
                lines.append(f"{printable(name)}: {entries[-1]['answer']}")
        progress(len(entries) + len(skipped), len(source), "images")
    if not entries:
        raise none_usable(len(source), "", skipped)
    notes = [*source.notes, *([reader.summary] if reader.summary else [])]
    said = [f"{finding.check}: {finding.detail}" for finding in findings]
    _try_writing(out / PAGE, _page(entries, skipped, classifier, notes, said).encode())
    _forget_earlier(out, entries)
    lines += [f"skipped {printable(skip.id)}: {skip.reason}" for skip in skipped]
    return [*lines, *(f"note: {note}" for note in notes), str(out / PAGE)]


def _prepare(out: Path) -> None:
    """A folder that is empty, or holds an earlier look, finished or not."""
    present = made_folder(out)
    if present and MARK not in present:
        raise OutputError(f"{out} is not empty and holds no earlier look ({present[0]}). Name another folder: --out.")


def _forget_earlier(out: Path, entries: list[PageEntry]) -> None:
    """Remove the pictures of an earlier look that the page no longer shows."""
    shown = {Path(entry["image"]).parent.name for entry in entries}
    for image in out.glob("[0-9][0-9][0-9][0-9]*-*/image.png"):
        if image.parent.name not in shown:
            shutil.rmtree(image.parent, ignore_errors=True)


def _write(evidence: Evidence, row: int, name: str, out: Path, number: int) -> PageEntry:
    """One image's overlays and arrays in a folder of its own; what the page shows of it."""
    folder = out / f"{number:04d}-{_safe(Path(name).stem)}"
    image = evidence.images[row]
    _try_writing(folder / "image.png", pictures.encode_png(pictures.photograph(image)))
    maps, arrays = list[PageMap](), {}
    for layer in evidence.layers:
        for cam in evidence.cams:
            found = evidence.maps(layer, cam)[row].cpu().numpy()
            if np.isnan(found).all():
                continue
            file = folder / f"{_safe(layer)}.{_safe(cam)}.png"
            _try_writing(file, pictures.encode_png(pictures.overlay(image, found)))
            arrays[f"{layer}/{cam}"] = found
            shown = bool((found > 0).any())
            maps.append({"layer": layer, "cam": cam, "file": file.relative_to(out).as_posix(), "shown": shown})
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    _try_writing(folder / "maps.npz", stream.getvalue())
    confidence, winner = evidence.logits[row].softmax(0).max(0)
    return {
        "name": name,
        "answer": f"{evidence.class_name(int(winner))} ({float(confidence):.1%})",
        "image": (folder / "image.png").relative_to(out).as_posix(),
        "channels": pictures.channels_shown(len(image)),
        "maps": maps,
    }


def _page(
    entries: list[PageEntry], skipped: list[Skipped], classifier: Classifier, notes: list[str], findings: list[str]
) -> str:
    environment = Environment(loader=PackageLoader("gazeshift.report", "page"), autoescape=True)
    return environment.get_template("look.html").render(
        entries=entries, skipped=skipped, card=classifier.card(), notes=notes, findings=findings
    )


def _try_writing(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as cause:
        raise write_error(file, cause, "What is written so far is kept.") from cause


def _safe(name: str) -> str:
    """A file name that every system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:80].strip(".") or "image"
