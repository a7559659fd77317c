"""Is an attack run what it claims to be? Probes on a few images, and tests of every row.

The probes follow the checklists of Carlini et al. 2019 (arXiv:1902.06705, sec. 5) and Pintor et al. 2022
(arXiv:2106.09947): an attack that works has a gradient, gains by more steps, fools everything when nothing bounds it,
and beats noise of its own size.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks import loss_gradient
from gazeshift.errors import GazeshiftError, ModelError
from gazeshift.models import Classifier
from gazeshift.pipeline import attack
from gazeshift.precision import wide
from gazeshift.records import Attacked, Finding
from gazeshift.registry import setting_names
from gazeshift.seeds import generator_for, normal, uniform

HUGE = 0.5  # L-inf ball that holds a grey image for every image, so that no class can be defended
MUST, MUST_ONE_STEP = 0.9, 0.5  # share that a huge epsilon must fool: of many steps, of a single one
GAIN = 0.05  # of the clean margin: more steps may not lose more than that
CHEAP = 50  # steps up to which twice as many are tried as well
LENGTHS = ("step", "stop")  # settings that grow with epsilon
EIGHT_BIT_KEEPS = 0.9  # below this share of successes kept, the reader should know


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The images that probes run on, all classified right, and the attack under test."""

    classifier: Classifier
    made: Callable[..., Tensor]
    images: Float[Tensor, "n channels h w"]
    labels: Int[Tensor, " n"]
    ids: tuple[str, ...]
    seed: int

    def attacked(self, made: Callable[..., Tensor], what: str) -> Attacked:
        """The images after an attack, with draws that belong to this probe alone."""
        return attack(self.classifier, self.images, self.labels, by=made, generator=self.generators(what))

    def generators(self, what: str) -> list[torch.Generator]:
        """One generator per image."""
        return [generator_for(self.seed, "health", what, own) for own in self.ids]

    @cached_property
    def white(self) -> Attacked:
        """The images after the attack as it is."""
        return self.attacked(self.made, "as it is")

    @property
    def knows(self) -> tuple[str, ...]:
        """Settings of the attack that a probe may change."""
        return setting_names(self.made) if is_dataclass(self.made) else ()


