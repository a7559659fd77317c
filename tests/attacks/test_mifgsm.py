"""MI-FGSM: a case by hand, a slow version from the paper, and torchattacks and Foolbox beside it."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift import models
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.attacks.mifgsm import MiFgsm
from gazeshift.attacks.pgd import Pgd
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.seeds import generator_for

STEP = 1 / 255


class Turning(nn.Module):
    """The gradient of the loss is +4 on pixel 0 until it passes 0.5, then -1; pixel 1 always has +1 and -3 in turn."""

    def forward(self, images: Tensor) -> Tensor:
        first, second = images[:, 0, 0, 0], images[:, 0, 0, 1]
        score = torch.where(first < 0.5, 4 * first, -first) + torch.where(first < 0.5, second, -3 * second)
        return torch.stack([-score, torch.zeros_like(score)], 1)


def test_by_hand() -> None:
    """Of label 0, the loss log(1 + exp(score)) rises with the score; gradients are taken to an L1 length of 1.

    Step 1: (4, 1) / 5 = (0.8, 0.2), both up. Step 2: (-1, -3) / 4 added: (0.55, -0.55): the first goes on up though its
    gradient turned, the second turns. Step 3: (0.3, -1.3).
    """
    images = torch.tensor([0.495, 0.3]).view(1, 1, 1, 2).expand(1, 3, 1, 2).contiguous()
    images[:, 1:] = 0
    attack = MiFgsm(epsilon=0.1, step=0.01, steps=3)
    for steps, wanted in ((1, [0.505, 0.31]), (2, [0.515, 0.30]), (3, [0.525, 0.29])):
        made = replace(attack, steps=steps)(Turning(), images, torch.tensor([0]), generator=generator_for(0))
        torch.testing.assert_close(made[0, 0, 0], torch.tensor(wanted))
    plain = replace(attack, steps=2, decay=0.0)(Turning(), images, torch.tensor([0]), generator=generator_for(0))
    torch.testing.assert_close(plain[0, 0, 0], torch.tensor([0.495, 0.30]), msg="without memory the first turns too")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(392, 10),
        )
    return layers.eval()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    images = (torch.rand((6, 3, 16, 16), generator=generator_for(0, "mi")) * 1.2 - 0.1).clamp(0, 1)
    return images, torch.tensor([0, 9, 3, 3, 1, 7])


def slowly(attack: MiFgsm, network: nn.Module, image: np.ndarray, label: int) -> np.ndarray:
    """Equations 6 and 7 of the paper, one image, in NumPy."""
    step = attack.epsilon / attack.steps if attack.step is None else attack.step
    moved, running = image.copy(), np.zeros_like(image)
    for _ in range(attack.steps):
        seen = torch.from_numpy(moved)[None].requires_grad_()
        loss = nn.functional.cross_entropy(network(seen), torch.tensor([label]))
        gradient = torch.autograd.grad(loss, seen)[0][0].numpy()
        running = attack.decay * running + gradient / np.abs(gradient).sum()
        if attack.norm == "linf":
            moved = np.clip(moved + step * np.sign(running), image - attack.epsilon, image + attack.epsilon)
        else:
            change = moved + step * running / np.sqrt((running**2).sum()) - image
            moved = image + change * min(1.0, attack.epsilon / np.sqrt((change**2).sum()))
        moved = np.clip(moved, 0, 1)
    return moved


@pytest.mark.parametrize(
    "attack",
    [MiFgsm(), MiFgsm(decay=0.5, steps=4), MiFgsm(step=0.01, decay=0.0), MiFgsm(norm="l2", epsilon=0.7)],
    ids=lambda attack: f"{attack.norm} {attack.decay}",
)
def test_slowly_from_the_paper(network: nn.Module, batch: tuple[Tensor, Tensor], attack: MiFgsm) -> None:
    network, images = network.double(), batch[0].double()
    made = attack(network, images, batch[1], generator=generator_for(0))
    for at, (image, label) in enumerate(zip(images.numpy(), batch[1].tolist(), strict=True)):
        np.testing.assert_allclose(made[at].numpy(), slowly(attack, network, image, label), rtol=0, atol=1e-12)


def test_foolbox_has_the_same_without_memory(network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """Foolbox sums the gradients' signs where the paper sums gradients of L1 length 1: alike, and the same at 0."""
    network, images = network.double(), batch[0].double()
    other = {}
    for decay in (0.0, 0.7):
        theirs = gs.build("attacks", f"foolbox:MIFGSM,abs_stepsize=0.01,steps=5,momentum={decay},epsilon=8/255")
        wanted = theirs(network, images, batch[1], generator=generator_for(0))
        made = MiFgsm(step=0.01, steps=5, decay=decay)(network, images, batch[1], generator=generator_for(0))
        other[decay] = float(((made - wanted).abs() > 1e-9).double().mean())
    assert other[0.0] == 0
    assert 0 < other[0.7] < 0.1


