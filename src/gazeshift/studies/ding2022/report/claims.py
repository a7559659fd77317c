"""What Ding et al. 2022 found, beside what was found here; and the findings in a few sentences."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from gazeshift.report.document import Claim, number, share
from gazeshift.studies.ding2022.report.numbers import MENDED, SetNumbers, absolute_change, change_statistic, restored
from gazeshift.studies.ding2022.report.power import RULE, balanced, conclusion, difference
from gazeshift.studies.ding2022.report.tables import CALLED, overlap, points

HELD, NOT, PARTLY, UNTESTED = "held", "did not hold", "partly", "not tested"
NO_RISE, TELLS = 0.05, 0.95
SAME = "What counts as not tested: as with training on adversarial examples."
FEW = "Another model and attack; the paper has eight images of each set and one draw of the pixels."


def claims(sets: Sequence[SetNumbers]) -> list[Claim]:
    """Every finding of the paper that this study can speak to."""
    return [
        _alike(sets),
        _region(sets),
        _control(sets),
        _early(sets),
        _late(sets),
        *(_change(sets, experiment) for experiment in MENDED),
        _trained(sets),
        _clean(sets),
        _detected(sets),
    ]


def findings(sets: Sequence[SetNumbers]) -> list[str]:
    """The sentences that matter."""
    return [sentence for one in sets for sentence in (_seen(one), _mended(one), _learned(one)) if sentence]


def _seen(one: SetNumbers) -> str:
    told = one.told
    fooled = f"{one.name}: {told.fooled} of {told.clean_correct} images that the model gets right are fooled"
    if not one.rows:
        return f"{fooled}; nothing is painted or masked."
    inside, outside = (_sizes(one, place) for place in ("roi", "outside"))
    return (
        f"{fooled}. Pixels painted in the region change the confidence by {points(inside[0])} points (clean) and "
        f"{points(inside[1])} (adversarial), as many outside it by {points(outside[0])} and {points(outside[1])}."
    )


def _mended(one: SetNumbers) -> str:
    if not one.rows:
        return ""
    parts = [f"{CALLED[name]}: {share(restored(one.changes(name, 'attacked')))}" for name in MENDED]
    return f"{one.name}: adversarial images given their true label back by " + "; ".join(parts) + "."


def _learned(one: SetNumbers) -> str:
    parts = []
    trained, found = one.largest, one.detected()
    if trained is not None:
        before, after = trained.before, trained.after
        parts.append(
            f"training on {trained.size} examples takes accuracy from {share(before.attacked_accuracy, 1)} to "
            f"{share(after.attacked_accuracy, 1)} on adversarial and from {share(before.clean_accuracy, 1)} to "
            f"{share(after.clean_accuracy, 1)} on clean images"
        )
    if found is not None:
        control = one.detected("gaussian")
        beside = "" if control is None else f" (Gaussian noise of the same size: {number(control.auc_scores, 3)})"
        parts.append(f"the detector's AUC is {number(found.auc_scores, 3)}{beside}")
    return f"{one.name}: {'; '.join(parts)}." if parts else ""


def _sizes(one: SetNumbers, place: str) -> list[float]:
    return [change_statistic(one.changes(place, side)) for side in ("clean", "attacked")]


def _verdict(votes: Sequence[bool | None]) -> str:
    known = [vote for vote in votes if vote is not None]
    return UNTESTED if not known else HELD if all(known) else PARTLY if any(known) else NOT


def _each(sets: Sequence[SetNumbers], say: Callable[[SetNumbers], str]) -> str:
    return " ".join(f"{one.name}: {say(one)}." for one in sets)


def _alike(sets: Sequence[SetNumbers]) -> Claim:
    return Claim(
        paper="Histograms of clean and adversarial images differ little (Fig 2).",
        ours=_each(sets, lambda one: f"{share(overlap(one), 1)} of the pixels lie in other bins"),
        held=_verdict([overlap(one) < 0.1 for one in sets]),
        why="Here over all images; the paper judges single ones by eye. Below 10 % counts as little.",
    )


def _region(sets: Sequence[SetNumbers]) -> Claim:
    def sizes(one: SetNumbers) -> list[float]:
        return [absolute_change(one.changes("roi", side)) for side in ("clean", "attacked")]

    return Claim(
        paper="Painting the salient region shakes the confidence of clean images more than that of adversarial ones "
        "(Tables 2, 3).",
        ours=_each(sets, lambda one: f"size {number(sizes(one)[0])} clean, {number(sizes(one)[1])} adversarial"),
        held=_verdict([_more(*sizes(one)) for one in sets]),
        why=FEW,
    )


def _control(sets: Sequence[SetNumbers]) -> Claim:
    def both(one: SetNumbers) -> list[float]:
        return [absolute_change(one.changes(place, "clean")) for place in ("roi", "outside")]

    return Claim(
        paper="It is the salient region that matters (no control in the paper).",
        ours=_each(sets, lambda one: f"clean, size {number(both(one)[0])} inside, {number(both(one)[1])} outside"),
        held=_verdict([_more(*both(one)) for one in sets]),
        why="As many random pixels outside the region are the control. What they also do is not the region's doing.",
    )


def _more(first: float, second: float) -> bool | None:
    return None if math.isnan(first) or math.isnan(second) else first > second


def _early(sets: Sequence[SetNumbers]) -> Claim:
    def depths(one: SetNumbers) -> list[float]:
        top = len(one.told.most)
        return [one.depth(one.ranked(key)[:top]) for key in ("rmse", "relative")]

    return Claim(
        paper="The maps that change most lie in the first layer and its pooling (Tables 4, 6).",
        ours=_each(
            sets, lambda one: f"mean depth {number(depths(one)[0])} absolute, {number(depths(one)[1])} relative"
        ),
        held=_verdict([depths(one)[0] < 0.1 for one in sets]),
        why="Depth is 0 at the first layer and 1 at the last. The printed numbers grow with a map's area, which puts "
        "early layers on top; they are no RMSE. Relative to a layer's own size the order is another one.",
    )


def _late(sets: Sequence[SetNumbers]) -> Claim:
    def depth(one: SetNumbers) -> float:
        return one.depth(one.ranked(least=True)[: len(one.told.least)])

    return Claim(
        paper="The maps that change least lie in high layers (Tables 5, 7).",
        ours=_each(sets, lambda one: f"mean depth {number(depth(one))}"),
        held=_verdict([depth(one) > 0.5 for one in sets]),
        why="Maps that are zero on both sides are left out here; in the paper ten maps share one floor value.",
    )


STATED = {
    "mask": "Masking the sensitive maps raises the confidence of clean and adversarial images and is no defence "
    "(Tables 8, 9).",
    "enlarge_sensitive": "Enlarging sensitive filters lowers the confidence of adversarial images and changes some of "
    "their labels (Tables 10, 12).",
    "enlarge_insensitive": "Enlarging insensitive filters lowers the confidence of both, and more (Tables 11, 13).",
}


def _change(sets: Sequence[SetNumbers], experiment: str) -> Claim:
    def both(one: SetNumbers) -> list[float]:
        return [change_statistic(one.changes(experiment, side)) for side in ("clean", "attacked")]

    def said(one: SetNumbers) -> str:
        clean, attacked = both(one)
        right = share(restored(one.changes(experiment, "attacked")))
        return f"{points(clean)} clean, {points(attacked)} adversarial, {right} with their true label back"

    return Claim(
        paper=STATED[experiment],
        ours=_each(sets, said),
        held=_verdict([_as_stated(one, experiment, *both(one)) for one in sets]),
        why=f"{FEW} Tables 10 and 11 of the paper have misprints.",
    )


def _as_stated(one: SetNumbers, experiment: str, clean: float, attacked: float) -> bool | None:
    if not one.rows or math.isnan(clean) or math.isnan(attacked):
        return None
    if experiment == "mask":
        return clean > 0 and attacked > 0 and restored(one.changes(experiment, "attacked")) < 0.5
    if experiment == "enlarge_sensitive":
        return attacked < 0
    return clean < 0 and attacked < 0 and clean < change_statistic(one.changes("enlarge_sensitive", "clean"))


def _trained(sets: Sequence[SetNumbers]) -> Claim:
    def accuracies(one: SetNumbers) -> list[float]:
        return [found.after.attacked_accuracy for found in one.trained]

    def rises(one: SetNumbers) -> bool | None:
        found = _moved(one, "attacked", margin=NO_RISE)
        return found and bool(np.argmax(accuracies(one)) > 0)

    return Claim(
        paper="The more adversarial examples are trained on, the more adversarial images are classified right: up to "
        "19.7 % and 24.1 % (Tables 14, 15).",
        ours=_each(sets, lambda one: ", ".join(share(value, 1) for value in accuracies(one)) or "not trained"),
        held=_verdict([rises(one) for one in sets]),
        why="The examples are fixed ones of one attack: this is no robustness against an attack on the trained model. "
        f"A rise of less than {share(NO_RISE)} counts as none. {RULE}",
    )


def _clean(sets: Sequence[SetNumbers]) -> Claim:
    def said(one: SetNumbers) -> str:
        found = one.largest
        if found is None:
            return "not trained"
        before, after = (share(epoch.clean_accuracy, 1) for epoch in (found.before, found.after))
        return f"{before} to {after} at the largest size"

    return Claim(
        paper="With 40,000 adversarial examples the model also gets better on clean images than it was "
        "(54.6 and 67.4 % against 41.8 %).",
        ours=_each(sets, said),
        held=_verdict([_moved(one, "clean") for one in sets]),
        why="A ResNet-50 with the right preprocessing has about 75 % before training; 41.8 % points to a mismatch, to "
        f"which the training adapts. A learning rate of 0.001 makes a trained model forget. {SAME}",
    )


def _moved(one: SetNumbers, side: str, *, margin: float = 0.0) -> bool | None:
    """Whether the largest training raised the accuracy on one side."""
    found = one.largest
    if found is None:
        return None
    n = found.after.validation
    after, before = ((round(epoch.accuracy(side) * n), n) for epoch in (found.after, found.before))
    return conclusion(
        difference(after, before),
        0.0,
        judged=n,
        learned=found.size,
        loss=math.nan if found.after.loss is None else found.after.loss,
        classes=one.classes,
        margin=margin,
    )


def _detected(sets: Sequence[SetNumbers]) -> Claim:
    def said(one: SetNumbers) -> str:
        found, control = one.detected(), one.detected("gaussian")
        if found is None:
            return "not trained"
        beside = "" if control is None else f"; against Gaussian noise {number(control.auc_scores, 3)}"
        return f"{share(found.clean, 1)} and {share(found.other, 1)}, AUC {number(found.auc_scores, 3)}{beside}"

    return Claim(
        paper="A network trained from nothing tells 98.42 % of clean and 99.07 % of adversarial images, AUC 0.9875.",
        ours=_each(sets, said),
        held=_verdict([_tells(one) for one in sets]),
        why="The paper's clean images were JPEG of any size and its adversarial ones PNG resized with another filter, "
        "which alone tells them apart. Here both sides go through the same steps. A mean accuracy above "
        f"{share(TELLS)} counts as held. {SAME}",
    )


def _tells(one: SetNumbers) -> bool | None:
    """Whether the detector tells nearly all images."""
    found = one.detected()
    if found is None:
        return None
    kept = next(epoch for epoch in one.detector if epoch.trained_on == "attacked" and epoch.kept)
    bounds = balanced(found.clean, found.other, found.n)
    return conclusion(bounds, TELLS, judged=found.n, learned=2 * kept.train, loss=kept.loss, classes=2)
