"""Findings of a noisecam2023 study in sentences, and the paper's own beside them."""

from collections.abc import Iterator

import numpy as np

from gazeshift.report.document import Claim, number, share
from gazeshift.report.similarity import PREDICTED, mean, percent
from gazeshift.studies.noisecam2023.report.charts import CLUSTERS, DEVIATION, detectors
from gazeshift.studies.noisecam2023.report.numbers import ATTACKED, CLEAN, NOISE, WAYS, NoisecamTables, chance

HELD, NOT, PARTLY, UNTESTED = "held", "did not hold", "partly", "not tested"
BOTH = (CLEAN, NOISE)
NEVER = 2 / 3  # accuracy without any alarm: two benign images for each attacked one
ENOUGH = 20  # examples that both detectors saw
OTHER = "Another model and other images. The paper does not say how its map becomes points."


def findings(found: NoisecamTables) -> list[str]:
    """The few sentences that matter."""
    said = [f"{found.told.asked.attack} changed the class of {found.switched} of {found.seeds} images."]
    if not detectors(found):
        return [*said, nothing(found)]
    return [*said, *_each(found), *_chosen(found), *_peak(found)]


def nothing(found: NoisecamTables) -> str:
    """Why there is nothing to detect."""
    if not found.switched:
        return "No image's class was changed, so there is nothing to detect: a stronger attack or more images may help."
    return "No test image has an adversarial example, so nothing could be detected: more images are needed."


def _each(found: NoisecamTables) -> Iterator[str]:
    for name, said in detectors(found).items():
        n, s = int(said.at(CLEAN).sum()), found.shown
        area = said.auroc(s, BOTH)
        yield (
            f"{_called(found, name)} at {percent(s)}: TPR {share(said.rate(ATTACKED, s))}, TNR "
            f"{share(1 - said.rate(CLEAN, s))} (clean) and {share(1 - said.rate(NOISE, s))} (Gaussian), AUC "
            f"{number(area, 3)} on {n} test example{'s' * (n != 1)}: {_judged(area, n)}."
        )


def _called(found: NoisecamTables, name: str) -> str:
    if name == DEVIATION:
        return f"The deviation of {found.probe}"
    return f"NoiseCAM with clusters ({found.main.map}, {WAYS[found.main.binarise]})"


def _judged(area: float, n: int, looks: int = 1) -> str:
    reach = chance(n, 2 * n, looks)
    if abs(area - 0.5) <= reach:
        return f"chance (band {number(0.5 - reach)} to {number(0.5 + reach)})"
    return "better than chance" if area > 0.5 else "worse than chance: attacked images have the lower score"


def _chosen(found: NoisecamTables) -> Iterator[str]:
    ranked = [pair for pair in found.ranked() if np.isfinite(pair[1])]
    if not ranked:
        return
    n = found.tested
    (best, area), above = ranked[0], sum(area > 0.5 + chance(n, 2 * n, len(ranked)) for _, area in ranked)
    first = (
        f"Of {len(ranked)} combinations of layer, normalisation, factor and binarisation, {above} separate beyond what "
        f"so many looks give by chance; the best on the test images, {best.map}, {WAYS[best.binarise]}, has AUC "
        f"{number(area, 3)}"
    )
    if found.chosen is None:
        yield f"{first}."
        return
    honest = found.verdicts[found.chosen].auroc(found.shown, BOTH)
    yield (
        f"{first}; the one chosen on the calibration images, {found.chosen.map}, {WAYS[found.chosen.binarise]}, "
        f"{number(honest, 3)}."
    )


def _peak(found: NoisecamTables) -> Iterator[str]:
    said = found.noisecam
    if said is not None:
        values = [number(said.auroc(found.shown, (kind,), peak=True), 3) for kind in BOTH]
        doubt = number(found.doubt.auroc(found.shown, BOTH), 3)
        yield (
            f"The plain maximum of the map without clusters has AUC {values[0]} against clean and {values[1]} against "
            f"Gaussian images; low confidence of the model, without any map, {doubt} against both."
        )


def claims(found: NoisecamTables) -> list[Claim]:
    """What the paper found, beside what this study did."""
    made = [_success(found)]
    if found.gaze.found is not None and found.gaze.main.any():
        made += [_compromise(found), _probe(found)]
    said = detectors(found)
    if CLUSTERS in said:
        made.append(_blank(found))
    if len(said) == 2:
        made += [_accuracy(found), _rates(found), _strength(found)]
    return made


def _held(found: NoisecamTables, verdict: str) -> str:
    """The verdict, unless too few images were tested for one."""
    return verdict if min(found.tested, found.deviated) >= ENOUGH else f"{UNTESTED}: fewer than {ENOUGH} examples"


def _success(found: NoisecamTables) -> Claim:
    return Claim(
        paper="DLFuzz finds an adversarial example for 48 % of 5,000 ImageNet images (VGG-16).",
        ours=f"{found.switched} of {found.seeds} images "
        f"({share(found.switched / found.seeds if found.seeds else None)}).",
        held=UNTESTED,
        why="Another model, other images, and a number of steps that the paper does not give.",
    )


