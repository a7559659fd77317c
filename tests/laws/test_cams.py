"""What every CAM keeps. The folder is listed, so a new file gets these laws by itself."""

from collections.abc import Callable
from dataclasses import is_dataclass

import pytest
import torch
from torch import Tensor, nn

from gazeshift import cams, registry
from gazeshift.cams import ActivationsAndGradients, _activations, draw
from gazeshift.pipeline import look
from gazeshift.records import Evidence, Layer
from helpers.fake_mps import fake_mps
from helpers.networks import Linear, Plain, Residual, classifier_of, images_of, seeded

NAMES = registry.names("cams")
SETTINGS = {"alpha_norm": ("none", "positive", "all")}
SPECS = [
    *NAMES,
    *(
        f"{name}:{setting}={value}"
        for name in NAMES
        for setting in registry.setting_names(registry.find("cams", name))
        for value in SETTINGS[setting]
    ),
]
SHAPE = (4, 6, 5, 7)
LAYER = Layer(name="layer", kinds=frozenset(), shape=SHAPE[1:], module="layer")
NETWORKS: dict[str, Callable[..., nn.Module]] = {"plain": Plain, "residual": Residual, "linear": Linear}

every = pytest.mark.parametrize("spec", SPECS)
every_network = pytest.mark.parametrize("network", NETWORKS)


