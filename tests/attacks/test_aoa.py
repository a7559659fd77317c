"""AoA: one step against differences of a loss written anew, its stops, its blank maps, and a real model."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import gazeshift as gs
from gazeshift import models
from gazeshift.attacks._input_diversity import diverse, smoothed
from gazeshift.attacks.aoa import Aoa
from gazeshift.errors import BoundsError, ModelError, UnknownNameError
from gazeshift.seeds import generator_for

SIDE = 5
ATTENTIONS = ("gradient_input", "grad_cam", "layer_cam")


class Smooth(nn.Module):
    """Twice differentiable everywhere, with maps that are neither blank nor positive everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        seen = functional.gelu(self.second(functional.gelu(self.first(images) * 4)))
        return self.head(functional.softplus(seen.mean((2, 3)) * 5)) * 4


@pytest.fixture(scope="module")
def classifier() -> models.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = Smooth().eval().double()
    return models.Classifier(network, name="smooth", preprocessing=models.Preprocessing(resize=None, crop=SIDE))


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    images = torch.rand((3, 3, SIDE, SIDE), generator=generator_for(0, "aoa"), dtype=torch.float64)
    return images * 0.8 + 0.1, torch.tensor([0, 1, 3])


def written_anew(classifier: models.Classifier, image: np.ndarray, label: int, attention: str) -> float:
    """The loss from SPEC 2.4 in NumPy, with first gradients from `trace` or one backward pass."""
    shown = torch.from_numpy(image)[None]
    logits = classifier(shown)[0].numpy()
    order = [int(index) for index in np.argsort(-logits) if index != label]
    log_probabilities = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    sizes = []
    for index in (label, order[0]):
        if attention == "gradient_input":
            seen = shown.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(classifier(seen)[0, index], seen)
            drawn = (gradient * shown)[0].numpy().sum(0)
        else:
            evidence = gs.look(classifier, shown, layers="convs", cams=attention, target=torch.tensor([index]))
            drawn = evidence.maps(evidence.layers[-1], attention)[0].numpy()
        sizes.append(np.maximum(drawn, 0).mean())
    return float(np.log(sizes[0]) - np.log(sizes[1]) + log_probabilities[label])


def slope(classifier: models.Classifier, image: np.ndarray, label: int, attention: str) -> np.ndarray:
    """Gradient by central differences."""
    found = np.zeros_like(image)
    for place in np.ndindex(image.shape):
        step = np.zeros_like(image)
        step[place] = 1e-5
        up, down = (written_anew(classifier, image + sign * step, label, attention) for sign in (1, -1))
        found[place] = (up - down) / 2e-5
    return found


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("average", ["gradients", "directions"])
def test_one_step_is_the_one_written_anew(
    classifier: models.Classifier, batch: tuple[Tensor, Tensor], attention: str, average: str
) -> None:
    attack = Aoa(attention=attention, steps=1, average=average)
    images, labels = batch_of_two(batch)
    attacked = attack(classifier, images, labels, generator=generator_for(0)).numpy()
    for image, label, made in zip(images.numpy(), labels.tolist(), attacked, strict=True):
        slopes = [slope(classifier, image * scale, label, attention) for scale in (1, 0.5, 0.25, 0.125)]
        slopes.insert(0, slopes[0])
        if average == "directions":
            slopes = [one / np.abs(one).mean() for one in slopes]
        direction = np.mean(slopes, axis=0)
        if average == "gradients":
            direction = direction / np.abs(direction).mean()
        moved = np.clip(image - 2 / 255 * direction, image - 25.5 / 255, image + 25.5 / 255).clip(0, 1)
        np.testing.assert_allclose(made, moved, rtol=0, atol=2e-6)
        assert np.abs(made - image).mean() > 0.8 / 255


