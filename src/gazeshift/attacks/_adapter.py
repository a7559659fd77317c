"""What the adapters to other packages' attacks share: how a package sees the model, and where its chance comes from.

Packages draw from the global random state of torch, NumPy and Python. It is seeded from the caller's generator while
they run, and put back as it was; other threads that draw from it meanwhile get other numbers than they would. With a
single generator the images are attacked together. With one generator per image none may depend on its batch: the
images are attacked together where a real run has shown that this gives each what it gets alone (`Adapter.batched`,
written down in docs/adapters.md), and one by one otherwise.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gazeshift.attacks._gradient import Model, finite, own
from gazeshift.attacks._model_proxy import ModelProxy
from gazeshift.attacks._precision import in_full_precision
from gazeshift.attacks._projections import project
from gazeshift.attacks._settings import check_size, check_whole
from gazeshift.errors import BoundsError, GazeshiftError, SettingsError
from gazeshift.packages import KeywordArguments, chosen, missing, parameters_of
from gazeshift.seeds import Generators, uniform

# A package's attack at work: what it sees of the model, images, labels, and gives attacked images.
Run = Callable[[nn.Module, Tensor, Tensor], Tensor]
USUAL = 8 / 255
CHANCE = {"random_start": False, "num_random_init": 0}  # settings that bring chance in, and what leaves it out
PACES = ("steps", "max_iter", "alpha", "eps_step", "rel_stepsize", "abs_stepsize", "stepsize", "overshoot", "decay")
ONES = 1 << 24  # draws from [0, 1) are multiples of 2^-24


@dataclass(frozen=True, kw_only=True)
class Adapter(ABC):
    """An attack of another package. What is particular to a package is in the methods that it has to define.

    Args:
        name: of the attack's class.
        epsilon: largest change, images in [0, 1], in the norm of the attack; None for the usual one, or for no bound.
        target: the class to reach; None leaves the label for any other class. An image whose label is the target
            comes back as it is. `Attacked.success` stays "not the label any more".
        settings: what the attack's class takes.
    """

    name: str
    epsilon: float | None = None
    target: int | None = None
    settings: KeywordArguments = field(default_factory=dict, hash=False)

    package: ClassVar[str]
    given: ClassVar[tuple[str, ...]] = ()  # arguments of the attack's class that are ours to give
    batched: ClassVar[frozenset[str]] = frozenset()  # who gives each image in a batch what it gets alone
    refused: ClassVar[Mapping[str, str]] = {}  # who cannot be used here, and why
    always_targeted: ClassVar[tuple[str, ...]] = ()
    never_targeted: ClassVar[tuple[str, ...]] = ()
    single: ClassVar[tuple[str, ...]] = ()  # who mixes float64 images with float32 of its own, and breaks off
    harmless: ClassVar[frozenset[str]] = frozenset()  # generators of which the package draws without effect

    def __post_init__(self) -> None:
        own = {} if self.target is None or "target" not in self._known() else {"target": self.target}
        object.__setattr__(self, "settings", dict(self.settings) | own)  # some attacks have a `target` of their own
        object.__setattr__(self, "target", None if own else self.target)
        if self.target is not None:
            check_whole("target", self.target, least=0)
        needs = self._needs_epsilon()
        self._check_target()
        if self.epsilon is not None:
            check_size("epsilon", self.epsilon, most=1.0 if self._norm() == "linf" else math.inf)
        elif needs and self._norm() != "linf":
            raise SettingsError(
                f"{self.spec} needs an epsilon: {self.spec},epsilon=3 for L2 at 224 x 224 pixels, 0.5 at 32 x 32."
            )
        elif needs:
            object.__setattr__(self, "epsilon", USUAL)

    @property
    def spec(self) -> str:
        """The package and the attack."""
        return f"{self.package}:{self.name}"

    @property
    def norm(self) -> str | None:
        """The norm that epsilon bounds: ``linf`` or ``l2``; None without a bound, or in another norm."""
        return None if self.epsilon is None else self._norm()

    @property
    def is_batched(self) -> bool:
        """Whether the attack was shown to give each image in a batch what it gets alone, with settings like these."""
        known = self._known()
        quiet = all(
            self.settings.get(name, known[name].default) == off for name, off in CHANCE.items() if name in known
        )
        return self._kind().__name__ in self.batched and quiet and self.settings.keys() <= {*PACES, *CHANCE}

    @in_full_precision
    def __call__(
        self, model: Model, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"], *, generator: Generators
    ) -> Float[Tensor, "n channels h w"]:
        """The attacked images."""
        attacked = run_attack(
            self._run,
            model,
            images.float() if self._kind().__name__ in self.single else images,
            labels if self.target is None else torch.full_like(labels, self.target, dtype=torch.long),
            generator,
            spec=self.spec,
            epsilon=self.epsilon,
            norm=self.norm,
            check_classes=self._check_classes,
            batched=self.is_batched,
            harmless=self.harmless,
        ).to(images.dtype)
        there = torch.zeros_like(labels, dtype=torch.bool) if self.target is None else labels == self.target
        return torch.where(there[:, None, None, None], own(images), attacked)

    def _kind(self) -> type:
        """The attack's class."""
        kind = chosen(self.package, self._offered(), self.name)
        if kind.__name__ in self.refused:
            raise SettingsError(f"{self.spec} cannot be used here: {self.refused[kind.__name__]}.")
        return kind

    def _known(self) -> Mapping[str, Parameter]:
        """The settings that the package's attack takes."""
        return parameters_of(self._kind(), *self.given)

    def _check_target(self) -> None:
        """Refuse a target that the attack cannot be given, and none where it needs one."""
        name = self._kind().__name__
        if self.target is None and name in self.always_targeted:
            raise self._without_target()
        if self.target is not None and name in self.never_targeted:
            raise self._no_target()

    def _without_target(self) -> SettingsError:
        """The refusal of an attack towards a class without one."""
        return SettingsError(
            f"{self.spec} attacks towards a class and needs it: {self.spec},target=3 for class 3, counted from 0."
        )

    def _no_target(self) -> SettingsError:
        """The refusal of a target that the attack has no use for."""
        return SettingsError(
            f"{self.spec} cannot be sent to a class. Leave out target, or take another attack (docs/adapters.md)."
        )

    def _fills(self, *, bounded: bool) -> bool:
        """Whether the attack fills a budget; refuses an epsilon for one that looks for the smallest change."""
        if self.epsilon is not None and not bounded:
            raise SettingsError(
                f"{self.spec} has no epsilon: it looks for the smallest change. Write {self.spec},epsilon=none."
            )
        return bounded

    @abstractmethod
    def _offered(self) -> Mapping[str, type]:
        """Every attack of the package, by name."""

    @abstractmethod
    def _needs_epsilon(self) -> bool:
        """Whether the attack fills a budget, and so cannot be run without one; refuses settings that it cannot take."""

    @abstractmethod
    def _norm(self) -> str | None:
        """What the attack measures a change with: ``linf``, ``l2``, or None for something else."""

    @abstractmethod
    def _run(self, seen: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """What the package makes of images, given what it may see of the model; labels are the target, if any."""

    def _check_classes(self, classes: int) -> None:
        """Refuse a model with too few classes."""
        if self.target is not None and self.target >= classes:
            raise BoundsError(f"target must be a class of the model, 0 to {classes - 1}, got {self.target}.")


def too_few_classes(spec: str, wanted: int, classes: int, instead: str) -> str:
    """The sentence that refuses a model whose classes the attack's loss cannot rank."""
    return (
        f"{spec} has the difference-of-logits-ratio loss, which compares the {wanted} best classes, and this model has "
        f"{classes}. Take {instead}, which has the cross-entropy."
    )


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
    check_classes: Callable[[int], object] = int,
    batched: bool = False,
    harmless: frozenset[str] = frozenset(),
) -> Float[Tensor, "n channels h w"]:
    """What a package's attack makes of the images, in their own type, clipped to the epsilon ball and to [0, 1].

    Args:
        run: the package's attack at work.
        model: whom to fool.
        images: in [0, 1].
        labels: classes to leave, or to reach.
        generator: one for the batch, or one per image.
        spec: of the attack, for messages.
        epsilon: size of the ball.
        norm: of the ball, ``linf`` or ``l2``; None if there is no ball of ours.
        check_classes: called with the model's number of classes; may refuse it.
        batched: without chance, an image gets in a batch what it gets alone.
        harmless: generators whose use is no chance: ``torch``, ``numpy`` or ``python``.

    Raises:
        ModelError: the model gives no gradient where one is asked for, or NaN.
        SettingsError: neither one generator nor one per image, or the package breaks off; says why in its words.
        MissingPackageError: the package needs another one.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        images, labels = own(images), own(labels).long()
        seeds = _seeds(len(images), generator)

        def made_of(part: slice, seed: int) -> tuple[Tensor, set[str]]:
            seen = ModelProxy(model, images, part, check_classes)
            with _seeded(seed) as drawn, _explained(spec, seen):
                made = run(seen, images[part].to(seen.working).contiguous(), labels[part])
            return made.detach().to(images), drawn

        together = len(images) > 0 and (batched or len(seeds) == 1)
        made, drawn = made_of(slice(0, len(images)), seeds[0]) if together else (images[:0], {"not tried"})
        if len(seeds) > 1 and drawn - harmless:
            made = torch.cat([made_of(slice(at, at + 1), seed)[0] for at, seed in enumerate(seeds)])
        attacked = finite(made)
        if epsilon is None or norm is None:
            return attacked.clamp(0, 1)
        return project(attacked, images, epsilon, norm)


def _seeds(n: int, generator: Generators) -> list[int]:
    """A 48-bit seed for the batch, or one for each image."""
    single = isinstance(generator, torch.Generator)
    draws = (uniform((1 if single else n, 2), generator, torch.device("cpu")).double() * ONES).long()
    return [int(high) * ONES + int(low) for high, low in draws]


@contextmanager
def _seeded(seed: int) -> Iterator[set[str]]:
    """Seed everything global that a package may draw from, and put it back.

    Which generators were drawn from is in the set afterwards: ``torch``, ``numpy``, ``python``.
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    numpy_state, python_state, drawn = np.random.get_state(), random.getstate(), set[str]()
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        before = _states(gpus)
        try:
            yield drawn
        finally:
            drawn.update(name for name, state in _states(gpus).items() if state != before[name])
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _states(gpus: Sequence[int]) -> dict[str, object]:
    """The global random state, so that two can be compared."""
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in gpus)]
    of_numpy = np.random.get_state(legacy=False)["state"]
    return {
        "torch": [state.tolist() for state in states],
        "numpy": (of_numpy["key"].tolist(), of_numpy["pos"]),
        "python": random.getstate(),
    }


@contextmanager
def _explained(spec: str, seen: ModelProxy) -> Iterator[None]:
    """Say which attack broke off. What the user's model raised, and warnings made errors, pass through as they are."""
    try:
        yield
    except (GazeshiftError, Warning):
        raise
    except Exception as cause:
        if cause is seen.failure:
            raise
        if isinstance(cause, ModuleNotFoundError):
            raise missing(spec, cause) from cause
        why = str(cause).rstrip(".") or repr(cause)
        raise SettingsError(f"{spec} broke off with these settings or this model: {why}.") from cause
