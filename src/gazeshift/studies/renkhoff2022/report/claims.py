"""Findings of a renkhoff2022 study in sentences, and the paper's own beside them."""

from collections.abc import Iterator, Sequence

import numpy as np

from gazeshift.report.document import Claim, number, share
from gazeshift.report.similarity import ATTACKED, NOISE, PREDICTED, REFERENCE, SimilarityNumbers, mean, percent
from gazeshift.report.statistics import chance_band
from gazeshift.report.words import small

SAME = 0.02  # mean similarities that differ by less are called alike
NAMED = ("4-1", "5-1")
HELD, NOT, PARTLY, UNTESTED = "held", "did not hold", "partly", "not tested"


def findings(found: SimilarityNumbers) -> list[str]:
    """The few sentences that matter."""
    right = [seed for seed in found.seeds if seed.clean_correct]
    hit, attack = sum(seed.switched for seed in right), found.manifest.settings["attack"]
    said = [f"{attack} found an example for {hit} of {len(right)} seeds that were classified right."]
    if found.found is None or not found.main.any():
        return [*said, nothing(found), *_coverage(found)]
    level, fixed = (found.levels(target)[found.own] for target in (PREDICTED, REFERENCE))
    n, own = int(found.main.sum()), percent(found.strengths[found.own])
    beyond = sum(value > chance_band(n)[1] for value in level.probability)
    pooled = found.pooled(PREDICTED)
    gap = pooled.attacked.mean - pooled.noise.mean
    worst, lowest = found.layers[int(np.nanargmin(gap))], found.layers[int(pooled.lowest.argmax())]
    said += [
        f"At {own} the maps' mean similarity to the clean ones is {number(mean(level.attacked.mean))}, under noise of "
        f"the same size {number(mean(level.noise.mean))}; with the clean image's class explained on both sides, "
        f"{number(mean(fixed.attacked.mean))} and {number(mean(fixed.noise.mean))}.",
        f"Compromise probability at {own} is {number(mean(level.probability))} on average (chance 0.50), beyond the "
        f"chance band of {n} images at {beyond} of {len(found.layers)} layers; against each image's own noise "
        f"{number(mean(level.paired))}. {small(n)}".strip(),
        f"Over all strengths, the attack outdoes noise most at {worst} (by {number(-float(np.nanmin(gap)))}); {lowest} "
        f"is most often the least alike layer ({share(float(pooled.lowest.max() / max(1, pooled.lowest.sum())))}).",
        *_coverage(found),
    ]
    return said


def nothing(found: SimilarityNumbers) -> str:
    """Why there is nothing to compare."""
    wrong = sum(not seed.clean_correct for seed in found.seeds)
    if len(found.seeds) == wrong:
        return f"All {wrong} seeds were misclassified before the attack, so there is nothing to compare."
    return (
        "No adversarial example was found among them, so there is nothing to compare: a larger step, more iterations "
        "or more seeds may find some (--attack dlfuzz:iterations=10)."
    )


def _coverage(found: SimilarityNumbers) -> Iterator[str]:
    wanted = ("adversarial", 1.0), ("random", 1.0), ("seeds", 0.0)
    if all(key in found.curves for key in wanted):
        ends = [number(found.curves[key][-1], 4) for key in wanted]
        yield (
            f"Neuron coverage after {len(found.curves[wanted[0]])} seeds: {ends[0]} with adversarial steps, {ends[1]} "
            f"with random ones, {ends[2]} from the seeds alone."
        )


def claims(found: SimilarityNumbers) -> list[Claim]:
    """What the paper found, beside what this study did."""
    made = [_success(found)]
    if found.found is not None and found.main.any():
        made += [
            _below_noise(found),
            _layers(found),
            _strengths(found),
            _probability(found),
            _few(found),
            _deeper(found),
        ]
    return [*made, *_curves(found)]


def _success(found: SimilarityNumbers) -> Claim:
    right = [seed for seed in found.seeds if seed.clean_correct]
    hit = sum(seed.switched for seed in right)
    return Claim(
        paper="DLFuzz finds an adversarial example for 48 % of 5,000 ImageNet images (VGG-16).",
        ours=f"{hit} of {len(right)} seeds classified right ({share(hit / len(right) if right else None)}).",
        held=UNTESTED,
        why="Another model and other images; the released settings take one step from each item, the default three.",
    )


def _below_noise(found: SimilarityNumbers) -> Claim:
    gaps = [_means(found, ATTACKED)[at] - _means(found, NOISE)[at] for at in range(len(found.strengths))]
    below = sum(gap < 0 for gap in gaps)
    return Claim(
        paper="Adversarial images are less like the clean ones than noisy images at all strengths (Fig 5).",
        ours=f"Lower on average at {below} of {len(gaps)} strengths; differences {_list(gaps)}.",
        held=_verdict(below == len(gaps), partly=below > 0),
        why="Part of the difference is another class being explained: see the clean image's class.",
    )


