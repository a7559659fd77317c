"""Figures 1, 5 and 9 of Tan et al. 2023."""

from collections import defaultdict

from gazeshift.report.cells import tuples
from gazeshift.report.document import Gallery, Picture
from gazeshift.report.study import Study

KINDS = {"attacked": "adversarial", "noise": "Gaussian noise", "clean": "clean"}
FRAMES = {"attacked": "attacked", "noise": "noise", "clean": "ok"}
COLUMNS = ("image", "figure", "kind", "what", "caption", "webp")
Pictures = defaultdict[tuple[str, str, str], list[Picture]]


def galleries(study: Study, most: int) -> list[Gallery]:
    """The three figures, for each of the first `most` examples that the study kept."""
    pictures = Pictures(list)
    for image, figure, kind, what, caption, webp in tuples(study.table("pictures", COLUMNS), *COLUMNS):
        said = {"blurred": f"{KINDS[kind]}, blurred: {caption}", "image": f"predicted {caption}"}.get(what, caption)
        framed = FRAMES[kind] if what in ("image", "blurred") else ""
        pictures[image, figure, kind].append(Picture(webp=webp, caption=said, frame=framed))
    images = list(dict.fromkeys(image for image, *_ in pictures))[:most]
    return [_blurred(pictures, images), _compared(pictures, images), _ninth(pictures, images)]


def _blurred(pictures: Pictures, images: list[str]) -> Gallery:
    return Gallery(
        title="What a blur of 1.5 pixels makes of the prediction",
        rows=[(image, [picture for kind in KINDS for picture in pictures[image, "1", kind]]) for image in images],
        item="Fig 1",
        about="Each picture was blurred and classified again.",
        paper="a space shuttle becomes a volcano (adversarial) and a matchstick (noise, and clean).",
        name="blurred",
        side=160,
    )


def _compared(pictures: Pictures, images: list[str]) -> Gallery:
    return Gallery(
        title="Grad-CAM++ and NoiseCAM under attack, noise and neither",
        rows=[(f"{image}: {KINDS[kind]}", pictures[image, "5", kind]) for image in images for kind in KINDS],
        item="Fig 5",
        about="NoiseCAM in one colour scale for the three kinds of an image, so that a blank map would be dark.",
        paper="NoiseCAM shows a pattern for the adversarial image and is blank for the other two.",
        name="compared",
        side=160,
    )


def _ninth(pictures: Pictures, images: list[str]) -> Gallery:
    return Gallery(
        title="An example, its perturbation and its maps",
        rows=[(image, pictures[image, "9", "attacked"]) for image in images],
        item="Fig 9a-f",
        about="The image with its predicted class, the perturbation as it is and amplified, and three maps at the "
        "layer of figure 8.",
        paper="the three maps of the third convolution; NoiseCAM highlights the perturbation.",
        name="example",
    )
