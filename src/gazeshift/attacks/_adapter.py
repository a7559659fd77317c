"""What the adapters to other packages' attacks share: how a package sees the model, and where its chance comes from.

Packages draw from the global random state of torch, NumPy and Python. It is seeded from the caller's generator while
they run, and put back as it was; other threads that draw from it meanwhile get other numbers than they would. With one
generator per image the images are attacked one by one, so that none depends on its batch; with a single generator they
are attacked together, which is faster on a GPU.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gazeshift.attacks._balls import project
from gazeshift.attacks._gradient import Model, finite, own
from gazeshift.attacks._passage import Seen
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._settings import check_size
from gazeshift.errors import GazeshiftError, SettingsError
from gazeshift.seeds import Generators, uniform

# A package's attack at work: what it sees of the model, images, labels, and gives attacked images.
Run = Callable[[nn.Module, Tensor, Tensor], Tensor]
USUAL = 8 / 255
ONES = 1 << 24  # draws from [0, 1) are multiples of 2^-24


@dataclass(frozen=True, kw_only=True)
class Adapter(ABC):
    """An attack of another package. What is particular to a package is in the three methods that it has to define.

    Args:
        name: of the attack's class.
        epsilon: largest change, images in [0, 1], in the norm of the attack; None for the usual one, or for no bound.
        settings: what the attack's class takes.
    """

    name: str
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    package: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        needs = self._needs_epsilon()
        object.__setattr__(self, "epsilon", budget(self.spec, self.epsilon, self._norm(), needs=needs))

    @property
    def spec(self) -> str:
        """The package and the attack."""
        return f"{self.package}:{self.name}"

    @property
    def norm(self) -> str | None:
        """The norm that epsilon bounds: ``linf`` or ``l2``; None without a bound, or in another norm."""
        return None if self.epsilon is None else self._norm()

    @in_full_precision
    def __call__(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The attacked images."""
        spec, epsilon, norm = self.spec, self.epsilon, self.norm
        return run_attack(self._run, model, images, labels, generator, spec=spec, epsilon=epsilon, norm=norm)

    @abstractmethod
    def _needs_epsilon(self) -> bool:
        """Whether the attack fills a budget, and so cannot be run without one; refuses settings that it cannot take."""

    @abstractmethod
    def _norm(self) -> str | None:
        """What the attack measures a change with: ``linf``, ``l2``, or None for something else."""

    @abstractmethod
    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """What the package makes of images, given what it may see of the model."""


def fills(spec: str, epsilon: float | None, *, bounded: bool) -> bool:
    """Whether an attack fills a budget.

    Raises:
        SettingsError: it does not, and an epsilon is given.
    """
    if epsilon is not None and not bounded:
        raise SettingsError(f"{spec} has no epsilon: it looks for the smallest change. Write {spec},epsilon=none.")
    return bounded


def budget(spec: str, epsilon: float | None, norm: str | None, *, needs: bool) -> float | None:
    """The epsilon to use, checked.

    Args:
        spec: of the attack, for the message.
        epsilon: as given; None for the usual one.
        norm: that it bounds; None for another distance.
        needs: whether the attack fills a budget, and so cannot be run without one.

    Raises:
        SettingsError: none is given, and none is usual in this norm.
        BoundsError: out of range.
    """
    if epsilon is None and needs:
        if norm != "linf":
            raise SettingsError(
                f"{spec} needs an epsilon: {spec},epsilon=3 for L2 at 224 x 224 pixels, 0.5 at 32 x 32."
            )
        return USUAL
    if epsilon is not None:
        check_size("epsilon", epsilon, most=1.0 if norm == "linf" else math.inf)
    return epsilon


def run_attack(
    run: Run,
    model: Model,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"],
    generator: Generators,
    *,
    spec: str,
    epsilon: float | None,
    norm: str | None,
) -> Float[Tensor, "n channels h w"]:
    """What a package's attack makes of the images, in their own type, clipped to the epsilon ball and to [0, 1].

    Args:
        run: the package's attack at work.
        model: whom to fool.
        images: in [0, 1].
        labels: classes to leave.
        generator: one for the batch, or one per image.
        spec: of the attack, for messages.
        epsilon: size of the ball.
        norm: of the ball, ``linf`` or ``l2``; None if there is no ball of ours.

    Raises:
        ModelError: the model gives no gradient where one is asked for, or NaN.
        SettingsError: neither one generator nor one per image, or the package breaks off; says why in its words.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        images, labels = own(images), own(labels).long()
        seeds = _seeds(len(images), generator)
        size = 1 if len(seeds) > 1 else max(1, len(images))
        made = [torch.empty_like(images[:0])]
        for at, seed in zip(range(0, len(images), size), seeds, strict=False):
            part = slice(at, at + size)
            seen = Seen(model, images, part)
            with _seeded(seed), _explained(spec, seen):
                made.append(run(seen, images[part].to(seen.working).contiguous(), labels[part]).detach().to(images))
        attacked = finite(torch.cat(made))
        if epsilon is None or norm is None:
            return attacked.clamp_(0, 1)
        return project(attacked, images, epsilon, norm)


def _seeds(n: int, generator: Generators) -> list[int]:
    """A 48-bit seed for the batch, or one for each image."""
    single = isinstance(generator, torch.Generator)
    draws = (uniform((1 if single else n, 2), generator, torch.device("cpu")).double() * ONES).long()
    return [int(high) * ONES + int(low) for high, low in draws]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed everything global that a package may draw from, and put it back."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def _explained(spec: str, seen: Seen) -> Iterator[None]:
    """Say which attack broke off. What the user's model raised, and warnings made errors, pass through as they are."""
    try:
        yield
    except (GazeshiftError, Warning):
        raise
    except Exception as cause:
        if cause is seen.failure:
            raise
        why = str(cause).rstrip(".") or repr(cause)
        raise SettingsError(f"{spec} broke off with these settings or this model: {why}.") from cause
