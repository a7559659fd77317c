"""What Chakraborty et al. 2022 found, beside what was found here; and the findings in a few sentences."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gazeshift.report.document import Claim, number, share
from gazeshift.report.words import called
from gazeshift.studies.chakraborty2022.report.numbers import ChakrabortyNumbers, mean_row

HELD, NOT, PARTLY, UNTESTED = "held", "did not hold", "partly", "not tested"
DEEP, WIDE = ("vgg", "resnet"), ("inception", "xception")
SLACK = 0.01  # a share of images that a rise may fall back by


def claims(found: ChakrabortyNumbers) -> list[Claim]:
    """Every finding of the paper that this study can speak to."""
    made = [_falls(found), _wide(found), _grows(found), _follows(found), _explains(found)]
    return [*made, _smallest(found), _spread(found), _preprocessing(found)]


def findings(found: ChakrabortyNumbers) -> list[str]:
    """The sentences that matter."""
    largest, n = found.levels[-1], len(found.images(found.shown))
    accuracy, mods = _ends(found), [found.mod(model)[-1] for model in found.models]
    names = [called(model) for model in found.models]
    falls = ", ".join(f"{name} {share(a)} to {share(b)}" for name, (a, b) in zip(names, accuracy, strict=True))
    shift, random = found.mean_shift()[-1], found.mean_shift("random")[-1]
    apart = float(np.mean([found.unrelated[found.shown, model] for model in found.models]))
    vids = [float(np.mean(found.vid(model))) for model in found.models]
    steady = int(np.argmin(vids))
    own, reference, stayed, moved, kept = found.by_switch(found.source, largest)
    return [
        f"Black box at ε {largest:g}, {n} test images: {falls}. White box: {_white(found, largest)}.",
        f"MOD at ε {largest:g} is {_list(mods)} ({', '.join(names)}), mean shift {number(shift, 3)}; clean maps of two "
        f"different images are {number(apart, 3)} apart.",
        f"Random signs of the same size, which leave {share(_random_accuracy(found))} right, already give a mean shift "
        f"of {number(random, 3)}: {share(random / shift if shift else float('nan'))} of the attack's.",
        f"MOD of {called(found.source)} at ε {largest:g}: {number(own, 3)} where the class switched ({moved} images; "
        f"{number(reference, 3)} with the clean image's class on both sides), {number(stayed, 3)} where it stayed "
        f"({kept}).",
        f"VID, the spread over ε, is smallest for {names[steady]}: {number(vids[steady], 3)} (all: {_list(vids)}).",
    ]


def _ends(found: ChakrabortyNumbers) -> list[tuple[float, float]]:
    rows = [found.accuracy(found.shown, model) for model in found.models]
    return [(row[0], row[-1]) for row in rows]


def _random_accuracy(found: ChakrabortyNumbers) -> float:
    return mean_row([found.accuracy(found.shown, model, "random") for model in found.models])[-1]


def _white(found: ChakrabortyNumbers, level: float) -> str:
    counted = [(called(model), *found.success(model, level)) for model in found.models]
    return ", ".join(f"{name} {fooled} of {right} fooled" for name, fooled, right in counted)


def _list(values: Sequence[float]) -> str:
    return ", ".join(number(value, 3) for value in values)


def _rises(values: Sequence[float], slack: float = 0.0) -> bool:
    return all(after >= before - slack for before, after in pairwise(values))


def _falls(found: ChakrabortyNumbers) -> Claim:
    mean = mean_row([found.accuracy(found.shown, model) for model in found.models])
    falls, steady = mean[0] - mean[-1] > SLACK, _rises([-value for value in mean], SLACK)
    return Claim(
        paper="Attacks made on one model lower the accuracy of all, the more the larger ε (Table 1: ResNet50 90.5 to "
        "70.6 %, InceptionNet v3 88.5 to 25.3 %).",
        ours="Mean accuracy of the models: " + ", ".join(share(value, 1) for value in mean) + ".",
        held=HELD if falls and steady else PARTLY if falls else NOT,
        why="Other models, pictures and heads. The paper makes the attack on ResNet50.",
    )


def _wide(found: ChakrabortyNumbers) -> Claim:
    lost: dict[str, list[float]] = {"deep": [], "wide": []}
    for model, (clean, attacked) in zip(found.models, _ends(found), strict=True):
        for kind, words in (("deep", DEEP), ("wide", WIDE)):
            lost[kind] += [clean - attacked] if any(word in model for word in words) else []
    if not all(lost.values()):
        ours, held = "Not among these models: it takes a VGG or ResNet and an Inception or Xception.", UNTESTED
    else:
        deep, wide = (float(np.mean(lost[kind])) for kind in ("deep", "wide"))
        ours = f"Lost at the largest ε: deep {share(deep, 1)}, wide {share(wide, 1)}."
        held = HELD if wide > deep else NOT
    return Claim(
        paper="Wide models (Inception, Xception) fail more than deep ones (VGG, ResNet).",
        ours=ours,
        held=held,
        why="Five models of two kinds, one of them the source: the paper cannot tell width from kinship with ResNet50.",
    )


def _grows(found: ChakrabortyNumbers) -> Claim:
    shift = found.mean_shift()
    return Claim(
        paper="The gaze shifts further as ε grows: mean shift 0.127, 0.220, 0.241, 0.251 (Table 3).",
        ours=f"Mean shift {_list(shift[1:])}.",
        held=HELD if _rises(shift) else PARTLY if shift[-1] > shift[1] else NOT,
        why="NISSIM depends on the size of the maps and on how it is computed, which the paper does not say.",
    )


def _follows(found: ChakrabortyNumbers) -> Claim:
    lost = [a - b for a, b in _ends(found)]
    mods = [found.mod(model)[-1] for model in found.models]
    order = [called(found.models[at]) for at in np.argsort(mods)]
    same = list(np.argsort(mods)) == list(np.argsort(lost))
    least = int(np.argmin(mods)) == int(np.argmin(lost))
    return Claim(
        paper="The model whose gaze moves least (VGG16) loses the least accuracy; more shift, more failure.",
        ours=f"By MOD at the largest ε, from small to large: {', '.join(order)}; accuracy lost by "
        + ", ".join(f"{called(model)} {share(value, 1)}" for model, value in zip(found.models, lost, strict=True))
        + ".",
        held=HELD if same else PARTLY if least else NOT if len(lost) > 1 else UNTESTED,
        why=f"An order of {len(lost)} models proves little.",
    )


def _explains(found: ChakrabortyNumbers) -> Claim:
    """Judged at the largest size; the smallest is told as well."""
    parts = [_control(found, at) for at in (1, -1)]
    lost, harmless, part = parts[-1]
    told = [
        f"at ε {level:g} random signs of the same size cost {share(own[1], 1)} of accuracy where the attack costs "
        f"{share(own[0], 1)}, and have {share(own[2])} of its mean shift"
        for level, own in zip((found.levels[0], found.levels[-1]), parts, strict=True)
    ]
    return Claim(
        paper="The dissimilarity is why models fail under attack.",
        ours="; ".join(told)[0].upper() + "; ".join(told)[1:] + ".",
        held=NOT if part >= 0.5 and harmless <= 0.25 * max(lost, 0) else PARTLY,
        why="The paper has no such control. Maps move far without a failure too, so that MOD alone explains none.",
    )


def _control(found: ChakrabortyNumbers, at: int) -> tuple[float, float, float]:
    """Accuracy that the attack costs at one size, and random signs; and the signs' share of the attack's MOD."""
    attacked, random = (
        mean_row([found.accuracy(found.shown, model, access) for model in found.models])
        for access in ("black_box", "random")
    )
    shift = found.mean_shift()[at]
    part = found.mean_shift("random")[at] / shift if shift else float("nan")
    return attacked[0] - attacked[at], random[0] - random[at], part


def _smallest(found: ChakrabortyNumbers) -> Claim:
    level = found.levels[0]
    counted = [found.success(model, level) for model in found.models]
    fooled = sum(own for own, _ in counted)
    return Claim(
        paper="An attack of ε 0.01 succeeds while the eye sees nothing (Fig 2), white box.",
        ours=f"ε {level:g}: {_white(found, level)}.",
        held=HELD if fooled else NOT,
        why="The paper shows single images and counts none.",
    )


def _spread(found: ChakrabortyNumbers) -> Claim:
    middles = [[float(np.median(1 - 2 * column)) for column in found.nissim(model).T] for model in found.models]
    left = [_rises([-value for value in row], SLACK) and row[-1] < row[0] for row in middles]
    return Claim(
        paper="The distributions shift to the left as ε grows, but for one stable model (VGG16; Fig 4).",
        ours="Median SSIM at the smallest and the largest ε: "
        + ", ".join(
            f"{called(model)} {number(row[0], 3)} and {number(row[-1], 3)}"
            for model, row in zip(found.models, middles, strict=True)
        )
        + ".",
        held=HELD if all(left) else PARTLY if any(left) else NOT,
        why="Read as SSIM: NISSIM would shift to the right. The paper's axes are not named.",
    )


def _preprocessing(found: ChakrabortyNumbers) -> Claim:
    if "aligned" not in found.conditions:
        ours, held = "These pictures have no landmarks to align by.", UNTESTED
    else:
        shared = set(found.images("raw")) & set(found.images("aligned"))
        raw, aligned = (
            mean_row([found.accuracy(kind, model, among=shared) for model in found.models])
            for kind in ("raw", "aligned")
        )
        better = [after > before for before, after in zip(raw, aligned, strict=True)]
        ours = f"Mean accuracy on the {len(shared)} common images, raw: {_percent(raw)}; aligned: {_percent(aligned)}."
        held = HELD if all(better) else PARTLY if any(better) else NOT
    return Claim(
        paper="Aligning and cropping the faces helps all models; the trend stays (Table 2).",
        ours=ours,
        held=held,
        why="The paper's two tables have different test images (296 and 257), and VGG16, Inception and Xception are "
        "worse with preprocessing when clean.",
    )


def _percent(values: Sequence[float]) -> str:
    return ", ".join(share(value, 1) for value in values)
