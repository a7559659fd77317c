"""Training that survives a kill: a checkpoint after every epoch, and the same network however often it was stopped.

Everything random in an epoch (order, dropout) follows from the seed and the epoch's number, so that an epoch begun
again is the same epoch. The checkpoint is one file that holds no code; it is replaced in one step.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gazeshift.data import replace_file
from gazeshift.errors import BoundsError, ModelError
from gazeshift.runs.settings import Progress
from gazeshift.seeds import generator_for

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
IMAGES = 4  # axes of a batch of images: (n, c, h, w)
NETWORK, BEST, MOMENT = "network.", "best.", "adam."


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """Training examples, loaded a batch at a time in an order drawn anew for every epoch.

    Args:
        count: number of examples.
        batch_size: examples of a step; the last step of an epoch has what is left.
        load: inputs and class indices of the examples at these places.
    """

    count: int
    batch_size: int
    load: Callable[[Sequence[int]], tuple[Tensor, Tensor]]

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise BoundsError(f"training needs examples, got {self.count} in batches of {self.batch_size}.")

    def __len__(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.count / self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Every example once."""
        order = torch.randperm(self.count, generator=generator).tolist()
        for at in range(0, self.count, self.batch_size):
            yield self.load(order[at : at + self.batch_size])


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a network is trained: Adam with betas 0.9 and 0.999.

    Args:
        epochs: times that every example is seen.
        learning_rate: of Adam.
        patience: stop after so many epochs without a better score; None goes to the end.
        keep: ``best`` epoch by its score (the earliest of equals), or the ``last``.
        seed: order of the examples and dropout follow from it.
        mixed_precision: bfloat16 where a GPU has it; a CPU always computes in float32.

    Raises:
        BoundsError: a number out of range, or no such `keep`.
    """

    epochs: int
    learning_rate: float = 1e-3
    patience: int | None = None
    keep: str = "best"
    seed: int = 0
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        if (
            self.epochs < 1
            or not 0 < self.learning_rate < math.inf
            or (self.patience is not None and self.patience < 1)
        ):
            raise BoundsError(
                f"training needs at least 1 epoch, a learning rate above 0 and patience of at least 1, got "
                f"{self.epochs}, {self.learning_rate:g} and {self.patience}."
            )
        if self.keep not in ("best", "last"):
            raise BoundsError(f"training keeps the best or the last epoch, got keep='{self.keep}'.")


@dataclass(frozen=True, kw_only=True)
class History:
    """What a training did.

    Args:
        epochs: of each epoch its mean ``loss`` and what `evaluate` said, ``score`` among it.
        kept: place of the epoch whose weights the network has now.
        notes: sentences for the manifest, such as that a damaged checkpoint was thrown away.
    """

    epochs: tuple[Mapping[str, float], ...]
    kept: int
    notes: tuple[str, ...] = ()


def cross_entropy(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch."""
    return nn.functional.cross_entropy(network(inputs), labels)


def train(
    network: nn.Module,
    examples: Shuffled,
    *,
    schedule: Schedule,
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    checkpoint: Path,
    identity: str = "",
    loss: Loss = cross_entropy,
    progress: Progress = lambda *_: None,
) -> History:
    """Train a network in place, or finish what was begun; afterwards it is in eval mode with the weights kept.

    Args:
        network: its parameters that ask for a gradient are trained, where it is.
        examples: to learn from.
        schedule: how.
        evaluate: figures of the network, in eval mode, after every epoch; ``score`` decides which epoch is best.
        checkpoint: file to keep the state in; one of another `identity` or a damaged one is not used.
        identity: of the training; whatever its result depends on.
        loss: of a batch.
        progress: called with (steps done, steps in all, what).

    Raises:
        ModelError: the loss is not finite.
        OutputError: the checkpoint cannot be written.
    """
    work = _Training(network, schedule, identity)
    work.restore(checkpoint)
    while not work.is_over:
        work.epoch(examples, loss, progress)
        with torch.no_grad():
            work.judge({name: float(value) for name, value in evaluate(network.eval()).items()})
        replace_file(checkpoint, lambda path: path.write_bytes(work.saved()))
    network.eval()
    if schedule.keep == "best":
        network.load_state_dict(work.best)
    kept = work.leading if schedule.keep == "best" else len(work.done) - 1
    return History(epochs=tuple(work.done), kept=kept, notes=tuple(work.notes))


