"""CAMs by hand: four pixels, the acceptance checks 8, 9 and 14 of the specification, poles and settings."""

import pytest
import torch
from torch import Tensor

from gazeshift.cams import ActivationsAndGradients
from gazeshift.errors import SettingsError
from gazeshift.pipeline import look
from gazeshift.registry import build, find
from helpers.networks import CLASSES, Linear, Plain, Residual, classifier_of, images_of, seeded

NORMS = ("none", "positive", "all")
# One channel with S = 10. Denominators 2 + S g are 3, 1, 2 and 6.
ACTIVATIONS = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
GRADIENTS = torch.tensor([[[[0.1, -0.1], [0.0, 0.4]]]])
LAYER_CAM = torch.tensor([[[0.1, 0.0], [0.0, 1.6]]])
WEIGHTS = {"none": 0.1 / 3 + 0.4 / 6, "positive": 0.1 / (1 / 3 + 1 / 6), "all": 0.1 / (1 / 3 + 1 / 6 + 1)}


def drawn(cam: str, activations: Tensor = ACTIVATIONS, gradients: Tensor = GRADIENTS) -> Tensor:
    return build("cams", cam)(ActivationsAndGradients(activations, gradients))


def random_pair(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    activations, gradients = torch.randn((2, *shape), generator=generator)
    return activations.relu(), gradients / 10


def normalised(maps: Tensor) -> Tensor:
    positive = maps.clamp_min(0)
    return positive / positive.amax((1, 2), keepdim=True)


def test_grad_cam_by_hand():
    torch.testing.assert_close(drawn("grad_cam"), 0.1 * ACTIVATIONS[:, 0])


def test_layer_cam_by_hand():
    torch.testing.assert_close(drawn("layer_cam"), LAYER_CAM)


@pytest.mark.parametrize("norm", NORMS)
def test_grad_cam_pp_by_hand(norm):
    torch.testing.assert_close(drawn(f"grad_cam_pp:alpha_norm={norm}"), WEIGHTS[norm] * ACTIVATIONS[:, 0])


@pytest.mark.parametrize("norm", NORMS)
def test_noise_cam_by_hand(norm):
    torch.testing.assert_close(drawn(f"noise_cam:alpha_norm={norm}"), WEIGHTS[norm] * ACTIVATIONS[:, 0] - LAYER_CAM)


def test_cam_by_hand():
    """Two channels whose gradients are w / 4 at each of the four pixels."""
    activations = torch.cat([ACTIVATIONS, ACTIVATIONS.flip(3)], 1)
    gradients = (torch.tensor([2.0, -3.0]) / 4)[None, :, None, None].expand(1, 2, 2, 2)
    torch.testing.assert_close(drawn("cam", activations, gradients), torch.tensor([[[-4.0, 1.0], [-6.0, -1.0]]]))


def test_cam_is_undefined_where_gradients_vary():
    assert drawn("cam").isnan().all()


def test_the_defaults_are_the_papers_formula_and_the_positive_normalisation():
    assert find("cams", "grad_cam_pp")().alpha_norm == "none"
    assert find("cams", "noise_cam")().alpha_norm == "positive"


@pytest.mark.parametrize("cam", ["grad_cam_pp", "noise_cam"])
def test_none_is_a_name_that_can_be_written(cam):
    assert build("cams", f"{cam}:alpha_norm=none") == find("cams", cam)(alpha_norm="none")
    with pytest.raises(SettingsError, match="none, positive or all, got 'some'"):
        build("cams", f"{cam}:alpha_norm=some")


@pytest.mark.parametrize("norm", NORMS)
def test_a_pole_leaves_the_sum_and_is_counted(norm):
    """S = -10: the denominators of 0.2 and 0.20005 are poles, that of 0.2002 is -0.002 and stays; 0.1 has 1."""
    gradients = torch.tensor([[[[0.2, 0.20005], [0.2002, 0.1]]], [[[0.1, 0.1], [-0.2, 0.0]]]], dtype=torch.float64)
    seen = ActivationsAndGradients(-ACTIVATIONS.double().expand(2, 1, 2, 2), gradients)
    alphas = torch.tensor([[1 / -0.002, 1.0], [2.0, 0.0]], dtype=torch.float64)
    signed = [alphas[0].sum(), 2 + 1 / 4]  # the third pixel of the second image: 2 + 10 x 0.2
    pulls = [-0.2002 / 0.002 + 0.1, 0.2]
    totals = {"none": [1, 1], "positive": alphas.sum(1).tolist(), "all": signed}[norm]
    weights = torch.tensor([pull / total for pull, total in zip(pulls, totals, strict=True)], dtype=torch.float64)
    maps = build("cams", f"grad_cam_pp:alpha_norm={norm}")(seen)
    torch.testing.assert_close(maps, weights[:, None, None] * -ACTIVATIONS[:, 0].double(), rtol=1e-9, atol=0)
    assert seen.poles.tolist() == [2, 0]


def test_a_pole_at_a_negative_gradient_leaves_the_sum_of_all():
    gradients = torch.tensor([[[[0.1, -0.2], [0.0, 0.4]]]])
    assert drawn("grad_cam_pp:alpha_norm=all", gradients=gradients).isfinite().all()
    torch.testing.assert_close(drawn("grad_cam_pp:alpha_norm=all", gradients=gradients), 0.2 * ACTIVATIONS[:, 0])


def test_half_precision_is_summed_in_single():
    """40,000 activations of 10 sum to more than float16 can hold."""
    activations = torch.full((1, 1, 200, 200), 10.0, dtype=torch.float16)
    gradients = torch.full_like(activations, 2**-14)
    for cam in ("grad_cam", "grad_cam_pp", "layer_cam", "noise_cam"):
        maps = drawn(cam, activations, gradients)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, drawn(cam, activations.float(), gradients.float()))