def test_the_step_has_the_mean_absolute_size_asked_for(
    classifier: models.Classifier, batch: tuple[Tensor, Tensor]
) -> None:
    made = Aoa(steps=1, step=0.01, epsilon=0.9)(classifier, *batch, generator=generator_for(0))
    torch.testing.assert_close(
        (made - batch[0]).abs().mean((1, 2, 3)), torch.full((3,), 0.01).double(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_image_stops_just_above_the_root_mean_square(
    classifier: models.Classifier, batch: tuple[Tensor, Tensor], attention: str
) -> None:
    attack = Aoa(attention=attention, step=0.2 / 255, stop=3 / 255)
    run = attack.run(classifier, *batch, generator=generator_for(0))
    sizes = (run.images - batch[0]).square().mean((1, 2, 3)).sqrt()
    assert (sizes > 3 / 255).all()
    assert (run.steps > 2).all()
    for at, steps in enumerate(run.steps.tolist()):
        one = slice(at, at + 1)
        before = replace(attack, steps=steps - 1).run(
            classifier, batch[0][one], batch[1][one], generator=generator_for(0)
        )
        assert (before.images - batch[0][one]).square().mean().sqrt() <= 3 / 255
        torch.testing.assert_close(
            attack(classifier, batch[0][one], batch[1][one], generator=generator_for(0)),
            run.images[one],
            rtol=0,
            atol=1e-12,
        )
    if attention == "gradient_input":
        assert len(set(run.steps.tolist())) > 1, "images froze while others moved"
    assert not run.blank.any()
    assert not run.halted.any()


def test_the_ball_holds(classifier: models.Classifier, batch: tuple[Tensor, Tensor]) -> None:
    made = Aoa(epsilon=3 / 255, stop=2.5 / 255)(classifier, *batch, generator=generator_for(0))
    change = (made - batch[0]).abs()
    assert change.max() <= 3 / 255 + 1e-12
    assert (change > 3 / 255 - 1e-9).any()


def test_the_loss_goes_down(classifier: models.Classifier, batch: tuple[Tensor, Tensor]) -> None:
    for attention in ATTENTIONS:
        made = Aoa(attention=attention)(classifier, *batch, generator=generator_for(0))
        for image, label, after in zip(batch[0].numpy(), batch[1].tolist(), made.numpy(), strict=True):
            wanted = written_anew(classifier, image, label, attention)
            assert written_anew(classifier, after, label, attention) < wanted - 0.1


def test_a_blank_map_leaves_the_probability_alone(batch: tuple[Tensor, Tensor]) -> None:
    """Two classes with logits -a and -b: gradient times image is negative everywhere, for image 1 alone."""
    weights = torch.linspace(1, 2, 3 * SIDE * SIDE, dtype=torch.float64).view(3, SIDE, SIDE)

    def model(images: Tensor) -> Tensor:
        sums = (images * weights).sum((1, 2, 3)) / 10
        sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)[: len(images)]
        return torch.stack([sign * sums, 2 * sign * sums], 1)

    labels = torch.zeros(3, dtype=torch.long)
    run = Aoa(attention="gradient_input", steps=1, scales=0).run(model, batch[0], labels, generator=generator_for(0))
    assert run.blank.tolist() == [False, True, False]
    # log p_0 = -log(1 + exp(z_1 - z_0)), z_1 - z_0 = -sum: descending on it raises z_1 - z_0, so the image darkens.
    direction = weights / weights.mean()
    wanted = (batch[0][1] - 2 / 255 * direction).clamp(0, 1)
    torch.testing.assert_close(run.images[1], wanted, rtol=0, atol=1e-9)
    assert run.images.isfinite().all()


def test_a_blank_map_stays_ended(classifier: models.Classifier, batch: tuple[Tensor, Tensor]) -> None:
    """Once blank, an image never returns to its attention term: from then on all steps are those of log p_y."""

    def offset(images: Tensor) -> Tensor:  # the maps are blank for bright images only
        bright = (images.mean((1, 2, 3), keepdim=True) > 0.3).double()
        return classifier(images) - 1000 * bright[:, :, 0, 0] * images.sum((1, 2, 3))[:, None]

    run = Aoa(attention="gradient_input", steps=2).run(offset, *batch, generator=generator_for(0))
    assert run.blank.all()
    first = run_of_probability(offset, *batch, steps=1, blank_from_first=True)
    torch.testing.assert_close(run.images, run_of_probability(offset, first, batch[1], steps=1, clean=batch[0]))


def run_of_probability(
    model: Any,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    clean: Tensor | None = None,
    blank_from_first: bool = False,
) -> Tensor:
    """Steps of the attack in which the darker copies keep their attention term (first step) or nothing does."""
    clean = images if clean is None else clean
    for _ in range(steps):
        total = torch.zeros_like(images)
        for scale, count in ((1.0, 2), (0.5, 1), (0.25, 1), (0.125, 1)):
            seen = (images * scale).requires_grad_()
            logits = model(seen)
            loss = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
            bright = seen.detach().mean((1, 2, 3)) > 0.3
            if blank_from_first:
                loss = loss + torch.where(bright, 0, attention_of(model, seen, logits, labels))
            total += count * torch.autograd.grad(loss.sum(), seen)[0]
        moved = images - 2 / 255 * total / total.abs().mean((1, 2, 3), keepdim=True)
        images = moved.clamp(clean - 25.5 / 255, clean + 25.5 / 255).clamp(0, 1)
    return images


def attention_of(model: Any, seen: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    others = logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
    sizes = []
    for classes in (labels, others):
        score = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, seen, create_graph=True)
        size = (gradient * seen).sum(1).relu().mean((1, 2))
        sizes.append(torch.where(size > 0, size, 1).log())
    return sizes[0] - sizes[1]


def test_a_gradient_that_becomes_nan_stops_its_image(batch: tuple[Tensor, Tensor]) -> None:
    weights = torch.linspace(-1, 2, 3 * SIDE * SIDE, dtype=torch.float64).view(3, SIDE, SIDE)

    def model(images: Tensor) -> Tensor:
        sums = (images * weights).sum((1, 2, 3))
        broken = torch.where(images.amax((1, 2, 3)) == 1, torch.nan, 1.0)
        return torch.stack([sums * broken, -sums], 1)

    images = batch[0].clone()
    images[1, 0, 0, 0] = 0.999  # its first step, a move up, reaches 1
    labels = torch.zeros(3, dtype=torch.long)
    run = Aoa(attention="gradient_input").run(model, images, labels, generator=generator_for(0))
    assert run.halted.tolist() == [False, True, False]
    assert run.steps[1] == 1
    assert run.images.isfinite().all()
    one = slice(1, 2)
    first = Aoa(attention="gradient_input", steps=1)(model, images[one], labels[one], generator=generator_for(0))
    torch.testing.assert_close(run.images[one], first)


def test_without_a_gradient_the_image_stays(batch: tuple[Tensor, Tensor]) -> None:
    run = Aoa(attention="gradient_input").run(
        lambda images: images.sum((2, 3))[:, :2] * 0, *batch_of_two(batch), generator=generator_for(0)
    )
    assert run.halted.all()
    assert run.steps.tolist() == [0, 0]
    assert torch.equal(run.images, batch[0][:2])


def batch_of_two(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch[0][:2], batch[1][:2]


def test_the_smoothing_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    gradient = torch.randn((2, 3, 20, 22), generator=generator_for(1), dtype=torch.float64)
    for sigma in (1.0, 2.33, 5.0):
        wanted = gaussian_filter(gradient.numpy(), sigma, axes=(2, 3), mode="constant", radius=7)
        np.testing.assert_allclose(smoothed(gradient, sigma).numpy(), wanted, rtol=0, atol=1e-12)


def test_diverse_copies_are_smaller_on_black_and_lead_back_to_the_image() -> None:
    images = torch.rand((3, 3, 20, 30), generator=generator_for(2), dtype=torch.float64) * 0.5 + 0.5
    draws = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.999, 0.999], [0.9999, 0.5, 0.5]])
    seen, shown = diverse(draws)(images)
    inside = [(one > 0).all(0).nonzero() for one in shown.detach()]
    boxes = [(*place.amin(0).tolist(), *(place.amax(0) + 1).tolist()) for place in inside]
    assert boxes == [(0, 0, 18, 27), (1, 2, 20, 30), (0, 0, 20, 30)]
    wanted = functional.interpolate(images[:1], (18, 27), mode="bilinear")
    torch.testing.assert_close(shown[:1, :, :18, :27].detach(), wanted)
    (gradient,) = torch.autograd.grad(shown[:, :, 5, 5].sum(), seen)
    middles = [place[:, 1:].double().mean(0).round().tolist() for place in (one.nonzero() for one in gradient.abs())]
    assert middles[0] == [6, 6]  # pixel 5 of 18 is pixel 5.6 of 20
    assert middles[2] == [5, 5]


