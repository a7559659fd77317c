"""Tables of a scorecard: detectors at a glance, every attack, what fooled the model and what did not, and the rest."""

from collections.abc import Iterable, Mapping
from functools import partial

from gazeshift.report.cells import Estimate, table
from gazeshift.report.document import NONE, Table, number, share
from gazeshift.report.words import levels
from gazeshift.studies.scorecard.manifest import SetEntry
from gazeshift.studies.scorecard.report.bootstrap import estimate, leaders
from gazeshift.studies.scorecard.report.numbers import (
    ALL,
    AUROC,
    CLEAN,
    FAILED,
    FLAGGED,
    FOOLED,
    MEASURES,
    RATES,
    Contestant,
    Detection,
    Samples,
    ScorecardNumbers,
    means,
)

MARKS = (
    "★ is the best of a row, ≈ is not told apart from it on these images (95 % interval of the paired difference). "
    "“All sets” learned from the tested attack too, on other images, and gets no mark."
)
ABOVE = (
    "Share of the successful examples above the smallest suspicion that at most {} of all negatives together exceed, "
    "clean and benign."
)


def cell(measure: str, values: Samples) -> str:
    """A mean or a value of a measure, with its interval.

    >>> import numpy as np
    >>> cell(AUROC, np.array([0.5, 0.25, 0.25])), cell(FLAGGED, np.array([0.5, 0.25, 0.25]))
    ('0.500 [0.250, 0.250]', '50 % [25, 25]')
    """
    found = estimate(values)
    return found.decimals() if measure == AUROC else found.percent()


def counted(part: int, whole: int) -> str:
    """A share of a count, with its interval (Wilson).

    >>> counted(1, 20)
    '5.0 % [0.9, 23.6] of 20'
    """
    return f"{Estimate.counted(part, whole).percent(1)} of {whole}" if whole else NONE


def attack_name(told: SetEntry) -> str:
    """How a set was made: the attack and its size, as the set's manifest says."""
    size = told.attack.epsilon
    if size is None:
        return told.family
    return f"{told.family}, L2 {size:g}" if told.attack.norm == "l2" else f"{told.family}, L-inf {levels(size)}"


def contestants(found: ScorecardNumbers) -> Table:
    """Every detector in every way to learn, over all attacks."""

    def named(one: Contestant) -> str:
        few = len(one.detections)
        return one.name if few == len(found.tested) else f"{one.name} ({few} attacks)"

    def mean(measure: str, one: Contestant) -> str:
        return cell(measure, one.means[measure])

    def alarms(one: Contestant) -> str:
        counts = one.false_alarms(CLEAN)
        return Estimate.counted(*counts).percent(1) if counts else NONE

    return table(
        "All detectors over all attacks",
        found.contestants,
        {
            "detector": named,
            "mean AUROC": partial(mean, AUROC),
            "worst AUROC": lambda one: f"{worst_area(one)} ({one.worst})" if one.worst else NONE,
            **{measure: partial(mean, measure) for measure in (*RATES, FLAGGED)},
            "false alarms": alarms,
        },
        about=f"Means over {len(found.tested)} attacks, with 95 % bootstrap intervals over images. TPR: share of "
        "successful examples detected at 5 % and 1 % false alarms among clean images and benign changes. Flagged "
        f"examples, and false alarms among the {found.clean} clean images (Wilson interval): by the detector’s own "
        "calibrated threshold.",
        name="contestants",
    )


def worst_area(one: Contestant) -> str:
    """The smallest AUROC of all attacks."""
    return number(estimate(one.detections[one.worst].values[AUROC]).value, 3) if one.worst else ""


def per_attack(found: ScorecardNumbers) -> list[Table]:
    """One table for each number: attacks down, detectors across."""
    wanted = {AUROC: (AUROC, "Successful examples against clean images and benign changes. ")}
    wanted |= {
        measure: (f"TPR at {share(limit)} false alarms", ABOVE.format(share(limit)) + " ")
        for measure, limit in RATES.items()
    }
    wanted[FLAGGED] = "Flagged", "Share of the successful examples that the detector called attacks. "
    return [_matrix(found, measure, title, about + MARKS) for measure, (title, about) in wanted.items()]


def _matrix(found: ScorecardNumbers, measure: str, title: str, about: str) -> Table:
    everyone, rows = found.contestants, []
    for name in found.tested:
        values = {one.name: one.detections[name].values[measure] for one in everyone if name in one.detections}
        count = str(found.fitted(found.main).examples(name).sum())
        rows.append([name, count, *_marked(everyone, values, measure)])
    rows.append(["mean", "", *_marked(everyone, {one.name: one.means[measure] for one in everyone}, measure)])
    return Table(title=f"{title} by attack", head=["set", "n", *(one.name for one in everyone)], rows=rows, about=about)