# Check 8


def test_grad_cam_of_pooling_and_a_linear_head_is_cam_over_the_pixels():
    network, images = seeded(Plain), images_of(3)
    target = torch.tensor([0, 3, 5])
    evidence = look(classifier_of(network), images, layers="relus.2", cams=["cam", "grad_cam"], target=target)
    activations = activations_of_last_relu(network, images)
    by_head = torch.einsum("nk,nkhw->nhw", network.head.weight[target], activations).detach()
    torch.testing.assert_close(evidence.maps("relus.2", "cam"), by_head)
    torch.testing.assert_close(evidence.maps("relus.2", "grad_cam").relu(), by_head.relu() / activations[0, 0].numel())


def activations_of_last_relu(network: Plain, images: Tensor) -> Tensor:
    kept = []
    handle = network.relus[2].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    network(images)
    handle.remove()
    return kept[0]


def test_cam_is_undefined_before_pooling_and_below_a_hidden_layer():
    plain = look(classifier_of(seeded(Plain)), images_of(2), layers="convs", cams="cam")
    assert [plain.maps(layer, "cam").isnan().all().item() for layer in plain.layers] == [True, True, False]
    residual = look(classifier_of(seeded(Residual)), images_of(2), layers="trunk", cams="cam")
    assert all(residual.maps(layer, "cam").isnan().all() for layer in residual.layers)


# Check 9


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e3])
@pytest.mark.parametrize(
    ("cam", "invariant"), [("grad_cam", True), ("layer_cam", True), ("grad_cam_pp", False), ("noise_cam", False)]
)
def test_which_cams_depend_on_the_scale_of_the_score(cam, invariant, factor):
    activations, gradients = random_pair(2, 8, 6, 6)
    once, scaled = (normalised(drawn(cam, activations, c * gradients)) for c in (1.0, factor))
    assert torch.allclose(once, scaled, rtol=1e-4, atol=1e-5) == invariant


# Check 14


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("make", [Plain, Residual, Linear])
def test_noise_cam_is_grad_cam_pp_minus_layer_cam(make, norm):
    cams = [f"grad_cam_pp:alpha_norm={norm}", f"noise_cam:alpha_norm={norm}", "layer_cam"]
    evidence = look(classifier_of(seeded(make)), images_of(3), layers="convs", cams=cams)
    for trace in evidence.traces.values():
        plus_plus, noise, layer_cam = (trace.maps[cam] for cam in cams)
        largest = max(plus_plus.abs().max(), layer_cam.abs().max())
        assert (noise - (plus_plus - layer_cam)).abs().max() <= 1e-6 * largest


@pytest.mark.parametrize(
    "cam", ["layer_cam", *(f"{c}:alpha_norm={n}" for c in ("grad_cam_pp", "noise_cam") for n in NORMS)]
)
def test_without_a_positive_gradient_the_map_is_blank(cam):
    activations, gradients = random_pair(3, 5, 4, 4)
    assert (drawn(cam, activations, -gradients.abs()) == 0).all()
    assert (drawn(cam, activations, 0 * gradients) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [2, 7, 13, 56])
def test_a_constant_positive_gradient_gives_a_map_that_is_exactly_blank(norm, sign, size, dtype):
    """With normalised alphas w = g, so nothing is left; rounding must not leave a pattern for min-max to blow up."""
    activations, gradients = random_pair(2, 64, size, size)
    constant = gradients.abs().amax((2, 3), keepdim=True).expand_as(gradients)
    maps = drawn(f"noise_cam:alpha_norm={norm}", sign * activations.to(dtype), constant.to(dtype))
    assert bool((maps == 0).all()) == (norm != "none")


@pytest.mark.parametrize("norm", ["positive", "all"])
def test_so_noise_cam_is_blank_where_cam_is_defined(norm):
    """All gradients before average pooling are constant: positive ones cancel, negative ones never counted."""
    cam = f"noise_cam:alpha_norm={norm}"
    evidence = look(classifier_of(seeded(Plain)), images_of(CLASSES), cams=cam, target=torch.arange(CLASSES))
    assert (evidence.maps("relus.2", cam) == 0).all()
    assert (evidence.maps("relus.1", cam) != 0).any()
