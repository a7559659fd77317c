"""What every attack must do. A new file in attacks/ is tested here by itself."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gazeshift import registry
from gazeshift.errors import MissingPackageError, ModelError
from gazeshift.models import Classifier, Preprocessing
from gazeshift.seeds import generator_for

# What a plain network needs: AoA by default looks at the layers of a Classifier (tests/parts/test_attacks_aoa.py).
NEEDED: dict[str, dict[str, Any]] = {"aoa": {"attention": "gradient_input"}}
# Settings beside these under which the laws must hold too.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "aoa": [{"diversity": True, "translation": 2.0}, {"average": "directions"}],
    "foolbox": [
        {"name": "LinfPGD", "settings": {"rel_stepsize": 0.2}},
        {"name": "L2PGD", "epsilon": 0.5, "settings": {"rel_stepsize": 0.2}},
    ],
    "mifgsm": [{"norm": "l2", "epsilon": 0.5}],
    "pgd": [{"norm": "l2", "epsilon": 0.5}, {"random_start": False}],
    "torchattacks": [{"name": "PGD"}, {"name": "PGDL2", "epsilon": 0.5}],
}
# Laws that a part does not keep, as its docstring says: a universal perturbation is one for the whole batch, and AoA
# follows another loss and stops at a size of its own.
EXCEPT = {
    "test_batch_equals_one_by_one": ("universal",),
    "test_comes_near_the_known_optimum": ("universal", "aoa", "adaptive"),
    "test_a_gradient_that_is_not_a_number_is_refused": ("adaptive",),
}


def listed() -> Iterator[Any]:
    """Every attack with its settings; one that stands for a package that is not installed is skipped."""
    for name in registry.names("attacks"):
        for variant in [{}, *VARIANTS.get(name, [])]:
            settings = NEEDED.get(name, {}) | variant
            case = " ".join([name, *(f"{key}={value}" for key, value in settings.items())])
            try:
                yield pytest.param((name, registry.build("attacks", name, **settings)), id=case)
            except MissingPackageError as missing:
                yield pytest.param((name, None), id=case, marks=pytest.mark.skip(reason=str(missing)))


CASES = list(listed())
FOLLOW_A_GRADIENT = [case for case in CASES if getattr(case.values[0][1], "norm", "skipped")]


def kept(request: pytest.FixtureRequest) -> Any:
    name, attack = request.param
    if name in EXCEPT.get(request.node.originalname, ()):
        pytest.skip(f"{name} says in its docstring why not")
    return attack


@pytest.fixture(params=CASES)
def attack(request: pytest.FixtureRequest) -> Any:
    return kept(request)


@pytest.fixture(params=FOLLOW_A_GRADIENT)
def bounded(request: pytest.FixtureRequest) -> Any:
    """Attacks that follow a gradient and stay in a ball; controls such as noise do not."""
    return kept(request)


@pytest.fixture
def network() -> nn.Sequential:
    return network_for(3)


def network_for(channels: int) -> nn.Sequential:
    """Convolution, batch norm, in-place ReLU, dropout and a linear head, in eval mode, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
    return layers.eval()


@pytest.fixture
def sure() -> Classifier:
    """A classifier that is sure of class 1 to 1 - 1e-5, in float32."""
    network = network_for(3)
    network[9].bias.data[1] += 12
    return Classifier(network, name="sure", preprocessing=Preprocessing(resize=None, crop=None))


class Linear(nn.Module):
    """Two classes whose logits differ by <weights, image>: the best attack in any ball is known."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


def drawn(shape: tuple[int, ...], name: str) -> Tensor:
    return torch.rand(shape, generator=generator_for(0, name))


def batch(n: int = 4, dtype: torch.dtype = torch.float32, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Images with black and white parts, so that clipping is at work, and labels."""
    images = (drawn((n, channels, 10, 12), "images") * 1.4 - 0.2).clamp(0, 1).to(dtype)
    return images, torch.arange(n) % 5