def test_torchattacks_has_the_same(network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    theirs = quietly("torchattacks").MIFGSM(network.float(), eps=8 / 255, alpha=STEP, steps=5, decay=0.7)
    made = MiFgsm(step=STEP, steps=5, decay=0.7)(network.float(), *batch, generator=generator_for(0))
    assert (made - theirs(*batch)).abs().max() <= 1e-6


def quietly(package: str) -> Any:
    """A package that warns while it is imported, or a skipped test where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(package, reason=f"{package} is not installed: pip install {package}")


def test_a_zero_gradient_adds_nothing() -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    made = MiFgsm()(lambda seen: seen.sum((2, 3)) * 0, images, torch.tensor([0, 1]), generator=generator_for(0))
    assert torch.equal(made, images)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"decay": -0.1}, BoundsError, "decay must be 0 or more"),
        ({"decay": float("inf")}, BoundsError, "decay must be 0 or more and finite"),
        ({"decay": "1"}, SettingsError, "decay must be a number"),
        ({"epsilon": 8}, BoundsError, "Did you mean 8/255"),
        ({"steps": 0}, BoundsError, "steps must be a whole number"),
        ({"norm": "l1"}, UnknownNameError, "no norm named 'l1'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        MiFgsm(**settings)


BESIDE = {
    "fgsm": (Fgsm(epsilon=1 / 255), "FGSM", {"eps": 1 / 255}),
    "pgd": (
        Pgd(epsilon=1 / 255, step=0.5 / 255, steps=3, random_start=False),
        "PGD",
        {"eps": 1 / 255, "alpha": 0.5 / 255, "steps": 3, "random_start": False},
    ),
    "mifgsm": (
        MiFgsm(epsilon=1 / 255, step=0.4 / 255, steps=3, decay=1.0),
        "MIFGSM",
        {"eps": 1 / 255, "alpha": 0.4 / 255, "steps": 3, "decay": 1.0},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BESIDE)
def test_the_same_success_as_torchattacks_on_a_real_model(data_folder: Path, name: str) -> None:
    """Of 100 ImageNet images, at most one is fooled by one program and not by the other."""
    ours, theirs, settings = BESIDE[name]
    package, classifier = quietly("torchattacks"), models.load("efficientnet_lite0", device="cpu")
    other = getattr(package, theirs)(classifier, **settings)
    fooled = [], []
    for images, labels in a_hundred(data_folder, classifier):
        for found, made in zip(
            fooled, (ours(classifier, images, labels, generator=generator_for(0)), other(images, labels)), strict=True
        ):
            with torch.no_grad():
                found.append(classifier(made.detach()).argmax(1) != labels)
    first, second = (torch.cat(found) for found in fooled)
    assert len(first) == 100
    assert 0.3 < first.float().mean() < 1, "not decided from the start"
    assert int((first != second).sum()) <= 1


def a_hundred(data_folder: Path, classifier: models.Classifier) -> Iterator[tuple[Tensor, Tensor]]:
    source = gs.open_source(data_folder / "imagenet700", class_names=classifier.class_names, wnids=classifier.wnids)
    for batch in source.take(100, 0).batches(10, classifier.preprocessing):
        assert batch.labels is not None
        yield batch.images, batch.labels
