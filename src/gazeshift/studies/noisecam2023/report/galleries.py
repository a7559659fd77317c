"""Figures 1, 5 and 9 of Tan et al. 2023."""

from typing import Any

from gazeshift.report.document import Gallery, Picture
from gazeshift.report.study import Study

KINDS = {"attacked": "adversarial", "noise": "Gaussian noise", "clean": "clean"}
FRAMES = {"attacked": "attacked", "noise": "noise", "clean": "ok"}


def galleries(study: Study) -> list[Gallery]:
    """The three figures, for each example that the study kept."""
    rows = study.table("pictures").to_pylist()
    images = list(dict.fromkeys(row["image"] for row in rows))[: study.manifest["settings"]["gallery"]]
    shown = [row for row in rows if row["image"] in images]
    return [_blurred(shown, images), _compared(shown, images), _ninth(shown, images)]


def _blurred(rows: list[dict[str, Any]], images: list[str]) -> Gallery:
    lines = [
        (image, [_picture(row, f"{KINDS[row['kind']]}, blurred: {row['caption']}") for row in _of(rows, image, "1")])
        for image in images
    ]
    return Gallery(
        title="What a blur of 1.5 pixels makes of the prediction",
        rows=lines,
        item="Fig 1",
        about="Each picture was blurred and classified again.",
        paper="a space shuttle becomes a volcano (adversarial) and a matchstick (noise, and clean).",
        name="blurred",
        side=160,
    )


def _compared(rows: list[dict[str, Any]], images: list[str]) -> Gallery:
    lines = [
        (f"{image}: {KINDS[kind]}", [_picture(row, _said(row)) for row in _of(rows, image, "5") if row["kind"] == kind])
        for image in images
        for kind in KINDS
    ]
    return Gallery(
        title="Grad-CAM++ and NoiseCAM under attack, noise and neither",
        rows=lines,
        item="Fig 5",
        about="NoiseCAM in one colour scale for the three kinds of an image, so that a blank map would be dark.",
        paper="NoiseCAM shows a pattern for the adversarial image and is blank for the other two.",
        name="compared",
        side=160,
    )


def _ninth(rows: list[dict[str, Any]], images: list[str]) -> Gallery:
    lines = [(image, [_picture(row, _said(row)) for row in _of(rows, image, "9")]) for image in images]
    return Gallery(
        title="An example, its perturbation and its maps",
        rows=lines,
        item="Fig 9a-f",
        about="The image with its predicted class, the perturbation as it is and amplified, and three maps at the "
        "layer of figure 8.",
        paper="the three maps of the third convolution; NoiseCAM highlights the perturbation.",
        name="example",
    )


def _of(rows: list[dict[str, Any]], image: str, figure: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["image"] == image and row["figure"] == figure]


def _said(row: dict[str, Any]) -> str:
    return f"predicted {row['caption']}" if row["what"] == "image" else str(row["caption"])


def _picture(row: dict[str, Any], caption: str) -> Picture:
    framed = row["what"] in {"image", "blurred"}
    return Picture(webp=row["webp"], caption=caption, frame=FRAMES[row["kind"]] if framed else "")
