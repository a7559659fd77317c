"""Training: against a plain loop, the same after a kill, early stop, the best epoch, damaged checkpoints."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from gazeshift.errors import BoundsError, ModelError
from gazeshift.runs.training import Schedule, Shuffled, train
from gazeshift.seeds import generator_for
from helpers.killing import strike

COUNT, SIZE = 50, 8


def network() -> nn.Module:
    made = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    generator = generator_for(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return made


def examples(pause: float = 0.0) -> Shuffled:
    inputs = torch.randn((COUNT, 6), generator=generator_for(1))
    labels = inputs[:, :3].argmax(1)

    def load(places):
        time.sleep(pause)
        return inputs[places], labels[places]

    return Shuffled(count=COUNT, batch_size=SIZE, load=load)


def evaluate(made: nn.Module) -> dict[str, float]:
    assert not made.training
    inputs = torch.randn((200, 6), generator=generator_for(2))
    right = (made(inputs).argmax(1) == inputs[:, :3].argmax(1)).float().mean()
    return {"score": right.item()}


def done(folder: Path, **schedule) -> tuple[nn.Module, object]:
    made = network()
    history = train(made, examples(), schedule=Schedule(**schedule), evaluate=evaluate, checkpoint=folder / "training")
    return made, history


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_plain_loop_does_the_same(tmp_path):
    made, history = done(tmp_path, epochs=3, keep="last", learning_rate=0.02, seed=4)
    plain = network()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.02)
    for epoch in range(3):
        plain.train()
        torch.manual_seed(generator_for(4, "dropout", str(epoch)).initial_seed() % 2**63)
        for inputs, labels in examples().epoch(generator_for(4, "order", str(epoch))):
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(inputs), labels).backward()
            optimizer.step()
    assert same(made, plain)
    assert not made.training
    assert history.kept == 2
    assert history.epochs[-1]["score"] == evaluate(plain.eval())["score"]
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]


def test_every_epoch_sees_every_example_once_in_another_order():
    orders = [torch.cat([x[:, 0] for x, _ in examples().epoch(generator_for(0, str(at)))]) for at in range(2)]
    assert orders[0].sort().values.equal(orders[1].sort().values)
    assert not orders[0].equal(orders[1])
    assert len(examples()) == 7


def test_the_global_random_state_is_left_alone(tmp_path):
    made = network()
    before = torch.get_rng_state()
    train(made, examples(), schedule=Schedule(epochs=2), evaluate=evaluate, checkpoint=tmp_path / "training")
    assert torch.equal(before, torch.get_rng_state())


def test_stopped_and_begun_again_it_ends_the_same(tmp_path):
    whole, history = done(tmp_path, epochs=6)

    def stopping(made):
        calls.append(1)
        if len(calls) in (2, 4):
            raise InterruptedError
        return evaluate(made)

    calls: list[int] = []
    for _ in range(3):
        made = network()
        try:
            again = train(
                made, examples(), schedule=Schedule(epochs=6), evaluate=stopping, checkpoint=tmp_path / "stopped"
            )
        except InterruptedError:
            continue
    assert same(made, whole)
    assert again == history


def train_slowly(folder: Path, *, progress: Callable[[], object]) -> nn.Module:
    """Twelve epochs; progress is called when one is in the checkpoint."""

    def told(trained: nn.Module) -> dict[str, float]:
        if (folder / "training").exists():
            progress()
        return evaluate(trained)

    made, schedule = network(), Schedule(epochs=12)
    train(made, examples(0.004), schedule=schedule, evaluate=told, checkpoint=folder / "training")
    return made


def test_killed_it_ends_the_same(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    for seconds in (0, 0.01, 0.03):
        assert strike(partial(train_slowly, killed), after=2, seconds=seconds), "it was through"
    began = (killed / "training").read_bytes()
    ended = train_slowly(killed, progress=lambda: None)
    assert began != (killed / "training").read_bytes()
    assert same(ended, train_slowly(whole, progress=lambda: None))


def test_the_best_epoch_is_kept_and_patience_ends_it(tmp_path):
    scores = iter([0.1, 0.5, 0.5, 0.2, 0.9])
    states = []

    def scored(made):
        states.append({name: value.clone() for name, value in made.state_dict().items()})
        return {"score": next(scores)}

    made = network()
    schedule = Schedule(epochs=9, patience=2)
    history = train(made, examples(), schedule=schedule, evaluate=scored, checkpoint=tmp_path / "training")
    assert [epoch["score"] for epoch in history.epochs] == [0.1, 0.5, 0.5, 0.2]
    assert history.kept == 1
    assert all(torch.equal(states[1][name], value) for name, value in made.state_dict().items())


def test_frozen_parameters_stay(tmp_path):
    made = network()
    made[0].requires_grad_(requires_grad=False)
    before = made[0].weight.clone()
    train(made, examples(), schedule=Schedule(epochs=1), evaluate=evaluate, checkpoint=tmp_path / "training")
    assert torch.equal(made[0].weight, before)


@pytest.mark.parametrize("harm", ["cut", "text"])
def test_a_damaged_checkpoint_is_noted_and_not_used(tmp_path, harm):
    whole, history = done(tmp_path, epochs=2)
    file = tmp_path / "training"
    file.write_bytes(file.read_bytes()[:200] if harm == "cut" else b"not a checkpoint, " * 9)
    again, second = done(tmp_path, epochs=2)
    assert same(again, whole)
    assert second.epochs == history.epochs
    assert "began anew: its checkpoint training is damaged" in second.notes[0]


def test_a_checkpoint_of_another_training_is_not_used(tmp_path):
    done(tmp_path, epochs=2)
    made = network()
    given = {"schedule": Schedule(epochs=3), "evaluate": evaluate, "checkpoint": tmp_path / "training"}
    history = train(made, examples(), identity="another", **given)
    assert len(history.epochs) == 3
    assert not history.notes


def test_a_loss_that_is_not_finite_is_said(tmp_path):
    bad = Shuffled(count=4, batch_size=4, load=lambda _: (torch.full((4, 6), torch.nan), torch.zeros(4).long()))
    with pytest.raises(ModelError, match=r"the loss is nan at training step 1. Lower the learning rate \(0.001\)"):
        train(network(), bad, schedule=Schedule(epochs=1), evaluate=evaluate, checkpoint=tmp_path / "training")


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"epochs": 1, "learning_rate": 0.0}, {"epochs": 1, "patience": 0}])
def test_impossible_schedules(bad):
    with pytest.raises(BoundsError, match=r"at least 1 epoch"):
        Schedule(**bad)
    with pytest.raises(BoundsError, match=r"best or the last"):
        Schedule(epochs=1, keep="first")
    with pytest.raises(BoundsError, match=r"needs examples, got 0"):
        Shuffled(count=0, batch_size=1, load=lambda _: None)


class Colours(nn.Module):
    """Notes how its images lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head, self.seen = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.is_contiguous(memory_format=torch.channels_last))
        return self.head(self.conv(images).mean((2, 3)))


def test_images_come_with_their_channels_side_by_side(tmp_path):
    images = torch.rand((8, 3, 8, 8), generator=generator_for(3))
    made, plain = Colours(), Colours()
    plain.load_state_dict(made.state_dict())
    few = Shuffled(count=8, batch_size=4, load=lambda places: (images[places], torch.tensor(places) % 2))
    schedule = Schedule(epochs=2, keep="last", learning_rate=0.01)
    train(made, few, schedule=schedule, evaluate=lambda _: {"score": 0.0}, checkpoint=tmp_path / "training")
    assert made.seen == [True] * 4
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for number in range(2):
        for inputs, labels in few.epoch(generator_for(0, "order", str(number))):
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(inputs), labels).backward()
            optimizer.step()
    assert not any(plain.seen)
    for one, other in zip(made.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)
