"""The universal perturbation: a known optimum, a slow version from the paper, what it leaves out, and a real model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift.attacks.universal import Universal
from gazeshift.errors import BoundsError
from gazeshift.seeds import generator_for, uniform


def linear(weights: Tensor) -> Any:
    """Two classes whose logits differ by twice <weights, image>."""

    def model(images: Tensor) -> Tensor:
        score = (images * weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1)

    return model


@pytest.fixture
def weights() -> Tensor:
    return torch.randn((3, 6, 7), generator=generator_for(0, "weights")) * 0.1


@pytest.fixture
def images() -> Tensor:
    return torch.rand((7, 3, 6, 7), generator=generator_for(0, "universal")) * 0.4 + 0.3


def test_finds_the_best_perturbation_of_a_linear_model(weights: Tensor, images: Tensor) -> None:
    labels = torch.zeros(7, dtype=torch.long)
    found = Universal(epsilon=0.05).fit(linear(weights), images, labels, generator_for(0))
    assert found.shape == images.shape[1:]
    torch.testing.assert_close(found, -0.05 * weights.sign())


def test_every_image_gets_the_same_perturbation(weights: Tensor, images: Tensor) -> None:
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 0.0, 1.0
    attack, labels = Universal(epsilon=0.05, batch_size=3), torch.tensor([0, 1, 0, 0, 0, 1, 0])
    found = attack.fit(linear(weights), images, labels, generator_for(5))
    made = attack(linear(weights), images, labels, generator=generator_for(5))
    assert torch.equal(made, (images + found).clamp(0, 1))
    assert found.abs().max() <= 0.05


def slowly(attack: Universal, model: nn.Module, images: Tensor, labels: Tensor, orders: list[Tensor]) -> np.ndarray:
    """Algorithm 1 of the paper with its clipped loss, image by image."""
    step = attack.epsilon / 10 if attack.step is None else attack.step
    found = np.zeros(images.shape[1:])
    for order in orders:
        for at in range(0, len(order), attack.batch_size):
            total = np.zeros_like(found)
            for index in order[at : at + attack.batch_size].tolist():
                shown = (images[index] + torch.from_numpy(found)).clamp(0, 1)[None].requires_grad_()
                loss = nn.functional.cross_entropy(model(shown), labels[index][None])
                if loss < attack.most:
                    total += torch.autograd.grad(loss, shown)[0][0].numpy()
            found = np.clip(found + step * np.sign(total), -attack.epsilon, attack.epsilon)
    return found


@pytest.mark.parametrize("most", [9.0, 1.4])
def test_slowly_from_the_paper(images: Tensor, most: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 4)).eval().double()
    labels, attack = torch.arange(7) % 4, Universal(epochs=4, batch_size=3, most=most, step=0.01, epsilon=0.03)
    generator = generator_for(9)
    orders = [uniform((7,), generator, torch.device("cpu")).argsort() for _ in range(4)]
    with torch.no_grad():
        losses = nn.functional.cross_entropy(network(images.double()), labels, reduction="none")
    assert most > 5 or (0 < (losses > most).sum() < 7), "some images are cut off and some are not"
    found = attack.fit(network, images.double(), labels, generator_for(9))
    np.testing.assert_allclose(
        found.numpy(), slowly(attack, network, images.double(), labels, orders), rtol=0, atol=1e-12
    )


def test_chance_decides_the_order(images: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 4)).eval()
    attack = Universal(epochs=1, batch_size=2, step=0.02)
    first, again, other = (attack.fit(network, images, torch.arange(7) % 4, generator_for(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    several = attack.fit(network, images, torch.arange(7) % 4, [generator_for(0, str(at)) for at in range(7)])
    assert several.abs().max() > 0


def test_no_images_no_perturbation(weights: Tensor, images: Tensor) -> None:
    found = Universal().fit(linear(weights), images[:0], torch.zeros(0, dtype=torch.long), generator_for(0))
    assert torch.equal(found, torch.zeros(3, 6, 7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 10}, "Did you mean 10/255"),
        ({"epochs": 0}, "epochs must be a whole number, 1 or more"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"most": 0}, "most must be above 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BoundsError, match=message):
        Universal(**settings)


def test_fools_a_real_model_on_images_that_it_has_not_seen(data_folder: Path) -> None:
    """The VGG-16 of CIFAR-10: fitted on every other test image, tried on the rest, beside noise of the same size."""
    folder = data_folder / "vgg16_cifar10"
    model = gs.load(f"module:{folder / 'vgg16_cifar10.py'}:vgg16_cifar10", device="cpu")
    batch = (
        gs.open_source(folder / "test", class_names=model.class_names)
        .take(200, 0)
        .read(preprocessing=model.preprocessing)
    )
    images, labels = batch.images, batch.labels
    assert labels is not None
    found = Universal(epsilon=16 / 255, epochs=8, batch_size=20).fit(model, images[::2], labels[::2], generator_for(0))
    assert found.abs().max() <= 16 / 255 + 1e-7
    noise = 16 / 255 * (uniform(found.shape, generator_for(1), torch.device("cpu")) - 0.5).sign()
    clean, attacked, noisy = (
        (model((images[1::2] + change).clamp(0, 1)).argmax(1) != labels[1::2]).float().mean()
        for change in (torch.zeros_like(found), found, noise)
    )
    assert clean < 0.3
    assert attacked > max(0.6, 2 * float(noisy))
