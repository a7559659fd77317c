"""Whether the attacks worked and kept to their budgets: success, noise and sizes per attack and strength."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.report.cube import KINDS, Attack, attack_codes
from gazeshift.report.statistics import wilson
from gazeshift.report.tables_read import ReportData
from gazeshift.report.words import levels

SIZES = ("psnr", "linf", "l2", "rms")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attack did at one strength.

    Args:
        attack: name and budget.
        strength: factor on the finished perturbation.
        images: attacked images.
        correct: those whose clean image was classified as labelled.
        fooled: those of `correct` that were not any more.
        interval: 95 % interval of their share.
        noise_correct: images of `correct` that were also shown under noise.
        noise_fooled: those of `noise_correct` whose class noise changed.
        sizes: 25 %, 50 % and 75 % point of PSNR in dB and of the norms in [0, 1] units, by name.
        largest: largest attacked change, in the norm of the budget and [0, 1] units.
        noise_rms: median root mean square of the noise.
    """

    attack: Attack
    strength: float
    images: int
    correct: int
    fooled: int
    interval: tuple[float, float]
    noise_correct: int
    noise_fooled: int
    sizes: dict[str, tuple[float, float, float]]
    largest: float
    noise_rms: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding on the health of an attack or of the run: ``ok``, ``note`` or ``error``, and a sentence."""

    check: str
    level: str
    detail: str


def outcomes(data: ReportData, attacks: tuple[Attack, ...]) -> tuple[Outcome, ...]:
    """One per attack and strength, in that order."""
    table = {name: data.images[name].to_numpy() for name in ("strength", "kind", *SIZES)}
    table |= {name: data.images[name].to_numpy() == True for name in ("success", "switched", "clean_correct")}  # noqa: E712
    codes = attack_codes(data.images, attacks)
    made = []
    for place, attack in enumerate(attacks):
        for strength in np.unique(table["strength"][codes == place]):
            here = (codes == place) & (table["strength"] == strength)
            made.append(_outcome(attack, float(f"{strength:.6g}"), table, here))
    return tuple(made)


def health(found: tuple[Outcome, ...]) -> tuple[Check, ...]:
    """What a careful reader would check of every attack before believing the rest."""
    checks = []
    for attack in dict.fromkeys(outcome.attack for outcome in found):
        mine = [outcome for outcome in found if outcome.attack == attack]
        full = [outcome for outcome in mine if outcome.strength == 1]
        checks += [check for outcome in full for check in (_budget(outcome), _strong(outcome), _matched(outcome))]
        checks.append(_rising(mine))
    return tuple(check for check in checks if check)


def _outcome(attack: Attack, strength: float, table: dict[str, np.ndarray], here: Bool[np.ndarray, " rows"]) -> Outcome:
    attacked, noise = (here & (table["kind"] == kind) for kind in KINDS)
    right, noisy = attacked & table["clean_correct"], noise & table["clean_correct"]
    fooled, correct = int((right & table["success"]).sum()), int(right.sum())
    return Outcome(
        attack=attack,
        strength=strength,
        images=int(attacked.sum()),
        correct=correct,
        fooled=fooled,
        interval=wilson(fooled, correct),
        noise_correct=int(noisy.sum()),
        noise_fooled=int((noisy & table["switched"]).sum()),
        sizes={name: _quartiles(table[name][attacked]) for name in SIZES},
        largest=float(np.max(table[attack.norm][attacked], initial=0)),
        noise_rms=_quartiles(table["rms"][noise])[1],
    )


def _quartiles(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """NaN without values; an infinite PSNR (nothing changed) counts as infinite."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return np.nan, np.nan, np.nan
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(known).all() else "nearest"
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75), method=method)
    return float(low), float(middle), float(high)


def _budget(outcome: Outcome) -> Check | None:
    """Projection in float32 may pass the budget by a rounding step, never by more."""
    epsilon, euclidean = outcome.attack.epsilon, outcome.attack.norm == "l2"
    if epsilon is None:
        return None
    kept = outcome.largest <= epsilon * (1 + 1e-4) + 1e-6
    largest, budget = (f"{size:.4g}" if euclidean else levels(size) for size in (outcome.largest, epsilon))
    return Check(
        check=f"{outcome.attack.label}: budget",
        level="ok" if kept else "error",
        detail=f"The largest {'Euclidean length' if euclidean else 'change of a value'} is {largest}, "
        f"{'within' if kept else 'which exceeds'} the budget of {budget}.",
    )


def _strong(outcome: Outcome) -> Check | None:
    if not outcome.correct:
        return Check(
            check=f"{outcome.attack.label}: success",
            level="note",
            detail="No clean image was classified correctly, so the attack had nothing to win.",
        )
    if outcome.fooled:
        return None
    return Check(
        check=f"{outcome.attack.label}: success",
        level="note",
        detail=f"The attack changed the class of none of {outcome.correct} images at strength 1. "
        "What follows says nothing about successful attacks; check its settings.",
    )


def _matched(outcome: Outcome) -> Check | None:
    """Clipping at black and white is the one thing that may set the two sizes apart."""
    ours = outcome.sizes["rms"][1]
    if not (np.isfinite(outcome.noise_rms) and ours > 0):
        return None
    ratio = outcome.noise_rms / ours
    return Check(
        check=f"{outcome.attack.label}: matched noise",
        level="ok" if 0.9 <= ratio <= 1.1 else "note",
        detail=f"The noise has {ratio:.2f} times the root mean square of the perturbation (medians, after clipping).",
    )


def _rising(mine: list[Outcome]) -> Check | None:
    """A larger step along the same direction should not fool fewer images; if it does, say so."""
    rates = [(o.strength, o.fooled / o.correct) for o in sorted(mine, key=lambda o: o.strength) if o.correct]
    for (weaker, before), (stronger, after) in pairwise(rates):
        if after < before - 0.1:
            return Check(
                check=f"{mine[0].attack.label}: rising success",
                level="note",
                detail=f"Success falls from {before:.0%} at strength {weaker:g} to {after:.0%} at {stronger:g}: "
                "the perturbation overshoots, and larger multiples of it are not stronger attacks.",
            )
    return None