def _layers(found: SimilarityNumbers) -> Claim:
    pooled = found.pooled(PREDICTED)
    gap = pooled.attacked.mean - pooled.noise.mean
    first = [found.layers[at] for at in np.argsort(gap)[:2]]
    shared = len(set(first) & set(NAMED))
    known = set(NAMED) <= set(found.layers)
    return Claim(
        paper="block4_conv1 and block5_conv1 of VGG-16 are the most vulnerable layers.",
        ours=f"{first[0]} and {first[-1]} differ most from noise.",
        held=_verdict(shared == 2, partly=shared == 1) if known else UNTESTED,
        why="" if known else "These layers are VGG-16's.",
    )


def _strengths(found: SimilarityNumbers) -> Claim:
    means = dict(zip(found.strengths, _means(found, ATTACKED), strict=True))
    needed = (0.25, 0.5, 1.0, 2.0, 4.0)
    if not set(needed) <= set(means):
        held, ours = UNTESTED, "These strengths were not all asked for."
    else:
        pair = abs(means[0.5] - means[1.0]) < SAME
        three = max(means[s] for s in (0.25, 2.0, 4.0)) - min(means[s] for s in (0.25, 2.0, 4.0)) < SAME
        held = _verdict(pair and three, partly=pair or three)
        ours = f"Mean similarity {_list([means[s] for s in needed])} at 25 to 400 %."
    return Claim(
        paper="25, 200 and 400 % move the maps alike; 50 and 100 % are almost identical.",
        ours=ours,
        held=held,
        why=f"Alike: within {SAME}. In the released code 50 and 100 % are one image, and no strength but 25 % is "
        "what it says (--arithmetic released).",
    )


def _probability(found: SimilarityNumbers) -> Claim:
    levels = [mean(level.probability) for level in found.levels(PREDICTED)]
    weak, strong = min(levels) < 0.5, min(levels[0], levels[-1]) >= 0.8
    return Claim(
        paper="The lowest strength compromises a layer with about 40 %, above 200 % or below 25 % with 80 % (Fig 6).",
        ours=f"{_list(levels)} at {percent(found.strengths[0])} to {percent(found.strengths[-1])}, mean over layers.",
        held=_verdict(weak and strong, partly=weak or strong),
        why="Chance is 0.50, so that 40 % is no compromise at all. The paper's 50 and 100 % push away from "
        "the attack. Held: some strength below 0.50, the lowest and the highest at least 0.80.",
    )


def _few(found: SimilarityNumbers) -> Claim:
    count, per = len(found.layers), found.levels(PREDICTED)[found.own].per_image
    few, every = float((per <= 2).mean()), float((per == count).mean())
    return Claim(
        paper="Some examples mislead by compromising no layer or few, some compromise all of them (Fig 7).",
        ours=f"At {percent(found.strengths[found.own])}: {share(few)} at most 2 of {count} layers, {share(every)} all.",
        held=_verdict(few > 0 and every > 0, partly=few > 0 or every > 0),
        why="Noise images compromise half of the layers by construction.",
    )


def _deeper(found: SimilarityNumbers) -> Claim:
    values = found.levels(PREDICTED)[found.own].attacked.mean
    half = len(values) // 2
    early, late = mean(values[:half]), mean(values[half:])
    return Claim(
        paper="The deeper the layer, the larger the deviation, with fluctuations (Fig 5).",
        ours=f"Mean similarity {number(early)} in the first half of the layers, {number(late)} in the second.",
        held=_verdict(late < early) if half else UNTESTED,
        why="The last layers' maps are coarse and follow the class; maps of early layers follow edges.",
    )


def _curves(found: SimilarityNumbers) -> Iterator[Claim]:
    keys = [("adversarial", strength) for strength in found.strengths]
    ends = [found.curves[key][-1] for key in keys if key in found.curves]
    if ("adversarial", 1.0) not in found.curves or ("random", 1.0) not in found.curves:
        return
    gap = found.curves["adversarial", 1.0][-1] - found.curves["random", 1.0][-1]
    alone = found.curves["adversarial", 1.0][-1] - found.curves["seeds", 0.0][-1]
    yield Claim(
        paper="Coverage grows slightly faster with adversarial than with random steps (Fig 2a).",
        ours=f"Apart by {number(gap, 4)} at the end, and {number(alone, 4)} above the seeds alone.",
        held=_verdict(gap > 0),
        why="The paper's random curve is its run at 25 %, and the two arms counted by different rules.",
    )
    yield Claim(
        paper="The weaker the perturbation, the slower coverage grows; the effect is slight (Fig 2b).",
        ours=f"{_list(ends, 4)} at the end, {percent(found.strengths[0])} to {percent(found.strengths[-1])}.",
        held=_verdict(ends == sorted(ends), partly=ends[0] < ends[-1]),
        why="Nearly all growth in the released data comes from the clean seeds; Fig 2a shows their share here.",
    )


def _means(found: SimilarityNumbers, kind: int) -> list[float]:
    levels = found.levels(PREDICTED)
    return [mean((level.attacked if kind == ATTACKED else level.noise).mean) for level in levels]


def _list(values: Sequence[float], digits: int = 2) -> str:
    return ", ".join(number(value, digits) for value in values)


def _verdict(holds: bool, *, partly: bool = False) -> str:
    return HELD if holds else PARTLY if partly else NOT
