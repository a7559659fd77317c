"""Tables and charts of the study of Chakraborty et al. 2022, each beside the paper's."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gazeshift.report.cells import table
from gazeshift.report.charts import boxes, histogram, lines
from gazeshift.report.document import NONE, Chart, Table, number, share
from gazeshift.report.words import called
from gazeshift.studies.chakraborty2022.manifest import ConditionEntry
from gazeshift.studies.chakraborty2022.report.numbers import (
    ACCESS,
    ALIGNED,
    LEVELS,
    MOD,
    PAPER,
    RAW,
    ChakrabortyNumbers,
    mean_row,
)

KINDS = {"raw": "pictures as they are", "aligned": "aligned faces"}
RANDOM = "random signs, mean of the models"
Printed = Sequence[Sequence[float]]


def heads(found: ChakrabortyNumbers, conditions: Mapping[str, ConditionEntry]) -> Table:
    """How well each new head does."""
    return table(
        "Heads",
        [(kind, model, head) for kind, said in conditions.items() for model, head in said.heads.items()],
        {
            "model": lambda row: f"{called(row[1])}, {KINDS[row[0]]}",
            "last layer": lambda row: row[2].layer,
            "epoch kept": lambda row: f"{row[2].kept} of {row[2].epochs}",
            "right, validation": lambda row: share(row[2].validation_accuracy, 1),
            "right, attacked test images when clean": lambda row: share(found.accuracy(row[0], row[1])[0], 1),
        },
        about="The body keeps its ImageNet weights; average pooling, dropout and one linear layer are trained on top.",
    )


def accuracy(found: ChakrabortyNumbers, condition: str) -> Table:
    """Tables 1 and 2: accuracy under the black-box attack."""
    item, printed = ("Table 1", RAW) if condition == "raw" else ("Table 2", ALIGNED)
    n = len(found.images(condition))
    count = {"raw": 296, "aligned": 257}[condition]
    return Table(
        title=f"Accuracy under the black-box attack, {KINDS[condition]}",
        head=_head(found),
        rows=[*_shares(found, condition, "black_box"), *_printed(found, printed, 100)],
        about=f"FGSM made on {called(found.source)} and shown to all; {n} test images, the same for every model.",
        item=item,
        paper=f"VGGFace2, 50 identities; the printed shares are those of {count} test images. It made the attack on "
        "ResNet50.",
        name=f"accuracy-{condition}",
    )


def not_aligned() -> Table:
    """What stands for table 2 where there are no landmarks."""
    return Table(
        title="Accuracy under the black-box attack, aligned faces",
        head=["model", "why"],
        rows=[["all", "Not applicable: these pictures have no table of face boxes and landmarks, as VGGFace2 has."]],
        item="Table 2",
        paper="VGG16 87.5 % falls to 84.4 % at ε 0.1, ResNet50 94.2 to 75.1, ResNet101 93.4 to 77.4, InceptionNet v3 "
        "85.2 to 30.0, XceptionNet 89.5 to 45.1.",
        name="accuracy-aligned",
    )


def common(found: ChakrabortyNumbers) -> Table:
    """Tables 1 and 2 on the images that both have."""
    shared = set(found.images("raw")) & set(found.images("aligned"))
    rows = [
        [f"{name}, {KINDS[condition]}", *cells]
        for condition in found.conditions
        for name, *cells in _shares(found, condition, "black_box", shared)
    ]
    return Table(
        title="Both kinds of picture, on the test images that both have",
        head=_head(found),
        rows=rows,
        about=f"{len(shared)} test images. The heads differ: each was trained on its own kind of picture.",
        item="Tables 1 and 2",
        paper="compares 296 images with 257 others, for alignment drops the faces that it cannot find.",
    )


def others(found: ChakrabortyNumbers, access: str) -> Table:
    """Accuracy under the white-box attack, or under random signs."""
    about = {
        "white_box": "FGSM made on each model itself.",
        "random": "A random sign for each value, the same for all models and sizes: the attack's size, not its aim.",
    }[access]
    return Table(
        title=f"Accuracy, {ACCESS[access]}",
        head=_head(found),
        rows=_shares(found, found.shown, access),
        about=about,
        paper="made white-box attacks and shows one image of them." if access == "white_box" else "",
        name=f"accuracy-{access.replace('_', '-')}",
    )


def accuracy_chart(found: ChakrabortyNumbers) -> Chart:
    """Accuracy by size, black box, with the mean under random signs."""
    return _by_size(
        found,
        "Accuracy under the black-box attack",
        [found.accuracy(found.shown, model) for model in found.models],
        mean_row([found.accuracy(found.shown, model, "random") for model in found.models]),
        y_title="share right",
        y_range=(0, 1.02),
        about=f"The attack was made on {called(found.source)}. Broken line: random signs of the same size.",
        name="accuracy",
    )


def _by_size(
    found: ChakrabortyNumbers, title: str, models: Sequence[Sequence[float]], random: Sequence[float], **words: Any
) -> Chart:
    """A line for each model, and one for random signs."""
    series = dict(zip(map(called, found.models), models, strict=True)) | {RANDOM: random}
    places = [f"{level:g}" for level in (0.0, *found.levels)]
    return lines(title, places, series, x_title="ε", colours={RANDOM: "--quiet"}, digits=3, **words)


def decibels(found: ChakrabortyNumbers, unit: float) -> Table:
    """Figure 3: PSNR at each size."""
    levels = np.array(found.levels)
    rows = {
        "FGSM, measured": found.psnr("black_box", found.source),
        "random signs, measured": found.psnr("random", found.source),
        "unclipped, ε in images in [0, 1]": -20 * np.log10(levels),
        "unclipped, ε in images in [-1, 1]": -20 * np.log10(levels / 2),
    }
    used = "[0, 1]" if unit == 1 else "[-1, 1]"
    return Table(
        title="Size of the change: PSNR in dB",
        head=["", *(f"ε {level:g}" for level in found.levels)],
        rows=[[name, *map(number, values)] for name, values in rows.items()],
        about=f"Mean over the test images. Here ε counts in images in {used}. Clipping makes the change a little "
        "smaller; ε 0 has no change and an infinite PSNR.",
        item="Fig 3",
        paper="a table of PSNR per ε; its numbers are a picture and not in the text.",
        name="psnr",
    )


def mod(found: ChakrabortyNumbers, access: str = "black_box", target: str = "predicted") -> Table:
    """Table 3: MOD, with the row of the mean shift."""
    is_paper = access == "black_box" and target == "predicted"
    rows = [[called(model), *_decimals(found.mod(model, access, target))] for model in found.models]
    rows.append(["Mean shift", *_decimals(found.mean_shift(access, target))])
    if is_paper:
        rows += _printed(found, MOD, 1)
        rows += _printed(found, [mean_row(MOD)], 1, ["Mean shift"])
    explained = {"predicted": "the class seen on each image", "reference": "the clean image's class, on both"}[target]
    return Table(
        title=f"MOD, {ACCESS[access]}, {explained}",
        head=_head(found),
        rows=rows,
        about="Mean NISSIM between the last layer's Grad-CAM of the clean image and of the changed one, for "
        f"{explained}.",
        item="Table 3" if is_paper else "",
        paper="mean shift 0.127, 0.220, 0.241, 0.251: MOD grows with ε for every model but one." if is_paper else "",
        name=f"mod-{access.replace('_', '-')}-{target}",
    )


def mod_chart(found: ChakrabortyNumbers) -> Chart:
    """MOD by size, with random signs and what unrelated maps have."""
    level = float(np.mean([found.unrelated[found.shown, model] for model in found.models]))
    return _by_size(
        found,
        "MOD under the black-box attack",
        [found.mod(model) for model in found.models],
        found.mean_shift("random"),
        y_title="MOD",
        level=level,
        about=f"Dotted: {level:.3f}, the mean NISSIM of clean maps of two different test images. A MOD there says that "
        "the map is as far from the clean one as that of another image.",
        name="mod",
    )


def switched(found: ChakrabortyNumbers) -> Table:
    """How much of MOD is another class explained."""
    rows = []
    for model in found.models:
        for level in found.levels:
            own, reference, stayed, moved, kept = found.by_switch(model, level)
            row = [number(own, 3), number(reference, 3), str(moved), number(stayed, 3), str(kept)]
            rows.append([f"{called(model)}, ε {level:g}", *row])
    return Table(
        title="MOD where the class switched, and where it stayed",
        head=["model and ε", "switched: class seen", "switched: clean image's class", "n", "stayed", "n"],
        rows=rows,
        about="Black box. Where the class switches, part of the dissimilarity is only that another class is explained; "
        "the second column has the clean image's class on both sides.",
        name="switched",
    )


def blanks(found: ChakrabortyNumbers) -> Table:
    """How many maps are blank, and what MOD is without them."""
    rows = []
    for access, name in ACCESS.items():
        told = [found.without_blanks(access, level) for level in found.levels]
        rows.append([f"{name}: blank", *(f"{blank} of {n}" for blank, n, _ in told)])
        rows.append([f"{name}: MOD of the others", *(number(value, 3) for _, _, value in told)])
    return Table(
        title="Blank maps",
        head=["", *(f"ε {level:g}" for level in found.levels)],
        rows=rows,
        about="Comparisons, of all models together, with a map that has no positive value on one side or both. In MOD "
        "a blank map is compared as zero throughout, two are alike.",
        name="blanks",
    )


def distributions(found: ChakrabortyNumbers) -> list[Chart]:
    """Figure 4, whose axes the paper does not name: NISSIM and SSIM by size, and VID."""
    charts = []
    for measure, low, high in (("NISSIM", 0.0, 0.6), ("SSIM", -0.2, 1.0)):
        for model in found.models:
            values = found.nissim(model)
            values = values if measure == "NISSIM" else 1 - 2 * values
            groups = {f"ε {level:g}": values[:, at] for at, level in enumerate(found.levels)}
            charts.append(
                histogram(
                    f"{measure} of {called(model)}",
                    groups,
                    low=low,
                    high=high,
                    bins=20,
                    x_title=measure,
                    item="Fig 4",
                    paper="“VID distribution for different ε”, per model; axes not named. It says that they shift to "
                    "the left as ε grows, which fits SSIM.",
                    name=f"{measure.lower()}-{found.models.index(model)}",
                )
            )
    return [*charts, vid(found)]


def vid(found: ChakrabortyNumbers) -> Chart:
    """VID of every image, as boxes."""
    names = [called(model) for model in found.models]
    groups = {ACCESS[access]: [found.vid(model, access) for model in found.models] for access in ACCESS}
    zero = (
        " Epsilon 0 counts as a level." if found.include_zero else " Epsilon 0 is no level here: it would inflate it."
    )
    return boxes(
        "VID of every image",
        names,
        groups,
        x_title="model",
        y_title="VID",
        colours={ACCESS["random"]: "--quiet"},
        digits=3,
        about="The standard deviation of an image's NISSIM over the sizes: 0 is a map that is equally far at each."
        + zero,
        item="Fig 4",
        paper="calls VID a variance; its formula is the standard deviation, and that is what is drawn here.",
        name="vid",
    )


def _head(found: ChakrabortyNumbers) -> list[str]:
    return ["model", *(f"ε {level:g}" for level in (0.0, *found.levels))]


def _shares(
    found: ChakrabortyNumbers, condition: str, access: str, among: Collection[str] | None = None
) -> list[list[str]]:
    return [
        [called(model), *(share(value, 1) for value in found.accuracy(condition, model, access, among))]
        for model in found.models
    ]


def _decimals(values: Sequence[float]) -> list[str]:
    return [number(value, 3) for value in values]


def _printed(
    found: ChakrabortyNumbers, printed: Printed, whole: float, names: Sequence[str] = PAPER
) -> list[list[str]]:
    """The paper's rows at our sizes; a dash where the paper has none."""
    rows = []
    for name, values in zip(names, printed, strict=True):
        known = dict(zip(LEVELS, values, strict=True))
        cells = [known.get(round(level, 6)) for level in (0.0, *found.levels)]
        shown = [NONE if cell is None else share(cell / 100, 1) if whole == 100 else number(cell, 3) for cell in cells]
        rows.append([f"{name} (paper)", *shown])
    return rows
