"""FGSM and PGD beside Foolbox, an independent implementation: the same images to 1e-6."""

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gazeshift import models
from gazeshift.attacks._projections import random_start
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.attacks.pgd import Pgd
from gazeshift.seeds import generator_for

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def foolbox() -> ModuleType:
    with warnings.catch_warnings():  # Foolbox imports a name that SciPy has moved
        warnings.simplefilter("ignore", DeprecationWarning)
        import foolbox
    return foolbox


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
            nn.Linear(8 * 7 * 7, 10),
        )
    return layers.eval()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    images = (torch.rand((6, 3, 16, 16), generator=generator_for(0, "foolbox")) * 1.2 - 0.1).clamp(0, 1)
    return images, torch.tensor([0, 9, 3, 3, 1, 7])


def theirs(foolbox: ModuleType, attack: Any, network: nn.Module, batch: tuple[Tensor, Tensor], epsilon: float):
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return attack.run(model, batch[0], foolbox.criteria.Misclassification(batch[1]), epsilon=epsilon)


@pytest.mark.parametrize("epsilon", [0.5 / 255, 2 / 255, 0.1])
def test_fgsm(foolbox: ModuleType, network: nn.Module, batch: tuple[Tensor, Tensor], epsilon: float) -> None:
    expected = theirs(foolbox, foolbox.attacks.LinfFastGradientAttack(), network, batch, epsilon)
    attacked = Fgsm(epsilon=epsilon)(network, *batch, generator=generator_for(0))
    torch.testing.assert_close(attacked, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize(
    "attack",
    [Pgd(), Pgd(epsilon=0.1), Pgd(norm="l2", epsilon=0.5), Pgd(norm="l2", epsilon=3.0, step=1.0)],
    ids=lambda attack: f"{attack.norm} {attack.epsilon:.3g}",
)
def test_pgd(foolbox: ModuleType, network: nn.Module, batch: tuple[Tensor, Tensor], attack: Pgd, start: bool) -> None:
    """From the image, and from the same random start: Foolbox draws its own from the global state, so it gets ours."""
    kind = foolbox.attacks.LinfPGD if attack.norm == "linf" else foolbox.attacks.L2PGD
    other = kind(abs_stepsize=attack.step or attack.epsilon / 4, steps=10, random_start=start)
    first = random_start(batch[0], attack.epsilon, attack.norm, generator_for(5))
    other.get_random_start = lambda x0, _: type(x0)(first)
    expected = theirs(foolbox, other, network, batch, attack.epsilon)
    attacked = replace(attack, random_start=start)(network, *batch, generator=generator_for(5))
    torch.testing.assert_close(attacked, expected, rtol=0, atol=TOLERANCE)
    assert (network(attacked).argmax(1) != batch[1]).all(), "and it is an attack"


def test_l2_starts_have_the_same_lengths(foolbox: ModuleType) -> None:
    """Both draw uniformly from the ball: quartiles of the length agree."""
    from foolbox.attacks.gradient_descent_base import uniform_l2_n_balls

    images = torch.full((4000, 3, 1, 2), 0.5)
    ours = (random_start(images, 0.4, "l2", generator_for(3)) - images).flatten(1).norm(dim=1) / 0.4
    with torch.random.fork_rng():
        torch.manual_seed(3)
        import eagerpy

        drawn = uniform_l2_n_balls(eagerpy.astensor(images), 4000, 6).raw.norm(dim=1)
    share = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(ours.quantile(share), drawn.quantile(share), rtol=0, atol=0.015)


@pytest.fixture(scope="module")
def real() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """EfficientNet-Lite0 and two photographs in float64: in float32 the last bit of a projection turns signs later on,
    and after ten steps two correct programs differ by more than a step in a few values.
    """
    spec = importlib.util.find_spec("foolbox")
    assert spec is not None
    assert spec.origin is not None
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))[:2]
    photographs = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) / 255 for file in files]
    images = torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2)
    classifier = models.load("efficientnet_lite0", device="cpu")
    classifier.module.double()
    return classifier, (images, classifier(images).argmax(1))


def test_fgsm_on_a_real_model(foolbox: ModuleType, real: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    expected = theirs(foolbox, foolbox.attacks.LinfFastGradientAttack(), *real, 2 / 255)
    attacked = Fgsm(epsilon=2 / 255)(real[0], *real[1], generator=generator_for(0))
    torch.testing.assert_close(attacked, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_on_a_real_model(foolbox: ModuleType, real: tuple[nn.Module, tuple[Tensor, Tensor]], norm: str) -> None:
    attack = Pgd(norm=norm, epsilon=2 / 255 if norm == "linf" else 2.0, steps=4, random_start=False)
    kind = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    other = kind(rel_stepsize=0.25, steps=4, random_start=False)
    expected = theirs(foolbox, other, *real, attack.epsilon)
    attacked = attack(real[0], *real[1], generator=generator_for(0))
    torch.testing.assert_close(attacked, expected, rtol=0, atol=TOLERANCE)
    assert (real[0](attacked).argmax(1) != real[1][1]).all(), "and it is an attack"