class _Training:
    """Where a training stands."""

    def __init__(self, network: nn.Module, schedule: Schedule, identity: str) -> None:
        self.network, self.schedule, self.identity = network, schedule, identity
        self.place = next(network.parameters()).device
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=schedule.learning_rate)
        self.done: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self.loss = math.nan

    @property
    def leading(self) -> int:
        """Place of the best epoch so far, the earliest of equals."""
        return max(range(len(self.done)), key=lambda at: (self.done[at]["score"], -at))

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        waited, patience = len(self.done) - 1 - self.leading if self.done else 0, self.schedule.patience
        return len(self.done) >= self.schedule.epochs or (patience is not None and waited >= patience)

    def epoch(self, examples: Shuffled, loss: Loss, progress: Progress) -> None:
        """Every example once."""
        number, total = len(self.done), 0.0
        self.network.train()
        with torch.random.fork_rng([self.place] if self.place.type == "cuda" else []):
            torch.manual_seed(generator_for(self.schedule.seed, "dropout", str(number)).initial_seed() % 2**63)
            batches = examples.epoch(generator_for(self.schedule.seed, "order", str(number)))
            for step, (inputs, labels) in enumerate(batches, number * len(examples) + 1):
                total += self.step(loss, _placed(inputs, self.place), labels.to(self.place), step) * len(labels)
                progress(step, self.schedule.epochs * len(examples), "training steps")
        self.loss = total / examples.count

    def step(self, loss: Loss, inputs: Tensor, labels: Tensor, number: int) -> float:
        """One step of Adam; the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        with _precision(self.schedule, self.place):
            value = loss(self.network, inputs, labels)
        amount = value.detach().item()
        if not math.isfinite(amount):
            raise ModelError(
                f"the loss is {amount} at training step {number}. Lower the learning rate "
                f"({self.schedule.learning_rate:g})."
            )
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return amount

    def judge(self, figures: Mapping[str, float]) -> None:
        """Note an epoch, and keep its weights if none before was as good."""
        self.done.append({"loss": self.loss, **figures})
        if self.leading == len(self.done) - 1:
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def saved(self) -> bytes:
        """Everything that going on needs."""
        tensors = {NETWORK + name: value for name, value in self.network.state_dict().items()}
        tensors |= {BEST + name: value for name, value in self.best.items()}
        for number, own in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{MOMENT}{number}.{name}": value for name, value in own.items()}
        copied = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        said = {"identity": self.identity, "epochs": json.dumps(self.done), "notes": json.dumps(self.notes)}
        return save(copied, said)

    def restore(self, checkpoint: Path) -> None:
        """Go on from the checkpoint, if there is one of this training; a damaged one is noted and not used."""
        if not checkpoint.is_file():
            return
        try:
            with safe_open(checkpoint, "pt") as file:
                said = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # a file is no mapping
            done, notes = json.loads(said["epochs"]), json.loads(said["notes"])
        except (SafetensorError, OSError, KeyError, ValueError) as cause:
            self.notes.append(f"the training began anew: its checkpoint {checkpoint.name} is damaged ({cause})")
            return
        if said.get("identity") != self.identity:
            return
        self.done, self.notes = done, notes
        self.network.load_state_dict(_under(NETWORK, tensors))
        self.best = {name: value.to(self.place) for name, value in _under(BEST, tensors).items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(MOMENT, tensors).items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def _precision(schedule: Schedule, place: torch.device) -> AbstractContextManager[Any]:
    if schedule.mixed_precision and place.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _placed(inputs: Tensor, place: torch.device) -> Tensor:
    """Images go with their channels side by side: depthwise convolutions learn 1.4 times as fast so on a CPU."""
    return inputs.to(place, memory_format=torch.channels_last) if inputs.dim() == IMAGES else inputs.to(place)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