@pytest.mark.parametrize(
    "options", [{"diversity": True}, {"translation": 2.33}, {"diversity": True, "translation": 1.0}]
)
def test_the_options_do_not_depend_on_the_batch(
    classifier: models.Classifier, batch: tuple[Tensor, Tensor], options: dict[str, Any]
) -> None:
    attack = Aoa(step=1 / 255, stop=4 / 255, **options)
    draws = [generator_for(0, str(at)) for at in range(3)]
    together = attack(classifier, *batch, generator=draws)
    assert not torch.allclose(together, Aoa(step=1 / 255, stop=4 / 255)(classifier, *batch, generator=generator_for(0)))
    for at in range(3):
        one = slice(at, at + 1)
        alone = attack(classifier, batch[0][one], batch[1][one], generator=generator_for(0, str(at)))
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-12)


def test_leaves_the_classifier_as_it_was(classifier: models.Classifier, batch: tuple[Tensor, Tensor]) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with torch.no_grad():
        Aoa(steps=2)(classifier, *batch, generator=generator_for(0))
        assert not torch.is_grad_enabled()
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(weights.grad is None for weights in classifier.parameters())


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"attention": "gradcam"}, UnknownNameError, "no attention named 'gradcam'. Did you mean 'grad_cam'"),
        ({"average": "means"}, UnknownNameError, "no average named 'means'"),
        ({"epsilon": 25.5}, BoundsError, "Did you mean 25.5/255"),
        ({"step": 0}, BoundsError, "step must be above 0"),
        ({"stop": 7}, BoundsError, "Did you mean 7/255"),
        ({"scales": -1}, BoundsError, "scales must be a whole number, 0 or more"),
        ({"scales": 1.5}, BoundsError, "scales must be a whole number"),
        ({"steps": 0}, BoundsError, "steps must be"),
        ({"translation": 0}, BoundsError, "translation must be above 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Aoa(**settings)


def test_maps_at_a_layer_need_a_classifier(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ModelError, match=r"got Smooth\. Wrap it"):
        Aoa()(Smooth(), *batch, generator=generator_for(0))


@pytest.fixture(scope="module")
def real() -> tuple[models.Classifier, Tensor, Tensor]:
    spec = importlib.util.find_spec("foolbox")
    assert spec is not None
    assert spec.origin is not None
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))[:2]
    photographs = [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) / 255 for file in files]
    images = torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2)
    found = models.load("efficientnet_lite0", device="cpu")
    return found, images, found(images).argmax(1)