def _compromise(found: NoisecamTables) -> Claim:
    levels = found.gaze.levels(PREDICTED)
    first, last = mean(levels[0].probability), mean(levels[-1].probability)
    return Claim(
        paper="The lowest strength compromises any layer with a probability of about 0.4, strengths above 2 with 0.8.",
        ours=f"{number(first)} at {percent(found.strengths[0])}, {number(last)} at {percent(found.strengths[-1])}, "
        "mean over layers.",
        held=HELD if abs(first - 0.4) < 0.1 and abs(last - 0.8) < 0.1 else NOT,
        why="0.5 is chance. The released code scales cumulatively: its 50 and 100 % point away from the attack.",
    )


def _probe(found: NoisecamTables) -> Claim:
    pooled = found.gaze.pooled(PREDICTED)
    place = int(np.nanargmin(pooled.attacked.mean))
    layer = found.gaze.layers[place]
    return Claim(
        paper="The first convolution of the fifth block deviates most.",
        ours=f"{layer} deviates most: mean similarity {number(pooled.attacked.mean[place])} under attack, "
        f"{number(pooled.noise.mean[place])} under noise.",
        held=HELD if layer == "5-1" else NOT if any(name == "5-1" for name in found.gaze.layers) else UNTESTED,
        why="The paper compares jet-coloured pictures, in which disjoint spots are alike; here maps are compared.",
    )


def _blank(found: NoisecamTables) -> Claim:
    said = found.verdicts[found.main]
    none = {kind: _none(found, kind) for kind in (CLEAN, NOISE, ATTACKED)}
    is_so = min(none[CLEAN], none[NOISE]) > 0.9 and none[ATTACKED] < 0.1
    peaks = [float(np.median(said.peak[said.at(kind, found.shown)])) for kind in (ATTACKED, NOISE, CLEAN)]
    return Claim(
        paper="NoiseCAM is blank for clean images and Gaussian noise, and shows the perturbation of adversarial ones.",
        ours=f"No cluster in {share(none[CLEAN])} of the clean, {share(none[NOISE])} of the noisy and "
        f"{share(none[ATTACKED])} of the attacked images; median maximum {peaks[0]:.3g} attacked, {peaks[1]:.3g} "
        f"noisy, {peaks[2]:.3g} clean.",
        held=HELD if is_so else NOT,
        why="The released weights are divided by sums that include negative terms, which empties maps of any kind; the "
        "printed formula is nearly Grad-CAM++ at shallow layers.",
    )


def _none(found: NoisecamTables, kind: str) -> float:
    said = found.verdicts[found.main]
    counts = said.score[said.at(kind, found.shown)]
    return float((counts == 0).mean()) if counts.size else float("nan")


def _accuracy(found: NoisecamTables) -> Claim:
    said = detectors(found)
    one, two = (mean([said[name].accuracy(s) for s in found.strengths]) for name in (CLUSTERS, DEVIATION))
    return Claim(
        paper="NoiseCAM is the more accurate detector.",
        ours=f"Mean accuracy over strengths {share(one)} (NoiseCAM) and {share(two)} (deviation); no alarm at all has "
        "67 %.",
        held=_held(found, NOT if one <= two else HELD if one > NEVER else PARTLY),
        why=OTHER,
    )


def _rates(found: NoisecamTables) -> Claim:
    said = detectors(found)
    true = [mean([said[name].rate(ATTACKED, s) for s in found.strengths]) for name in said]
    false = [mean([said[name].rate(kind, s) for s in found.strengths for kind in BOTH]) for name in said]
    lower = true[1] < true[0], false[1] < false[0]
    return Claim(
        paper="The deviation has a lower TPR and a higher TNR than NoiseCAM.",
        ours=f"TPR {share(true[1])} against {share(true[0])}, TNR {share(1 - false[1])} against {share(1 - false[0])}.",
        held=_held(found, HELD if all(lower) else PARTLY if any(lower) else NOT),
        why="PCA takes texture out of an image and calls it noise: its size is many times that of an attack.",
    )


def _strength(found: NoisecamTables) -> Claim:
    said, ends = detectors(found), (found.strengths[0], found.strengths[-1])
    moved = {name: said[name].rate(ATTACKED, ends[1]) - said[name].rate(ATTACKED, ends[0]) for name in said}
    falls = -0.2 <= moved[DEVIATION] < 0
    stays = abs(moved[CLUSTERS]) < 0.05
    return Claim(
        paper="From 25 to 400 % the deviation's TPR falls slightly and NoiseCAM's does not change.",
        ours=f"TPR changes by {100 * moved[DEVIATION]:+.0f} points (deviation) and {100 * moved[CLUSTERS]:+.0f} "
        "(NoiseCAM).",
        held=_held(found, HELD if falls and stays else PARTLY if falls or stays else NOT),
        why="In the released code 25, 200 and 400 % are nearly the same direction, and 50 and 100 % another.",
    )
