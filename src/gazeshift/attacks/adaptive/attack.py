"""An attack by someone who knows the detector."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._defended import Opponent, Undefended, margins
from gazeshift.attacks._gradient import Model, finite, gradient_of, own
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import project, random_start, steepest
from gazeshift.attacks._settings import check_ball, check_number, check_steps, check_whole
from gazeshift.attacks.adaptive.steps import COMBINED, EVADES, AttackState, Slopes, unit
from gazeshift.errors import BoundsError, check_known
from gazeshift.seeds import Generators, each

__all__ = ["Adaptive"]

MOMENTUM = 0.75
CHECKS = 2  # fresh draws that an image must get past before it is left alone
EVERY = 4  # steps after which `expectation`, which does not need the suspicion, asks for it
SURE = 10.0  # lead of another class, in logits, above which `expectation` climbs no further


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Get past a classifier and the detector that guards it (Tramer et al. 2020, arXiv:2002.08347): knows both.

    Views are drawn anew in every step, as the detector will draw them. Three ways to go down:

    * ``joint``: the margin of the label plus the suspicion above the threshold, each while it is wanted. Both gradients
      are brought to one size; the suspicion's weight is searched image by image: up while it alone is missing, down
      while the image is classified as labelled (Carlini & Wagner 2017, arXiv:1705.07263). As long as it is, the margin
      alone is followed, which costs a tenth.
    * ``orthogonal``: one of the two at a time, less its part along the other (Bryniarski et al. 2021,
      arXiv:2106.15023).
    * ``expectation``: the margin alone, averaged over image and views (Athalye et al. 2018, arXiv:1707.07397).

    Steps have momentum and shrink to nothing. An image that is misclassified without alarm, and twice more with fresh
    draws, is left alone. Of the others the best point seen is returned: misclassified before not, then the least
    suspicious.

    It stops where it is past, which need not be the edge of the ball, and asks the model about some images at a time,
    so that a message names an image by its place among those.

    Whoever has a fitted detector calls `gazeshift.evasion.evade`, which fills in the opponent.

    Args:
        norm: ``linf`` or ``l2``.
        epsilon: radius of the ball, in [0, 1] units.
        step: length of the first step; None takes epsilon / 2.
        steps: gradients to follow at each start.
        restarts: random starts; those after the first are for images that did not yet get past.
        draws: of all views, in each step.
        method: one of the three.
        lead: that another class should have, in logits.
        slack: how far below the threshold the suspicion should be, in its own unit; grows where fresh draws say no.
        at_once: images side by side. A step keeps some 0.2 GB for each image and view of 224 x 224 pixels.
        opponent: classifier and detector; None knows of no detector.

    Raises:
        BoundsError: a number out of range.
        UnknownNameError: no such method or norm.
        ModelError: the model gives no gradient, or one that is not finite.
    """

    norm: str = "linf"
    epsilon: float = 8 / 255
    step: float | None = None
    steps: int = 20
    restarts: int = 1
    draws: int = 1
    method: str = "joint"
    lead: float = 1.0
    slack: float = 0.2
    at_once: int = 4
    opponent: Opponent | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_ball(self.norm, self.epsilon, self.step)
        check_steps(self.steps)
        for name in ("restarts", "draws", "at_once"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("lead", "slack"):
            if not 0 <= check_number(name, getattr(self, name)) < float("inf"):
                raise BoundsError(f"{name} must be 0 or more and finite, got {getattr(self, name):g}.")
        check_known(self.method, COMBINED, f"no method named '{self.method}'")

    @in_full_precision
    def __call__(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The best found of each image; with one generator per image the same in any batch."""
        against = self.opponent or Undefended(model=model)
        with torch.inference_mode(mode=False):
            images, labels, draws = own(images), own(labels).long(), each(generator, len(images))
            state = AttackState.of(images, self.slack)
            for _ in range(self.restarts):
                for some in torch.split((state.merit < EVADES).nonzero()[:, 0], self.at_once):
                    _Climb(self, model, against, images, labels, draws, state).down(some)
            return finite(state.best)


@dataclass(frozen=True)
class _Climb:
    """One way down from a random start, for some of the images. It writes into the state."""

    asked: Adaptive
    model: Model
    against: Opponent
    images: Tensor
    labels: Tensor
    draws: list[torch.Generator]
    state: AttackState

    def down(self, some: Int[Tensor, " m"]) -> None:
        """All steps; what was found is in the state."""
        asked, moved = self.asked, self.images.clone()
        moved[some] = random_start(self.images[some], asked.epsilon, asked.norm, self._drawn(some))
        speed, length = torch.zeros_like(moved), asked.epsilon / 2 if asked.step is None else asked.step
        for number in range(asked.steps):
            at = some[self.state.merit[some] < EVADES]
            if not len(at):
                return
            direction = unit(COMBINED[asked.method](self._slopes(at, moved[at], number)))
            speed[at] = MOMENTUM * speed[at] + direction.to(moved.dtype)
            ahead = torch.add(moved[at], steepest(speed[at], asked.norm), alpha=-length * (1 - number / asked.steps))
            moved[at] = project(ahead, self.images[at], asked.epsilon, asked.norm)
        at = some[self.state.merit[some] < EVADES]
        self._judged(at, moved[at])

    def _slopes(self, at: Int[Tensor, " m"], here: Tensor, number: int) -> Slopes:
        """What is wanted at a point and where it lies; notes what was seen."""
        margin, toward = self._margin(at, here)
        fooled = margin < 0
        quieter, excess = torch.zeros_like(here), torch.full_like(margin, torch.nan)
        seen = (fooled | (self.asked.method == "orthogonal")).nonzero()[:, 0]
        if self.asked.method == "expectation":
            if fooled.any() and number % EVERY == EVERY - 1:
                self._judged(at[fooled], here[fooled])
        elif len(seen):
            found, quieter[seen] = self._excess(at[seen], here[seen])
            excess[seen] = found.to(excess)
        self._noted(at, here, margin, excess)
        return Slopes(
            margin=unit(toward),
            suspicion=unit(quieter),
            fooled=fooled,
            unsure=margin > -self.asked.lead,
            loud=excess > -self.state.slack[at],
            weight=self.state.weight[at],
        )

    def _margin(self, at: Int[Tensor, " m"], here: Tensor) -> tuple[Tensor, Tensor]:
        """The margin as the image arrives, and its gradient; for ``expectation`` that of the average over the views."""
        with torch.enable_grad():
            live, among = here.detach().requires_grad_(), self.asked.method == "expectation"
            views = [one for _ in range(self.asked.draws if among else 1) for one in self._views(at, live)]
            views = views if among else views[:1]
            margin = margins(torch.stack(self.model(torch.cat(views)).chunk(len(views))), self.labels[at])
            toward = gradient_of(margin.clamp_min(-SURE).mean(0).sum(), live)
        return margin[0].detach(), toward

    def _views(self, at: Int[Tensor, " m"], live: Tensor) -> Sequence[Tensor]:
        return self.against.views(live, generator=self._drawn(at))

    def _excess(self, at: Int[Tensor, " m"], here: Tensor) -> tuple[Tensor, Tensor]:
        """Suspicion above the threshold, the worst of all draws, and its gradient over them."""
        worst, total = torch.full((len(at),), -torch.inf, device=here.device), torch.zeros_like(here)
        for _ in range(self.asked.draws):
            with torch.enable_grad():
                live = here.detach().requires_grad_()
                suspicion = self.against.glimpse(live, generator=self._drawn(at)).suspicion
                total += gradient_of(suspicion.sum(), live).to(here.dtype)
            worst = torch.maximum(worst, suspicion.detach().to(worst) - self.against.threshold)
        return worst, total

    def _judged(self, at: Int[Tensor, " m"], here: Tensor) -> None:
        """Look at images without a graph, and note what is seen."""
        with torch.no_grad():
            seen = self.against.glimpse(here, generator=self._drawn(at))
        self._noted(at, here, margins(seen.logits, self.labels[at])[0], seen.suspicion - self.against.threshold)

    def _noted(self, at: Int[Tensor, " m"], here: Tensor, margin: Tensor, excess: Tensor) -> None:
        """Keep what is better than before; who seems to get past must do so with fresh draws."""
        self.state.note(at, here, margin, excess)
        passing = (margin < 0) & (excess <= 0)
        for _ in range(CHECKS):
            left = passing.nonzero()[:, 0]
            if not len(left):
                break
            with torch.no_grad():
                seen = self.against.glimpse(here[left], generator=self._drawn(at[left]))
            passing[left] = (seen.suspicion <= self.against.threshold) & (
                margins(seen.logits, self.labels[at[left]])[0] < 0
            )
        failed = (margin < 0) & (excess <= 0) & ~passing
        self.state.slack[at[failed]] += self.asked.slack / 2
        self.state.evading(at[passing], here[passing])

    def _drawn(self, at: Int[Tensor, " m"]) -> list[torch.Generator]:
        return [self.draws[index] for index in at.tolist()]