def run(attack: Any, model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    return attack(model, images, labels, generator=generator_for(seed, "law"))


def size(change: Tensor, norm: str) -> Tensor:
    change = change.double().flatten(1)
    return change.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(change, dim=1)


def test_stays_in_the_ball(bounded: Any, network: nn.Module) -> None:
    images, labels = batch()
    sizes = size(run(bounded, network, images, labels).double() - images.double(), bounded.norm)
    assert (sizes <= bounded.epsilon * (1 + 1e-6) + 6e-8).all()
    assert (sizes > 0.3 * bounded.epsilon).all(), "and makes use of it"


def test_stays_in_the_images_range(attack: Any, network: nn.Module) -> None:
    attacked = run(attack, network, *batch())
    assert attacked.min() == 0
    assert attacked.max() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_keeps_shape_type_and_device(attack: Any, network: nn.Module, dtype: torch.dtype) -> None:
    images, labels = batch(dtype=dtype)
    attacked = run(attack, network.to(dtype), images, labels)
    assert (attacked.shape, attacked.dtype, attacked.device) == (images.shape, dtype, images.device)
    assert attacked.isfinite().all()
    assert not attacked.requires_grad
    assert not torch.equal(attacked, images)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_images_are_attacked_as_hard_as_others(attack: Any, sure: Classifier, dtype: torch.dtype) -> None:
    """The result is that of the same images in float32, rounded; and it is in the ball, in the type that was asked.

    The gradients of a sure classifier vanish in float16, and a step of 8/255 leaves the ball in bfloat16.
    """
    images, labels = batch(dtype=dtype)
    half, full = run(attack, sure, images, labels), run(attack, sure, images.float(), labels)
    assert half.dtype == dtype
    assert ((half.double() - full.double()).abs() <= torch.finfo(dtype).eps / 2).all()
    assert 0 <= half.min() <= half.max() <= 1
    change = half.double() - images.double()
    if bounded_by(attack):
        assert (size(change, attack.norm) <= attack.epsilon * (1 + 1e-6) + 6e-8).all()
    allowed = size(full.double() - images.double(), "linf") + torch.finfo(dtype).eps / 2
    assert (size(change, "linf") <= allowed).all()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_takes_any_number_of_channels(attack: Any, channels: int) -> None:
    """And images that are not square, as in every law."""
    images, labels = batch(channels=channels)
    attacked = run(attack, network_for(channels), images, labels)
    assert attacked.shape == images.shape
    assert not torch.equal(attacked, images)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    if bounded_by(attack):
        sizes = size(attacked.double() - images.double(), attack.norm)
        assert (sizes <= attack.epsilon * (1 + 1e-6) + 6e-8).all()


def bounded_by(attack: Any) -> bool:
    return attack.norm is not None and attack.epsilon is not None


def test_touches_no_input_and_no_global_state(attack: Any, network: nn.Module) -> None:
    images, labels = batch()
    before, labels_before, random_state = images.clone(), labels.clone(), torch.get_rng_state()
    attacked = run(attack, network, images, labels)
    assert torch.equal(images, before)
    assert torch.equal(labels, labels_before)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert images.grad is None
    assert attacked.data_ptr() != images.data_ptr()


def test_same_seed_same_result(attack: Any, network: nn.Module) -> None:
    images, labels = batch()
    assert torch.equal(run(attack, network, images, labels), run(attack, network, images, labels))


def test_leaves_the_model_as_it_was(attack: Any, network: nn.Sequential) -> None:
    network[0].requires_grad_(requires_grad=False)
    network[3].train()
    network[9].bias.grad = torch.ones(5)
    network[4].register_forward_hook(lambda *_: None)
    before = state_of(network)
    run(attack, network, *batch())
    after = state_of(network)
    assert all(torch.equal(after[0].pop(name), value) for name, value in before[0].items())
    assert after[1:] == before[1:]
    assert torch.equal(network[9].bias.grad, torch.ones(5))


def state_of(network: nn.Module) -> tuple[Any, ...]:
    return (
        {name: value.clone() for name, value in network.state_dict().items()},
        [module.training for module in network.modules()],
        [weights.requires_grad for weights in network.parameters()],
        [weights.grad is None for weights in network.parameters()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in network.modules()],
    )


def test_batch_equals_one_by_one(attack: Any, network: nn.Module) -> None:
    """With a generator for each image. In float64, where a convolution's rounding does not turn a sign."""
    images, labels = batch(dtype=torch.float64)
    seeds = [generator_for(7, str(index)) for index in range(4)]
    together = attack(network.double(), images, labels, generator=seeds)
    for index in range(4):
        one = slice(index, index + 1)
        alone = attack(network, images[one], labels[one], generator=generator_for(7, str(index)))
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode, nullcontext])
def test_works_wherever_it_is_called(
    attack: Any, network: nn.Module, surroundings: Callable[[], AbstractContextManager[Any]]
) -> None:
    expected = run(attack, network, *batch())
    with surroundings():
        images, labels = batch()
        attacked = run(attack, network, images, labels)
        modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    with surroundings():
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert torch.equal(attacked, expected)
    if surroundings is torch.inference_mode:
        assert images.is_inference(), "the case is the one that was meant"