def _marked(everyone: Iterable[Contestant], values: Mapping[str, Samples], measure: str) -> list[str]:
    """The cells of a row; the best gets a star."""
    fair = {one.name: values[one.name] for one in everyone if one.name in values and not one.knows}
    best, near = leaders(fair)
    marks = dict.fromkeys(near, " ≈")
    if best is not None and len(fair) > 1:
        marks[best] = " ★"
    return [
        cell(measure, values[one.name]) + marks.get(one.name, "") if one.name in values else NONE for one in everyone
    ]


def outcomes(found: ScorecardNumbers) -> list[Table]:
    """Successful, failed and all examples: of the main detector by attack, and of all detectors together."""
    main, parts = found.fitted(found.main), (FOOLED, FAILED, ALL)
    rows = [[name, *_parts(main.detection(name, part) for part in parts)] for name in found.sets]
    head = [what for part in parts for what in (part, "AUROC", "flagged")]
    about = (
        "A successful example was classified right before and is not any more, as an 8-bit file. All others failed: "
        "their class did not change, or the clean image was misclassified from the start. Each number of examples is "
        "followed by their AUROC and the share that was flagged."
    )
    return [
        Table(title=f"{found.main}: successful, failed and all", head=["set", *head], rows=rows, about=about),
        Table(
            title="All attacks together: successful, failed and all",
            head=["detector", *head],
            rows=[
                [name, *_parts(found.fitted(name).detection(None, part) for part in parts)] for name in found.detectors
            ],
            about="Examples of all sets in one, so that large sets count more; detectors as they were fitted.",
        ),
    ]


def _parts(detections: Iterable[Detection]) -> list[str]:
    cells = []
    for one in detections:
        area, flagged = (estimate(one.values[measure]).value for measure in (AUROC, FLAGGED))
        cells += [str(one.n), number(area, 3), share(flagged)]
    return cells


def sets(found: ScorecardNumbers) -> Table:
    """What was attacked with."""
    main = found.fitted(found.main)
    return table(
        "Adversarial sets",
        found.sets.items(),
        {
            "set": lambda one: one[0],
            "attack and largest change": lambda one: attack_name(one[1]),
            "made on": lambda one: one[1].model or NONE,
            "examples": lambda one: str(one[1].tried),
            "fool the model": lambda one: str(int(main.examples(one[0]).sum())),
        },
        about="The last column counts images that the model classified right before and wrong after, as 8-bit files.",
    )


def detectors(found: ScorecardNumbers) -> Table:
    """What was put to the test."""
    return table(
        "Detectors",
        found.detectors.items(),
        {
            "detector": lambda one: one[0],
            "kind": lambda one: one[1].kind,
            "learned from clean": lambda one: f"{one[1].learned_from} images",
            "and from sets": lambda one: ", ".join(one[1].sets) or "none",
            "calibrated on clean": lambda one: f"{one[1].calibrated_on} images",
            "promised": lambda one: share(one[1].false_alarms, 1),
            "layers": lambda one: str(len(one[1].layers)),
            "views": lambda one: str(len(one[1].views)),
        },
        about="Fitted, calibrated and tested on different images.",
    )


def unseen(found: ScorecardNumbers, detector: str) -> Table:
    """A detector that learned from the sets of other attacks than the one it is tested on."""
    seen = {name: scores.detection(name) for name, scores in found.left_out(detector).items()}
    seen = {name: one for name, one in seen.items() if one.n}
    told = [(name, found.sets[name].family, str(one.n), one.values) for name, one in seen.items()]
    rows = [
        [*words, *(cell(measure, values[measure]) for measure in MEASURES)]
        for *words, values in (*told, ("mean", "", "", means(seen)))
    ]
    return Table(
        title=f"{detector}: supervised with the tested attack left out",
        head=["set", "left out", "n", *MEASURES],
        rows=rows,
        about="Left out is every set of that attack, of any size and model. Successful examples.",
    )


def misclassified(found: ScorecardNumbers) -> Table:
    """Clean images that the model gets wrong, against those that it gets right."""

    def flagged(right: bool, name: str) -> str:
        scores = found.fitted(name)
        side = scores.flagged[scores.benign(CLEAN) & (scores.correct == right)]
        return counted(int(side.sum()), len(side))

    return table(
        "Flagged clean images",
        found.detectors,
        {"detector": str, "classified right": partial(flagged, True), "misclassified": partial(flagged, False)},
        about="A misclassified clean image is no attack, and flagging it is a false alarm; all of them count above. "
        "Without labels none is known to be misclassified. Wilson intervals.",
        name="misclassified",
    )
