"""Tables of a scorecard: detectors at a glance, every attack, what fooled the model and what did not, and the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gazeshift.report.document import NONE, Table, number, share
from gazeshift.report.statistics import wilson
from gazeshift.report.words import levels
from gazeshift.studies.scorecard.report.bootstrap import estimate, leaders, mean
from gazeshift.studies.scorecard.report.numbers import (
    ALL,
    CLEAN,
    FAILED,
    FOOLED,
    RATES,
    Contestant,
    Detection,
    ScorecardNumbers,
)

Samples = Float[np.ndarray, " b"]
MARKS = (
    "★ is the best of a row, ≈ is not told apart from it on these images (95 % interval of the paired difference). "
    "“All sets” learned from the tested attack too, on other images, and gets no mark."
)
ABOVE = (
    "Share of the successful examples above the smallest suspicion that at most {} of all negatives together exceed, "
    "clean and benign."
)


def area(values: Samples) -> str:
    """An AUROC with its interval.

    >>> area(np.array([0.5, 0.25, 0.25]))
    '0.500 [0.250, 0.250]'
    """
    found = estimate(values)
    return f"{number(found.value, 3)} [{number(found.low, 3)}, {number(found.high, 3)}]" if _known(values) else NONE


def rate(values: Samples) -> str:
    """A share with its interval, in percent.

    >>> rate(np.array([0.5, 0.25, 0.25]))
    '50 % [25, 25]'
    """
    found = estimate(values)
    return f"{share(found.value)} [{100 * found.low:.0f}, {100 * found.high:.0f}]" if _known(values) else NONE


def counted(part: int, whole: int) -> str:
    """A share of a count, with its interval (Wilson).

    >>> counted(1, 20)
    '5.0 % [0.9, 23.6] of 20'
    """
    low, high = wilson(part, whole)
    return f"{share(part / whole, 1)} [{100 * low:.1f}, {100 * high:.1f}] of {whole}" if whole else NONE


def attack_name(told: Mapping[str, Any]) -> str:
    """How a set was made: the attack and its size, as the set's manifest says."""
    made = told.get("attack") or {}
    name, size = str(made.get("name", "unknown")).partition(":")[0], made.get("epsilon")
    full = str(told.get("family") or name)
    if size is None:
        return full
    return f"{full}, L2 {size:g}" if made.get("norm") == "l2" else f"{full}, L-inf {levels(float(size))}"


def contestants(found: ScorecardNumbers) -> Table:
    """Every detector in every way to learn, over all attacks."""
    rows = []
    for one in found.contestants:
        worst = one.worst
        lowest = number(estimate(one.detections[worst].auroc).value, 3) if worst else NONE
        alarms = one.false_alarms(CLEAN)
        cells = [area(one.auroc), f"{lowest} ({worst})" if worst else NONE]
        cells += [rate(one.detected(limit)) for limit in RATES]
        cells += [rate(one.flagged), counted(*alarms).partition(" of ")[0] if alarms else NONE]
        few = len(one.detections)
        rows.append([one.name if few == len(found.tested) else f"{one.name} ({few} attacks)", *cells])
    clean = int(found.fitted(found.main).benign(CLEAN).sum())
    head = ["detector", "mean AUROC", "worst AUROC", "TPR at 5 %", "TPR at 1 %", "flagged", "false alarms"]
    return Table(
        title="All detectors over all attacks",
        head=head,
        rows=rows,
        about=f"Means over {len(found.tested)} attacks, with 95 % bootstrap intervals over images. TPR: share of "
        "successful examples detected at 5 % and 1 % false alarms among clean images and benign changes. Flagged "
        f"examples, and false alarms among the {clean} clean images (Wilson interval): by the detector’s own "
        "calibrated threshold.",
        name="contestants",
    )


def per_attack(found: ScorecardNumbers) -> list[Table]:
    """One table for each number: attacks down, detectors across."""
    fooled = "Successful examples against clean images and benign changes. "
    wanted: list[tuple[str, str, Callable[[Detection], Samples], Callable[[Samples], str]]] = [
        ("AUROC", fooled, lambda one: one.auroc, area),
        *(
            (f"TPR at {share(limit)} false alarms", ABOVE.format(share(limit)) + " ", _at(limit), rate)
            for limit in RATES
        ),
        (
            "Flagged",
            "Share of the successful examples that the detector called attacks. ",
            lambda one: one.flagged,
            rate,
        ),
    ]
    return [_matrix(found, title, about + MARKS, pick, said) for title, about, pick, said in wanted]


def _at(limit: float) -> Callable[[Detection], Samples]:
    return lambda one: one.detected[limit]


