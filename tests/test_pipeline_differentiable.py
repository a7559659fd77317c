"""Detector inputs with its graph: the numbers of the usual one, and their true gradient."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gazeshift import registry
from gazeshift.errors import BoundsError
from gazeshift.models._smooth_second_derivative import SmoothSecondDerivative
from gazeshift.pipeline import detector_inputs, look
from gazeshift.seeds import generator_for
from helpers.networks import Linear, Plain, Residual, classifier_of, images_of, seeded

CAMS = ("grad_cam", "layer_cam", "grad_cam_norm", "layer_cam_norm", "logits", "activation", "gradient")
DETECTORS = {
    "stability": {},
    "stability of maps": {"features": CAMS, "shifts": 1, "others": ("blur",)},
    "confidence": {"by": "energy"},
    "feature_squeezing": {"squeezers": ("blur", "shift")},
    "mahalanobis": {},
}


@pytest.fixture(params=DETECTORS.items(), ids=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Any:
    name, settings = request.param
    return registry.build("detectors", name.split()[0], **settings)


def draws(n: int) -> list[torch.Generator]:
    return [generator_for(0, "sight", str(at)) for at in range(n)]


def measured(classifier: Any, images: Tensor, detector: Any, **settings: Any) -> Tensor:
    return detector.measure(detector_inputs(classifier, images, detector, generator=draws(len(images)), **settings))


@pytest.mark.parametrize("kind", [Plain, Residual])
def test_the_numbers_are_the_usual_ones(detector: Any, kind: type) -> None:
    classifier, images = classifier_of(seeded(kind).double()), images_of(3).double()
    usual = measured(classifier, images, detector)
    live = measured(classifier, images.requires_grad_(), detector, differentiable=True)
    with SmoothSecondDerivative():
        bent = measured(classifier, images, detector, differentiable=True)
    torch.testing.assert_close(live.detach(), usual, rtol=0, atol=1e-5)
    torch.testing.assert_close(bent.detach(), usual, rtol=0, atol=1e-5)
    assert not usual.requires_grad
    assert live.requires_grad


def test_the_gradient_is_true(detector: Any) -> None:
    """Of a network without kinks, against central differences along random directions."""
    if any("jpeg" in change for change in getattr(detector, "changes", ())):
        detector = registry.build(
            "detectors", "stability:shifts=1,others=none"
        )  # rounding is passed as if there were none
    classifier, images = classifier_of(seeded(Linear).double()), images_of(2).double()
    generator = torch.Generator().manual_seed(3)
    with SmoothSecondDerivative():
        live = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(measured(classifier, live, detector, differentiable=True).sum(), live)
    for _ in range(3):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        step = 1e-6 * direction
        inside = images * 0.9 + 0.05 - images  # nothing is clipped
        high, low = (measured(classifier, images + inside + sign * step, detector).sum() for sign in (1, -1))
        with SmoothSecondDerivative():
            live = (images + inside).requires_grad_()
            (gradient,) = torch.autograd.grad(measured(classifier, live, detector, differentiable=True).sum(), live)
        assert ((high - low) / 2e-6).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-3, abs=1e-6)


def test_a_look_keeps_its_graph_only_if_asked() -> None:
    classifier, images = classifier_of(seeded(Plain)), images_of(2).requires_grad_()
    assert not look(classifier, images).maps("relus.0").requires_grad
    seen = look(classifier, images, differentiable=True)
    assert seen.maps("relus.0").requires_grad
    assert seen.logits.requires_grad
    with pytest.raises(BoundsError, match="2 whole numbers"):
        look(classifier, images, differentiable=True, target=torch.tensor([0]))
