"""What a scorecard's page says in words: its findings, with their figures, and what a reader must know first."""

from collections.abc import Iterator

import numpy as np

from gazeshift.report.document import number, share
from gazeshift.report.statistics import wilson
from gazeshift.report.words import small
from gazeshift.studies.scorecard.report.adaptive import first_line
from gazeshift.studies.scorecard.report.bootstrap import estimate, leaders
from gazeshift.studies.scorecard.report.charts import condition_name
from gazeshift.studies.scorecard.report.numbers import AUROC, RATES, Contestant, ScorecardNumbers
from gazeshift.studies.scorecard.report.tables import cell, counted, worst_area

FEW = 100


def findings(found: ScorecardNumbers) -> Iterator[str]:
    """Adaptive attacks first; then the detectors' numbers, their false alarms, and what to make of them."""
    yield first_line(found.adaptive)
    if found.tested:
        yield from (_headline(one) for one in found.contestants if one.detector == found.main)
        yield from _others(found)
        yield from _best(found)
    else:
        yield "No adversarial example that fools the model was tested, so that only false alarms can be judged."
    yield _alarms(found)
    if small(found.clean):
        yield small(found.clean)


def warnings(found: ScorecardNumbers) -> Iterator[str]:
    """What weakens the numbers."""
    if not found.sets:
        yield "No adversarial set was given, so that nothing here says whether attacks are found. Add --set."
    silent = [name for name in found.sets if name not in found.tested]
    if silent:
        yield f"No example of {', '.join(silent)} fools the model as an 8-bit file, so that nothing is said of it."
    few = [name for name in found.tested if found.fitted(found.main).examples(name).sum() < 20]
    if few:
        yield f"Fewer than 20 successful examples: {', '.join(few)}. See the intervals."
    negatives = len(found.fitted(found.main).negatives.score)
    if negatives < FEW:
        yield f"1 % false alarms among {negatives} images that are no attack means none at all."
    known = [one.detector for one in found.contestants if one.knows]
    if known and found.tested:
        yield (
            f"{', '.join(known)} learned from adversarial sets. “All sets” learned from the tested attacks as well, on "
            "other images: for attacks that nobody has seen yet, read “unseen attack” and “clean only”."
        )


def _headline(one: Contestant) -> str:
    count = len(one.detections)
    mean, five, one_percent = (cell(measure, one.means[measure]) for measure in (AUROC, *RATES))
    return (
        f"{one.name}: mean AUROC {mean} over {count} attack{'s' * (count != 1)}, worst {worst_area(one)} "
        f"({one.worst}); it detects {five} of the successful examples at 5 % false alarms and {one_percent} at 1 %."
    )


def _others(found: ScorecardNumbers) -> Iterator[str]:
    figures = {
        one.name: [estimate(one.means[measure]).value for measure in (AUROC, *RATES)][:2]
        for one in found.contestants
        if one.detector != found.main
    }
    order = sorted(figures, key=lambda name: -np.nan_to_num(figures[name][0]))
    said = [f"{name} {number(figures[name][0], 3)} / {share(figures[name][1])}" for name in order]
    if said:
        yield f"Beside it, mean AUROC / detected at 5 % false alarms: {', '.join(said)}."


def _best(found: ScorecardNumbers) -> Iterator[str]:
    """Attacks that a detector other than the main one tells best."""
    owner = {one.name: one.detector for one in found.contestants if not one.knows}
    if len(set(owner.values())) < 2:
        return
    ahead: dict[str, list[str]] = {}
    for name in found.tested:
        fair = (one for one in found.contestants if not one.knows and name in one.detections)
        best, near = leaders({one.name: one.detections[name].values[AUROC] for one in fair})
        if best is not None and owner[best] != found.main:
            close = any(owner[other] == found.main for other in near)
            ahead.setdefault(best, []).append(f"{name} ≈" if close else name)
    count, lost = len(found.tested), sum(map(len, ahead.values()))
    if lost:
        said = "; ".join(f"{name} on {', '.join(several)}" for name, several in ahead.items())
        told = " (≈: not told apart on these images)" * ("≈" in said)
        yield f"Another detector has a larger AUROC on {lost} of {count} attacks: {said}{told}."
    else:
        yield f"{found.main}, in one way to learn or another, has the largest AUROC on each of the {count} attacks."


def _alarms(found: ScorecardNumbers) -> str:
    """The main detector's false alarms against its promise."""
    promised, main = found.detectors[found.main].false_alarms, found.fitted(found.main)
    flagged = {name: main.flagged[main.benign(name)] for name in found.conditions}
    counts = {condition_name(name): (int(some.sum()), len(some)) for name, some in flagged.items()}
    said = "; ".join(f"{name} {counted(*count)}" for name, count in counts.items())
    above = [name for name, count in counts.items() if wilson(*count)[0] > promised]
    kept = f"more than promised: {', '.join(above)}" if above else "no interval lies above the promise"
    return f"False alarms of {found.main} as it was fitted, at a promised {share(promised, 1)}: {said}; {kept}."
