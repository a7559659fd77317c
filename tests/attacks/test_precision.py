"""Half images: worked on in float32, given back in their type inside the ball; half networks keep their gradient."""

import pytest
import torch
from torch import Tensor, nn

from gazeshift.attacks._gradient import lift, loss_gradient
from gazeshift.attacks._precision import inward, returned
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.attacks.foolbox import Foolbox
from gazeshift.attacks.gaussian import Gaussian
from gazeshift.models import Classifier, Preprocessing
from gazeshift.seeds import generator_for

HALF = [torch.float16, torch.bfloat16]


def pixel(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)[None, None, None]


def sure_network() -> nn.Module:
    """Sure of class 0 to about 1 - 1e-5."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ).eval()
    network[4].bias.data[0] += 12
    return network


def sure() -> Classifier:
    return Classifier(sure_network(), name="sure", preprocessing=Preprocessing(resize=None, crop=None))


@pytest.fixture
def images() -> Tensor:
    return torch.rand((4, 3, 32, 32), generator=generator_for(0, "half"))


def test_by_hand_in_bfloat16() -> None:
    """From 0.5 to 1 its steps are 1/256."""
    clean = pixel(0.5, 0.5, 0.0, 1.0, dtype=torch.bfloat16)
    made = pixel(0.5 + 8.6 / 256, 0.5 + 7.6 / 256, 0.0, 1 - 8 / 255)
    assert (inward(made, clean).double() * 256).tolist() == [[[[128 + 8, 128 + 7, 0, 248]]]]
    nearest = [[[[128 + 9, 128 + 8, 0, 248]]]]
    assert (returned(made, clean, epsilon=None, norm=None).double() * 256).tolist() == nearest
    assert (returned(made, clean, epsilon=9 / 256, norm="linf").double() * 256).tolist() == nearest
    inside = [[[[128 + 8, 128 + 8, 0, 248]]]]
    assert (returned(made, clean, epsilon=8.5 / 256, norm="linf").double() * 256).tolist() == inside
    # The nearest have the length of (9, 8, 0, 8) / 256, which is 14.46 / 256.
    assert (returned(made, clean, epsilon=14.5 / 256, norm="l2").double() * 256).tolist() == nearest
    assert torch.equal(returned(made, clean, epsilon=14.4 / 256, norm="l2"), inward(made, clean))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_types_come_back_as_they_are(dtype: torch.dtype) -> None:
    made = pixel(0.6, 0.1)
    back = returned(made, pixel(0.5, 0.5, dtype=dtype), epsilon=0.01, norm="linf")
    assert back.dtype == dtype
    assert torch.equal(back, made.to(dtype))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("attack", [Fgsm(epsilon=8 / 255), Foolbox(name="FGSM", epsilon=8 / 255)])
def test_fgsm_moves_by_epsilon_in_any_type(images: Tensor, dtype: torch.dtype, attack: Fgsm | Foolbox) -> None:
    """In float16 the gradient of a sure model underflows, and in bfloat16 rounding leaves the ball."""
    images, labels = images.to(dtype), torch.zeros(4).long()
    change = attack(sure(), images, labels, generator=generator_for(0)).double() - images.double()
    step = torch.finfo(dtype).eps / 2  # between neighbours from 0.5 to 1
    assert 8 / 255 - step <= change.abs().amax() <= 8 / 255 + 1e-7
    free = (images > 8 / 255) & (images < 1 - 8 / 255)
    assert (change[free].abs() >= 8 / 255 - step).double().mean() > 0.99


@pytest.mark.parametrize("dtype", HALF)
def test_half_networks_keep_their_gradient(images: Tensor, dtype: torch.dtype) -> None:
    """A backward pass in float16 has nothing below 6e-8, which is where the gradients of a sure network lie."""
    labels = torch.zeros(4).long()
    exact = loss_gradient(sure_network().double(), images.double(), labels)
    assert exact.abs().max() < 1e-6
    half = loss_gradient(sure().to(dtype), images, labels)
    assert half.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(half.flatten().double(), exact.flatten(), dim=0) > 0.99
    seen = Foolbox(name="FGSM", epsilon=8 / 255)(sure().to(dtype), images, labels, generator=generator_for(0))
    assert ((seen - images).sign() == exact.sign())[(images > 0.1) & (images < 0.9)].double().mean() > 0.95


def test_functions_see_the_type_that_they_were_given(images: Tensor) -> None:
    seen, network = set(), sure_network().bfloat16()

    def model(shown: Tensor) -> Tensor:
        seen.add(shown.dtype)
        return network(shown)

    attacked = Fgsm()(model, images.bfloat16(), torch.zeros(4).long(), generator=generator_for(0))
    assert seen == {torch.bfloat16}
    assert torch.equal(attacked, Fgsm()(network, images.bfloat16(), torch.zeros(4).long(), generator=generator_for(0)))


def test_noise_keeps_its_size_in_half_precision() -> None:
    """It has no ball, so it is rounded to the nearest; always towards the clean image it would lose a fifth."""
    grey = torch.full((2, 3, 64, 64), 0.625, dtype=torch.bfloat16)
    noisy = Gaussian(std=2 / 255)(sure(), grey, torch.zeros(2).long(), generator=generator_for(0))
    assert (noisy.double() - 0.625).std() == pytest.approx(2 / 255, rel=0.05)


def test_lift_is_a_power_of_two() -> None:
    sizes = torch.tensor([1e-6, 0.3, 0.5, 1.0, 0.0, torch.nan, 1e-40])
    scales = lift(sizes)
    assert (torch.frexp(scales).mantissa == 0.5).all()
    assert (sizes[:4] * scales[:4]).tolist() == pytest.approx([1e-6 * 2**19, 0.6, 0.5, 0.5])
    assert scales[4:6].tolist() == [1, 1]
    assert scales.isfinite().all()