def _matrix(
    found: ScorecardNumbers,
    title: str,
    about: str,
    pick: Callable[[Detection], Samples],
    said: Callable[[Samples], str],
) -> Table:
    everyone, rows = found.contestants, []
    for name in found.tested:
        values = {one.name: pick(one.detections[name]) for one in everyone if name in one.detections}
        rows.append([name, str(found.fitted(found.main).examples(name).sum()), *_marked(everyone, values, said)])
    means = {one.name: mean({name: pick(each) for name, each in one.detections.items()}) for one in everyone}
    rows.append(["mean", "", *_marked(everyone, means, said)])
    return Table(title=f"{title} by attack", head=["set", "n", *(one.name for one in everyone)], rows=rows, about=about)


def _marked(everyone: Sequence[Contestant], values: Mapping[str, Samples], said: Callable[[Samples], str]) -> list[str]:
    """The cells of a row; the best gets a star."""
    fair = {one.name: values[one.name] for one in everyone if one.name in values and not one.knows}
    best, near = leaders(fair)
    marks = dict.fromkeys(near, " ≈")
    if best is not None and len(fair) > 1:
        marks[best] = " ★"
    return [said(values[one.name]) + marks.get(one.name, "") if one.name in values else NONE for one in everyone]


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


def _parts(detections: Any) -> list[str]:
    return [
        cell
        for one in detections
        for cell in (
            str(one.n),
            number(estimate(one.auroc).value, 3),
            share(estimate(one.flagged).value),
        )
    ]


def sets(found: ScorecardNumbers) -> Table:
    """What was attacked with."""
    rows = [
        [
            name,
            attack_name(told),
            str(told.get("model") or NONE),
            str(told.get("tried", NONE)),
            str(int(found.fitted(found.main).examples(name).sum())),
        ]
        for name, told in found.sets.items()
    ]
    return Table(
        title="Adversarial sets",
        head=["set", "attack and largest change", "made on", "examples", "fool the model"],
        rows=rows,
        about="The last column counts images that the model classified right before and wrong after, as 8-bit files.",
    )


def detectors(found: ScorecardNumbers) -> Table:
    """What was put to the test."""
    rows = [
        [
            name,
            str(card.get("kind", NONE)),
            f"{card.get('learned_from', NONE)} images",
            ", ".join(card.get("sets") or {}) or "none",
            f"{card.get('calibrated_on', NONE)} images",
            share(card.get("false_alarms"), 1),
            str(len(card.get("layers") or ())),
            str(len(card.get("views") or ())),
        ]
        for name, card in found.detectors.items()
    ]
    head = [
        "detector",
        "kind",
        "learned from clean",
        "and from sets",
        "calibrated on clean",
        "promised",
        "layers",
        "views",
    ]
    return Table(title="Detectors", head=head, rows=rows, about="Fitted, calibrated and tested on different images.")


def unseen(found: ScorecardNumbers, detector: str) -> Table:
    """A detector that learned from the sets of other attacks than the one it is tested on."""
    scores = found.left_out(detector)
    seen = {name: one.detection(name) for name, one in scores.items()}
    seen = {name: one for name, one in seen.items() if one.n}
    rows = [
        [name, str(found.sets[name]["family"]), str(one.n), area(one.auroc)]
        + [rate(one.detected[limit]) for limit in RATES]
        + [rate(one.flagged)]
        for name, one in seen.items()
    ]
    averages = [mean({name: one.detected[limit] for name, one in seen.items()}) for limit in RATES]
    cells = [area(mean({name: one.auroc for name, one in seen.items()})), *map(rate, averages)]
    rows.append(["mean", "", "", *cells, rate(mean({name: one.flagged for name, one in seen.items()}))])
    return Table(
        title=f"{detector}: supervised with the tested attack left out",
        head=["set", "left out", "n", "AUROC", "TPR at 5 %", "TPR at 1 %", "flagged"],
        rows=rows,
        about="Left out is every set of that attack, of any size and model. Successful examples.",
    )


def misclassified(found: ScorecardNumbers) -> Table:
    """Clean images that the model gets wrong, against those that it gets right."""
    rows = []
    for name in found.detectors:
        scores = found.fitted(name)
        clean = scores.benign(CLEAN)
        sides = [clean & scores.correct, clean & ~scores.correct]
        rows.append([name, *(counted(int(scores.flagged[side].sum()), int(side.sum())) for side in sides)])
    return Table(
        title="Flagged clean images",
        head=["detector", "classified right", "misclassified"],
        rows=rows,
        about="A misclassified clean image is no attack, and flagging it is a false alarm; all of them count above. "
        "Without labels none is known to be misclassified. Wilson intervals.",
        name="misclassified",
    )


def _known(values: Samples) -> bool:
    return bool(np.isfinite(values[0]))