def test_modes_are_restored_after_an_exception(bounded: Any) -> None:
    def broken(images: Tensor) -> Tensor:
        raise KeyError("broken")

    with torch.inference_mode():
        with pytest.raises(KeyError, match="broken"):
            run(bounded, broken, *batch())
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_takes_images_that_are_not_contiguous(attack: Any, network: nn.Module) -> None:
    images, labels = batch()
    turned = images.to(memory_format=torch.channels_last)
    strided = images.repeat_interleave(2, dim=3)[..., ::2]
    assert not turned.is_contiguous()
    assert not strided.is_contiguous()
    network = network.double()
    expected = run(attack, network, images.double(), labels)
    for other in (turned, strided):
        torch.testing.assert_close(run(attack, network, other.double(), labels), expected, rtol=0, atol=1e-12)


def test_takes_images_with_a_history(attack: Any, network: nn.Module) -> None:
    images, labels = batch()
    expected = run(attack, network, images, labels)
    images.requires_grad_()
    attacked = run(attack, network, images * 1, labels)
    assert torch.equal(attacked, expected)
    assert not attacked.requires_grad


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
def test_takes_labels_of_any_whole_type(attack: Any, network: nn.Module, kind: torch.dtype) -> None:
    images, labels = batch()
    assert torch.equal(run(attack, network, images, labels.to(kind)), run(attack, network, images, labels))


def test_takes_an_empty_batch(attack: Any, network: nn.Module) -> None:
    assert run(attack, network, *batch(0)).shape == (0, 3, 10, 12)


def test_no_gradient_gives_finite_images(attack: Any) -> None:
    images, labels = batch()
    attacked = run(attack, Linear(torch.zeros(3, 10, 12)), images, labels % 2)
    assert attacked.isfinite().all()


def test_a_gradient_that_is_not_a_number_is_refused(bounded: Any) -> None:
    """NaN images would be classified at random and count as a success."""
    images, labels = batch()
    with pytest.raises(ModelError, match="1 of 4 images, first at index 2"):
        run(bounded, nan_in_image_2, images, labels % 2)


def nan_in_image_2(images: Tensor) -> Tensor:
    scores = images.sum((1, 2, 3)) * torch.tensor([1.0, 1.0, torch.nan, 1.0])
    return torch.stack([scores, -scores], 1)


@pytest.mark.parametrize("cut", [lambda seen: seen.detach(), lambda seen: seen.detach().requires_grad_()])
def test_a_model_without_gradient_is_refused(bounded: Any, network: nn.Module, cut: Callable[[Tensor], Tensor]) -> None:
    network.requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match="this model gives none"):
        run(bounded, lambda images: network(cut(images)), *batch())


@pytest.fixture
def grey_and_weights() -> Iterator[tuple[Tensor, Tensor]]:
    """Images that no epsilon clips, and the weights of a linear model; label 0 wants <weights, image> large."""
    images = drawn((4, 3, 10, 12), "grey") * 0.2 + 0.4
    return images, torch.randn((3, 10, 12), generator=generator_for(0, "weights")) * 0.05


def test_comes_near_the_known_optimum(bounded: Any, grey_and_weights: tuple[Tensor, Tensor]) -> None:
    """Of a linear model: epsilon |w|_1 in L-inf, epsilon |w|_2 in L2."""
    images, weights = grey_and_weights
    labels = torch.tensor([0, 1, 0, 1])
    change = run(bounded, Linear(weights), images, labels) - images
    toward = (change * weights).sum((1, 2, 3)) * (2 * labels - 1)
    best = bounded.epsilon * weights.flatten().norm(p=1 if bounded.norm == "linf" else 2)
    assert (toward >= 0.95 * best).all()
    assert (toward <= best * (1 + 1e-5)).all()