def probe(
    classifier: Classifier,
    made: Callable[..., Tensor],
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"] | None,
    *,
    ids: Iterable[str],
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Four probes of an attack on a model: gradient, more steps, huge epsilon, noise.

    Only images that the model classifies right are used. A probe that does not apply (an attack without steps has
    none to add) is ``ok`` and says so.

    Args:
        classifier: the attacked model.
        made: the attack with its settings.
        images: a few, in [0, 1].
        labels: their classes; None takes the model's own answers.
        ids: one per image, for the seeds.
        seed: of the run.
    """
    images = images.to(classifier.device)
    with torch.no_grad():
        predicted = classifier(images).argmax(1)
    labels = predicted if labels is None else labels.to(classifier.device)
    right = (predicted == labels).nonzero()[:, 0]
    if not len(right):
        return (_note("probes", f"none of {len(images)} images is classified right, so nothing could be probed"),)
    names = list(ids)
    chosen = Probe(
        classifier=classifier,
        made=made,
        images=images[right],
        labels=labels[right],
        ids=tuple(names[at] for at in right.tolist()),
        seed=seed,
    )
    return tuple(_tried(name, check, chosen) for name, check in CHECKS.items())


def judge_rows(counts: Mapping[str, int], *, norm: str | None, epsilon: float | None, largest: float) -> list[Finding]:
    """Five tests of what a whole run wrote.

    Args:
        counts: ``used``, ``clean_correct``, ``claimed``, ``success``, ``success_8bit``, ``kept_8bit``, ``wrong_after``,
            ``exceeded`` and ``not_finite``, in images.
        norm: ``linf``, ``l2`` or None.
        epsilon: in [0, 1] units, or None.
        largest: largest norm of a perturbation.
    """
    used, right, claimed, success = (counts[name] for name in ("used", "clean_correct", "claimed", "success"))
    broken, unconfirmed, kept = counts["not_finite"], claimed - success, counts["kept_8bit"]
    bound = f"the attack's epsilon is {epsilon:.6g} ({norm})" if epsilon and norm else "the attack names no bound"
    outside = f"{counts['exceeded']} of {used} perturbations are larger; the largest is {largest:.6g}"
    errors = f"{used - right} of {used} images were misclassified before any attack and count as no success"
    wrong = (
        f"{success} of {right} classified right were fooled; {counts['wrong_after']} of all {used} are wrong after it"
    )
    return [
        _finding("finite", not broken, f"{broken} of {used} attacked images hold NaN or infinity"),
        _finding("epsilon", not counts["exceeded"], f"{bound}; {outside}"),
        _finding(
            "second prediction", not unconfirmed, f"{unconfirmed} of {claimed} claimed successes were not confirmed"
        ),
        _finding(
            "8 bit", kept >= EIGHT_BIT_KEEPS * success, f"{kept} of {success} successes survive 8-bit files", bad="note"
        ),
        _finding("clean errors", right > 0, f"{errors}; {wrong}", bad="note"),
    ]


def _gradient(chosen: Probe) -> Finding:
    gradient = loss_gradient(chosen.classifier, wide(chosen.images), chosen.labels).flatten(1)
    n, zero, broken = len(gradient), int((gradient == 0).all(1).sum()), int((~gradient.isfinite()).any(1).sum())
    seen = f"{zero} of {n} gradients are zero throughout, {broken} hold NaN or infinity"
    return _finding("gradient", not broken and not zero, seen, bad="error" if broken or zero > n / 10 else "note")


def _steps(chosen: Probe) -> Finding:
    if "steps" not in chosen.knows:
        return _skipped("more steps", "the attack has no number of steps")
    steps = int(chosen.made.steps)  # type: ignore[attr-defined]
    tried = sorted({1, steps, 2 * steps} if steps <= CHEAP else {steps // 4, steps})
    with torch.no_grad():
        clean = _margin(chosen.classifier(chosen.images), chosen.labels)
    others = {
        count: chosen.attacked(replace(chosen.made, steps=count), "steps")  # type: ignore[type-var]
        for count in tried
        if count != steps
    }
    margins = [float((others | {steps: chosen.white})[count].margin.mean()) for count in tried]
    loses = max(later - earlier for earlier, later in pairwise(margins))
    shown = ", ".join(f"{margin:.2f} after {count}" for count, margin in zip(tried, margins, strict=True))
    sinks = loses <= GAIN * abs(clean) and margins[-1] < clean
    return _finding("more steps", sinks, f"mean margin of the label {clean:.2f} before, {shown} steps")


def _huge(chosen: Probe) -> Finding:
    norm = getattr(chosen.made, "norm", None)
    if "epsilon" not in chosen.knows or norm not in {"linf", "l2"}:
        return _skipped("huge epsilon", "the attack has no epsilon")
    epsilon = HUGE if norm == "linf" else HUGE * math.sqrt(chosen.images[0].numel())
    lengths = {name: getattr(chosen.made, name) for name in LENGTHS if name in chosen.knows}
    times = epsilon / chosen.made.epsilon  # type: ignore[attr-defined]
    grown = {name: min(epsilon, length * times) for name, length in lengths.items() if length is not None}
    found = chosen.attacked(replace(chosen.made, epsilon=epsilon, **grown), "huge")  # type: ignore[type-var]
    fooled, n = int(found.success.sum()), len(chosen.ids)
    must = MUST if getattr(chosen.made, "steps", 1) > 1 else MUST_ONE_STEP
    return _finding("huge epsilon", fooled >= must * n, f"{fooled} of {n} fooled at {epsilon:.3g}, wanted {must:.0%}")


def _noise(chosen: Probe) -> Finding:
    """Random signs and Gaussian noise, each with the root mean square of the image's own perturbation."""
    white = chosen.white
    if not white.backwards:
        return _skipped("noise", "the attack follows no gradient, so it is no white-box attack")
    rms = white.rms[:, None, None, None]
    shape, place = chosen.images.shape, chosen.images.device
    draws = {
        "random signs": uniform(shape, chosen.generators("signs"), place).sub(0.5).sign(),
        "Gaussian noise": normal(shape, chosen.generators("gaussian"), place),
    }
    fooled, margin = int(white.success.sum()), float(white.margin.mean())
    seen, beaten = [f"the attack fools {fooled} of {len(rms)} (mean margin {margin:.2f})"], False
    for name, draw in draws.items():
        blind = chosen.attacked(lambda *_, noise=draw * rms, **__: chosen.images + noise, name)
        other, its_margin = int(blind.success.sum()), float(blind.margin.mean())
        beaten |= other > fooled or (other == fooled and its_margin < margin)
        seen.append(f"{name} of its size {other} ({its_margin:.2f})")
    return _finding("noise", not beaten, ", ".join(seen))


CHECKS: Mapping[str, Callable[[Probe], Finding]] = {
    "gradient": _gradient,
    "more steps": _steps,
    "huge epsilon": _huge,
    "noise": _noise,
}


def _tried(name: str, check: Callable[[Probe], Finding], chosen: Probe) -> Finding:
    """A probe that the model or the attack refuses is a finding itself."""
    try:
        return check(chosen)
    except ModelError as cause:
        return Finding(check=name, level="error", detail=str(cause))
    except GazeshiftError as cause:
        return _note(name, f"not probed: {cause}")


def _margin(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Mean logit of the label minus the best other."""
    label = logits.gather(1, labels[:, None])[:, 0]
    return float((label - logits.scatter(1, labels[:, None], -torch.inf).amax(1)).mean())


def _finding(check: str, holds: bool, detail: str, *, bad: str = "error") -> Finding:
    return Finding(check=check, level="ok" if holds else bad, detail=detail)


def _skipped(check: str, why: str) -> Finding:
    return Finding(check=check, level="ok", detail=f"does not apply: {why}")


def _note(check: str, detail: str) -> Finding:
    return Finding(check=check, level="note", detail=detail)
