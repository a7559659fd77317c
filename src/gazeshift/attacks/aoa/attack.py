"""Attack on attention."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.attacks._attention import MAPS, attention_loss, last_convolution
from gazeshift.attacks._gradient import Model, finite, gradient_of, own
from gazeshift.attacks._input_diversity import DIVERSE, Copy, diverse, scaled, smoothed
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import project
from gazeshift.attacks._settings import check_size, check_steps, check_whole
from gazeshift.errors import check_known
from gazeshift.seeds import Generators, uniform
from gazeshift.summaries import Summary, images_of

__all__ = ["Aoa"]

Loss = Callable[..., tuple[Tensor, Tensor]]
AVERAGES = ("gradients", "directions")


@dataclass(frozen=True, kw_only=True, repr=False)
class AoaRun(Summary):
    """What a run made of each image, and how it ended.

    Args:
        images: attacked.
        steps: steps taken, per image.
        blank: whether a map was blank, which ended the image's attention term.
        halted: whether the image stopped because it had no direction left to go.
    """

    images: Float[Tensor, "n channels h w"]
    steps: Int[Tensor, " n"]
    blank: Bool[Tensor, " n"]
    halted: Bool[Tensor, " n"]

    def _says(self) -> Iterator[str]:
        ends = f"{int(self.blank.sum()):,} with a blank map, {int(self.halted.sum()):,} halted"
        yield f"{images_of(self.images)}, {int(self.steps.sum()):,} steps in all; {ends}"


@dataclass(frozen=True, kw_only=True)
class Aoa:
    """Moves attention from the label to another class, so as to fool other models (Chen et al. 2020, arXiv:2001.06325).

    Descends on ``log mean(H_y) - log mean(H_s) + log p_y``, the loss that made DAmageNet: H is the positive part of a
    class's attention map, y the label, s the most probable other class, chosen anew at every step. Each step moves by
    `step` times the gradient over its mean absolute value, then into the epsilon ball, then to [0, 1]. Success does
    not stop an image; a root mean square change above `stop` does, so that all end at nearly the same size. So does a
    gradient of zero or NaN, with the last good image. A blank map ends the attention term of its image, which then
    follows log p_y alone. `run` tells which images met with either.

    The gradient is the mean over the image and its copies times 1, 1/2, 1/4 and 1/8 (Lin et al. 2020,
    arXiv:1908.06281), each taken by the copy. So a step is a forward and three backward passes for each of four
    copies; the image and its first copy are the same, which counts twice.

    Args:
        attention: ``grad_cam`` or ``layer_cam`` at the last convolution, or ``gradient_input``, gradient times image
            summed over the colours (the paper has a relevance method in its place). The first two need a `Classifier`;
            the last takes any function of images, and on a CPU about ten times as long.
        epsilon: largest change of a value, in [0, 1] units.
        step: mean absolute change of a step, in [0, 1] units.
        stop: root mean square change after which an image is left alone, in [0, 1] units.
        steps: at most so many; at the defaults an image needs 5 to 7.
        scales: copies times 0.5^i, i from 0; 0 takes the image alone.
        translation: standard deviation in pixels of a Gaussian that smooths the gradient, 5 for instance; None: none.
        diversity: average over four copies of random size and place as well.
        average: the ``gradients`` of the copies, then brought to unit size; or their ``directions``, each of unit
            size, as the released code does: its steps are the shorter, the more the copies disagree.

    Raises:
        BoundsError: a number out of range.
        UnknownNameError: no such attention, or no such average.
        ModelError: the model gives no gradient, or one that is not finite at the first step.
    """

    norm: ClassVar[str | None] = "linf"
    attention: str = "grad_cam"
    epsilon: float = 25.5 / 255
    step: float = 2 / 255
    stop: float = 7 / 255
    steps: int = 50
    scales: int = 4
    translation: float | None = None
    diversity: bool = False
    average: str = "gradients"

    def __post_init__(self) -> None:
        check_known(self.attention, MAPS, f"no attention named '{self.attention}'")
        for name in ("epsilon", "step", "stop"):
            check_size(name, getattr(self, name))
        check_steps(self.steps)
        check_whole("scales", self.scales, least=0)
        if self.translation is not None:
            check_size("translation", self.translation, most=float("inf"))
        check_known(self.average, AVERAGES, f"no average named '{self.average}'")

    @in_full_precision
    def __call__(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The attacked images. Chance enters through `diversity` alone."""
        return self.run(model, images, labels, generator=generator).images

    def run(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> AoaRun:
        """The attacked images, with the steps that each took and how it ended."""
        with torch.inference_mode(mode=False):
            images, labels = own(images), own(labels).long()
            loss = self._loss(model, images)
            moved, steps = images.clone(), torch.zeros_like(labels)
            blank, halted = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
            for number in range(self.steps):
                draws = self._draws(images, generator)
                at = (~halted & (_rms(moved - images) <= self.stop)).nonzero()[:, 0]
                if not len(at):
                    break
                copies = self._copies([draw[at] for draw in draws])
                gradient, empty = self._gradient(loss, moved[at], labels[at], ~blank[at], copies)
                gradient = gradient if number else finite(gradient)
                direction = _unit(gradient) if self.average == "gradients" else gradient
                lost = ~direction.isfinite().flatten(1).all(1) | (direction == 0).flatten(1).all(1)
                blank[at[empty]], halted[at[lost]] = True, True
                at, direction = at[~lost], direction[~lost]
                stepped = torch.add(moved[at], direction, alpha=-self.step)
                moved[at] = project(stepped, images[at], self.epsilon, "linf")
                steps[at] += 1
        return AoaRun(images=moved, steps=steps, blank=blank, halted=halted)

    def _loss(self, model: Model, images: Tensor) -> Loss:
        at_images = self.attention == "gradient_input" or not len(images)
        layer = None if at_images else last_convolution(model, images)
        return partial(attention_loss, model, attention=self.attention, layer=layer)

    def _draws(self, images: Tensor, generator: Generators) -> list[Float[Tensor, "n 3"]]:
        """Chance for every image, whether it still moves or not, so that one image's end changes no other's draws."""
        wanted = DIVERSE if self.diversity else 0
        return [uniform((len(images), 3), generator, images.device) for _ in range(wanted)]

    def _copies(self, draws: list[Float[Tensor, "m 3"]]) -> list[tuple[Copy, float]]:
        """Every copy with how often it counts."""
        itself = (scaled(1.0), 2.0 if self.scales else 1.0)
        darker = [(scaled(0.5**i), 1.0) for i in range(1, self.scales)]
        return [itself, *darker, *((diverse(draw), 1.0) for draw in draws)]

    def _gradient(
        self, loss: Loss, images: Tensor, labels: Tensor, attends: Tensor, copies: list[tuple[Copy, float]]
    ) -> tuple[Float[Tensor, "m channels h w"], Bool[Tensor, " m"]]:
        """The average over the copies, and whether a map of any copy was blank."""
        total, blank = torch.zeros_like(images), torch.zeros_like(attends)
        for copy, count in copies:
            with torch.enable_grad():
                seen, shown = copy(images)
                losses, empty = loss(shown, labels, attends=attends)
                gradient = gradient_of(losses.sum(), seen)
            gradient = gradient if self.translation is None else smoothed(gradient, self.translation)
            total += count * (_unit(gradient) if self.average == "directions" else gradient)
            blank |= empty
        return total / sum(count for _, count in copies), blank


def _unit(gradient: Float[Tensor, "m channels h w"]) -> Float[Tensor, "m channels h w"]:
    """The gradient over its mean absolute value, per image; 0 where it is zero throughout."""
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / size.masked_fill(size == 0, 1)


def _rms(change: Float[Tensor, "n channels h w"]) -> Float[Tensor, " n"]:
    return change.float().square().mean((1, 2, 3)).sqrt()