@pytest.mark.parametrize("attention", ["grad_cam", "layer_cam"])
def test_moves_the_attention_of_a_real_model(real: tuple[models.Classifier, Tensor, Tensor], attention: str) -> None:
    classifier, images, labels = real
    found = gs.attack(classifier, images, labels, by=Aoa(attention=attention))
    assert found.success.all()
    assert ((found.rms > 7 / 255) & (found.rms < 9 / 255)).all()
    assert (found.linf <= 25.5 / 255 + 1e-6).all()
    rival = found.clean_logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
    sizes = [
        [attended(classifier, shown, classes, attention) for classes in (labels, rival)]
        for shown in (images, found.images)
    ]
    assert (sizes[1][0] < 0.6 * sizes[0][0]).all(), "less attention to the label"
    assert (sizes[1][0] / sizes[1][1] < sizes[0][0] / sizes[0][1]).all()
    assert found.backwards > found.forwards > 3 * 4


def attended(classifier: models.Classifier, images: Tensor, classes: Tensor, attention: str) -> Tensor:
    evidence = gs.look(classifier, images, layers="convs", cams=attention, target=classes)
    return evidence.maps(evidence.layers[-1], attention).relu().mean((1, 2))


def test_can_be_asked_for_by_name(real: tuple[models.Classifier, Tensor, Tensor]) -> None:
    classifier, images, labels = real
    named = gs.attack(classifier, images[:1], labels[:1], by="aoa:steps=1,scales=0,attention=layer_cam")
    built = Aoa(steps=1, scales=0, attention="layer_cam")(
        classifier, images[:1], labels[:1], generator=generator_for(0)
    )
    assert torch.equal(named.images, built)