def random_pair(*, seed: int = 0, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    """Activations, half of whose channels sum to less than 0, and gradients; those of the first image are constant."""
    generator = torch.Generator().manual_seed(seed)
    activations, gradients = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    activations[:, ::2] = activations[:, ::2].abs()
    gradients[:1] = gradients[:1, :, :1, :1]
    return [activations.to(dtype), gradients.to(dtype)]


def drawn(spec: str, activations: Tensor, gradients: Tensor) -> Tensor:
    return draw({spec: registry.build("cams", spec)}, LAYER, activations, gradients).maps[spec]


def alike(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    """Equal to within rounding, image by image; undefined at the same places."""
    assert found.shape == wanted.shape
    assert (found.isnan() == wanted.isnan()).all()
    for one, other in zip(found.nan_to_num(), wanted.nan_to_num(), strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def looked(network: nn.Module, images: Tensor, **settings: object) -> Evidence:
    """In float64, where another order of sums shows at 1e-9 only."""
    return look(classifier_of(network.double()), images, **{"layers": "convs", "cams": SPECS} | settings)


def same_maps(found: Evidence, wanted: Evidence, spec: str, *, exactly: bool = False) -> None:
    for layer in wanted.layers:
        alike(found.maps(layer, spec), wanted.maps(layer, spec), 0.0 if exactly else 1e-9)


def test_the_family_is_complete():
    assert {"cam", "grad_cam", "grad_cam_pp", "layer_cam", "noise_cam"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name):
    part = registry.find("cams", name)
    assert part.__name__.lower() == name.replace("_", "")
    assert part.__doc__.strip()
    if is_dataclass(part):
        assert part.__dataclass_params__.frozen
        assert all(field.kw_only for field in part.__dataclass_fields__.values())


@every
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_gives_a_map_of_the_layers_size(spec, given, wanted):
    maps = drawn(spec, *random_pair(dtype=given))
    assert (tuple(maps.shape), maps.dtype) == ((4, 5, 7), wanted)
    assert maps[0].isfinite().all()
    alike(maps, drawn(spec, *(values.to(wanted) for values in random_pair(dtype=given))))


@every
@pytest.mark.parametrize("shape", [(0, 6, 5, 7), (1, 1, 1, 1), (2, 1, 3, 1), (1, 300, 2, 2)])
def test_no_size_is_special(spec, shape):
    assert tuple(drawn(spec, *random_pair(shape=shape)).shape) == (shape[0], *shape[2:])


@every
def test_twice_is_the_same_to_the_bit_and_inputs_stay_as_they_are(spec):
    activations, gradients = random_pair()
    before = activations.clone(), gradients.clone()
    first, second = (drawn(spec, activations, gradients) for _ in range(2))
    assert torch.equal(first.nan_to_num(), second.nan_to_num())
    assert torch.equal(activations, before[0])
    assert torch.equal(gradients, before[1])


@every
def test_a_batch_equals_one_by_one_in_any_order(spec):
    pair = random_pair(dtype=torch.float64)
    together = drawn(spec, *pair)
    alone = [drawn(spec, *(values[index : index + 1] for values in pair)) for index in range(4)]
    alike(torch.cat(alone), together, 1e-12)
    alike(drawn(spec, *(values.flip(0) for values in pair)), together.flip(0), 1e-12)


@every
def test_it_does_not_matter_what_else_is_drawn(spec):
    pair = random_pair()
    alone = draw({spec: registry.build("cams", spec)}, LAYER, *pair)
    for others in (SPECS, SPECS[::-1]):
        among = draw({other: registry.build("cams", other) for other in others}, LAYER, *pair)
        assert torch.equal(among.maps[spec].nan_to_num(), alone.maps[spec].nan_to_num())
        assert among.maps[spec].isnan().equal(alone.maps[spec].isnan())


@every
@pytest.mark.parametrize("values", [1, 100, 250, 500])
def test_the_size_of_the_pieces_does_not_matter(spec, values, monkeypatch):
    pair = random_pair(dtype=torch.float64)
    pair[1][2] = 0.2  # poles, if the sums are -10
    pair[0][2, 1::2] *= -10 / pair[0][2, 1::2].sum((1, 2), keepdim=True)
    whole = draw({spec: registry.build("cams", spec)}, LAYER, *pair)
    for place, name in ((cams, "PIECE"), (_activations, "BLOCK")):  # of the batch, and of the channels
        monkeypatch.setattr(place, name, {"cpu": values, "cuda": values})
    pieces = draw({spec: registry.build("cams", spec)}, LAYER, *pair)
    alike(pieces.maps[spec], whole.maps[spec], 1e-12)
    assert pieces.poles.equal(whole.poles)


@every
@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("place", [(0, 0, 0), (-1, -1, -1), (1, 2, 3)])
def test_a_nan_marks_its_own_image_and_no_other(spec, spoiled, place):
    pair = random_pair(dtype=torch.float64)
    healthy = drawn(spec, *pair)
    pair[spoiled][(1, *place)] = torch.nan
    broken = drawn(spec, *pair)
    assert broken[1].isnan().any()
    others = [0, 2, 3]
    alike(broken[others], healthy[others], 1e-12)


@every
def test_memory_layout_does_not_matter(spec):
    pair = random_pair(dtype=torch.float64)
    strided = [values.contiguous(memory_format=torch.channels_last) for values in pair]
    expanded = [values[:1].expand(4, *SHAPE[1:]) for values in pair]
    alike(drawn(spec, *strided), drawn(spec, *pair), 1e-12)
    alike(drawn(spec, *expanded), drawn(spec, *(values.contiguous() for values in expanded)), 1e-12)


@every
def test_can_be_differentiated(spec):
    """An attack that knows the detector goes through the maps."""
    activations, gradients = random_pair(dtype=torch.float64, shape=(2, 3, 2, 2))
    cam = registry.build("cams", spec)
    if cam(ActivationsAndGradients(activations, gradients))[1].isnan().any():
        pytest.skip("undefined unless gradients are constant, so that they cannot be varied")
    inputs = activations.requires_grad_(), gradients.requires_grad_()
    assert torch.autograd.gradcheck(lambda *pair: cam(ActivationsAndGradients(*pair)), inputs)


@every
def test_a_device_without_float64_gives_the_same_map_and_the_same_derivative(spec):
    pair = random_pair()
    wanted = drawn(spec, *pair)
    cam, sums = registry.build("cams", spec), wanted.nan_to_num()  # a loss that leaves out what is undefined
    pair[0].requires_grad_()
    (slope,) = torch.autograd.grad((cam(ActivationsAndGradients(*pair)).nan_to_num() * sums).sum(), pair[0])
    with fake_mps():
        moved = [value.detach().to("mps") for value in pair]
        maps = drawn(spec, *moved)
        assert (maps.device.type, maps.dtype) == ("mps", torch.float32)
        alike(maps.cpu(), wanted)
        moved[0].requires_grad_()
        (found,) = torch.autograd.grad(
            (cam(ActivationsAndGradients(*moved)).nan_to_num() * sums.to("mps")).sum(), moved[0]
        )
        alike(found.cpu(), slope)


@every
@every_network
def test_a_look_at_a_batch_equals_looks_at_each_image(spec, network):
    network, images = seeded(NETWORKS[network]), images_of(3)
    together = looked(network, images, cams=spec)
    alone = [looked(network, image[None], cams=spec) for image in images]
    for layer in together.layers:
        alike(torch.cat([one.maps(layer, spec) for one in alone]), together.maps(layer, spec), 1e-9)


@every
@every_network
def test_neither_other_images_nor_other_cams_matter(spec, network):
    network, images = seeded(NETWORKS[network]), images_of(3)
    wanted = looked(network, images, cams=spec)
    same_maps(looked(network, images), wanted, spec, exactly=True)
    others = torch.cat([images[:1], images_of(2, seed=9)])
    for layer in wanted.layers:
        alike(looked(network, others).maps(layer, spec)[:1], wanted.maps(layer, spec)[:1], 1e-9)


@every
@every_network
def test_all_layers_at_once_equal_one_at_a_time(spec, network):
    network, images = seeded(NETWORKS[network]), images_of(2)
    together = looked(network, images, layers="*", cams=spec)
    assert len(together.layers) >= 2
    for layer in together.layers:
        alone = looked(network, images, layers=layer, cams=spec)
        assert alone.layers == (layer,)
        alike(alone.maps(layer, spec), together.maps(layer, spec), 1e-9)


@every
@pytest.mark.parametrize("network", [lambda inplace: Plain("in-place" if inplace else "module"), Residual])
def test_an_in_place_relu_changes_nothing(spec, network):
    out, into = (looked(seeded(lambda i=i: network(inplace=i)), images_of(2), cams=spec) for i in (False, True))
    assert out.layers == into.layers
    same_maps(into, out, spec, exactly=True)


@every
@pytest.mark.parametrize("how", ["function", "method", "in-place method", "in-place call"])
def test_a_relu_that_is_no_module_changes_nothing(spec, how):
    module, function = (looked(seeded(lambda w=w: Plain(w)), images_of(2), cams=spec) for w in ("module", how))
    assert len(module.layers) == len(function.layers) == 3
    for one, other in zip(module.layers, function.layers, strict=True):
        alike(function.maps(other, spec), module.maps(one, spec), 0.0)
