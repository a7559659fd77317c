"""An attack by someone who knows the detector."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazeshift.attacks._adaptive_steps import COMBINED, EVADES, Slopes, State, unit
from gazeshift.attacks._balls import project, random_start, steepest
from gazeshift.attacks._gradient import Model, finite, gradient_of, own
from gazeshift.attacks._opponent import Nobody, Opponent, each, margins
from gazeshift.attacks._settings import check_norm, check_number, check_size, check_steps, check_whole
from gazeshift.errors import BoundsError, UnknownNameError, did_you_mean
from gazeshift.seeds import Generators

__all__ = ["Adaptive"]

MOMENTUM = 0.75
CHECKS = 2  # fresh draws that an image must get past before it is left alone
EVERY = 4  # steps after which `expectation`, which does not need the suspicion, asks for it
SURE = 10.0  # lead of another class, in logits, above which `expectation` climbs no further

Draws = list[torch.Generator]


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Get past a classifier and the detector that guards it (Tramer et al. 2020, arXiv:2002.08347): knows both.

    Every step looks at the images and at views of them drawn anew, as the detector will, and goes down one of three
    ways:

    * ``joint``: the sum of the margin of the label, averaged over image and views, and the suspicion above the
      threshold. Both gradients are brought to one size; the suspicion's weight is searched image by image: up while it
      alone is missing, down while the image is classified as labelled (Carlini & Wagner 2017, arXiv:1705.07263).
    * ``orthogonal``: one of the two at a time, less its part along the other (Bryniarski et al. 2021,
      arXiv:2106.15023).
    * ``expectation``: the margin alone, averaged over image and views (Athalye et al. 2018, arXiv:1707.07397).

    The first eighth of the steps is always ``expectation``. Steps have momentum and shrink to nothing. An image that is
    misclassified without alarm, and twice more with fresh draws, is left alone. Of the others the best point seen is
    returned: misclassified before not, then the least suspicious.

    It stops where it is past, which need not be the edge of the ball, and asks the model about some images at a time,
    so that a message names an image by its place among those.

    Whoever has a fitted detector calls `gazeshift.evasion.evade`, which fills in the opponent.

    Args:
        norm: ``linf`` or ``l2``.
        epsilon: radius of the ball, in [0, 1] units.
        step: length of the first step; None takes epsilon / 2.
        steps: gradients to follow at each start.
        restarts: random starts; those after the first are for images that did not yet get past.
        draws: of all views, averaged in each step.
        method: one of the three.
        lead: that another class should have at the image and its views, in logits.
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
        check_norm(self.norm)
        most = 1.0 if self.norm == "linf" else float("inf")
        for name in ("epsilon", *(() if self.step is None else ("step",))):
            check_size(name, getattr(self, name), most=most)
        check_steps(self.steps)
        for name in ("restarts", "draws", "at_once"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("lead", "slack"):
            if not 0 <= check_number(name, getattr(self, name)) < float("inf"):
                raise BoundsError(f"{name} must be 0 or more and finite, got {getattr(self, name):g}.")
        if self.method not in COMBINED:
            raise UnknownNameError(f"no method named '{self.method}'. {did_you_mean(str(self.method), COMBINED)}")

    def __call__(
        self, model: Model, images: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n 3 h w"]:
        """The best found of each image; with one generator per image the same in any batch."""
        against = self.opponent or Nobody(model=model)
        with torch.inference_mode(mode=False):
            images, labels, draws = own(images), own(labels), each(generator, len(images))
            state = State.of(images, self.slack)
            for _ in range(self.restarts):
                for some in torch.split((state.merit < EVADES).nonzero()[:, 0], self.at_once):
                    _Climb(self, model, against, images, labels, draws, state).down(some)
            return finite(state.best)


@dataclass(frozen=True)
class _Climb:
    """One way down from a random start, for some of the images."""

    asked: Adaptive
    model: Model
    against: Opponent
    images: Tensor
    labels: Tensor
    draws: list[torch.Generator]
    state: State

    def down(self, some: Int[Tensor, " m"]) -> None:
        """All steps; what was found is in the state."""
        asked, moved = self.asked, self.images.clone()
        moved[some] = random_start(self.images[some], asked.epsilon, asked.norm, self._drawn(some))
        speed, length = torch.zeros_like(moved), asked.epsilon / 2 if asked.step is None else asked.step
        for number in range(asked.steps):
            at = some[self.state.merit[some] < EVADES]
            if not len(at):
                return
            method = asked.method if number >= asked.steps // 8 else "expectation"
            slopes = self._expected(at, moved[at], number) if method == "expectation" else self._glimpsed(at, moved[at])
            speed[at] = MOMENTUM * speed[at] + unit(COMBINED[method](slopes)).to(moved.dtype)
            ahead = torch.add(moved[at], steepest(speed[at], asked.norm), alpha=-length * (1 - number / asked.steps))
            moved[at] = project(ahead, self.images[at], asked.epsilon, asked.norm)
        at = some[self.state.merit[some] < EVADES]
        self._judged(at, moved[at])

    def _glimpsed(self, at: Int[Tensor, " m"], here: Tensor) -> Slopes:
        """Both gradients, over all draws."""
        margin, toward, excess, quieter = zip(*(self._glimpse(at, here) for _ in range(self.asked.draws)), strict=True)
        return self._slopes(at, here, torch.cat(margin), torch.stack(excess).amax(0), (sum(toward), sum(quieter)))

    def _glimpse(self, at: Int[Tensor, " m"], here: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Margins and their gradient, suspicion above the threshold and its gradient, of one draw."""
        with torch.enable_grad():
            live = here.detach().requires_grad_()
            seen = self.against.glimpse(live, generator=self._drawn(at))
            margin = margins(seen.logits, self.labels[at])
            toward = gradient_of((margin + self.asked.lead).relu().mean(0).sum(), live, retain_graph=True)
            quieter = gradient_of(seen.suspicion.sum(), live).to(here.dtype)
        return margin.detach(), toward, seen.suspicion.detach() - self.against.threshold, quieter

    def _expected(self, at: Int[Tensor, " m"], here: Tensor, number: int) -> Slopes:
        """The margin's gradient over image and views; the suspicion is asked for now and then."""
        with torch.enable_grad():
            live = here.detach().requires_grad_()
            views = [
                view for _ in range(self.asked.draws) for view in self.against.views(live, generator=self._drawn(at))
            ]
            margin = margins(torch.stack(self.model(torch.cat(views)).chunk(len(views))), self.labels[at])
            toward = gradient_of((margin + SURE).relu().mean(0).sum(), live)
        slopes = self._slopes(at, here, margin.detach(), torch.full_like(margin[0], torch.nan), (toward, toward))
        if slopes.fooled.any() and number % EVERY == EVERY - 1:
            self._judged(at[slopes.fooled], here[slopes.fooled])
        return slopes

    def _slopes(
        self, at: Int[Tensor, " m"], here: Tensor, margin: Tensor, excess: Tensor, gradients: tuple[Tensor, Tensor]
    ) -> Slopes:
        self._noted(at, here, margin[0], excess)
        return Slopes(
            margin=unit(gradients[0]),
            suspicion=unit(gradients[1]),
            fooled=margin[0] < 0,
            unsure=(margin > -self.asked.lead).any(0),
            loud=excess > -self.state.slack[at],
            weight=self.state.weight[at],
        )

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
