"""What every measure keeps. The folder is listed, so a new file gets these laws by itself."""

import doctest
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeshift import registry
from helpers.fake_mps import fake_mps

PAIRS = {"maps", "scaled maps", "images"}
NAMES = registry.names("measures")
SIZE = 16
LAWS = settings(max_examples=40, deadline=None, derandomize=True, database=None)
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])

every = pytest.mark.parametrize("name", NAMES)
on_tensors = pytest.mark.parametrize("name", [n for n in NAMES if registry.find("measures", n).compares != "levels"])
pairwise = pytest.mark.parametrize("name", [n for n in NAMES if registry.find("measures", n).compares in PAIRS])


def random_pair(compares: str, *, n: int = 6, size: int = SIZE, seed: int = 0, scale: float = 1.0):
    """Two related batches: signed maps of any scale, or images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 3, size, size) if compares == "images" else (n, size, size)
    first = torch.rand(shape, generator=generator)
    second = (first + torch.rand(shape, generator=generator)) / 2
    return (first, second) if compares == "images" else ((first - 0.2) * scale, (second - 0.2) * scale)


def random_inputs(compares: str, *, seed: int = 0, scale: float = 1.0) -> tuple:
    if compares == "levels":
        return (np.random.default_rng(seed).random((6, 4)),)
    if compares == "neurons":
        return (torch.rand((6, SIZE), generator=torch.Generator().manual_seed(seed)) * scale,)
    return random_pair(compares, seed=seed, scale=scale)


def extreme_inputs(compares: str) -> list[tuple]:
    """Inputs among which every measure finds both ends of its range."""
    if compares == "levels":
        return [(np.zeros((4, 2)),), (np.ones((4, 2)),), (np.tile([0.0, 1.0], (4, 1)),)]
    if compares == "neurons":
        return [(torch.zeros(2, SIZE),), (torch.ones(2, SIZE),)]
    rows = torch.arange(SIZE)
    board = ((rows[:, None] + rows) % 2).float()
    ramp = torch.linspace(0, 1, SIZE).expand(SIZE, SIZE)
    zero, one = torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)
    pairs = [(board, 1 - board), (ramp, 1 - ramp), (ramp, ramp), (zero, one), (zero, zero), (ramp, zero)]
    if "maps" in compares:
        corner, opposite = torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE)
        corner[0, 0] = opposite[-1, -1] = 1
        pairs += [(ramp, -ramp), (corner, opposite), (one, zero)]
    shape = (1, 3, SIZE, SIZE) if compares == "images" else (1, SIZE, SIZE)
    return [(first.expand(shape), second.expand(shape)) for first, second in pairs]


def same_inputs(compares: str, *, seed: int) -> tuple:
    """An image without an attack: a thing against itself, or a NISSIM of 0 at every level; neurons that are silent."""
    if compares == "levels":
        return (np.zeros((6, 4)),)
    if compares == "neurons":
        return (torch.zeros(6, SIZE),)
    first, _ = random_pair(compares, seed=seed)
    return first, first.clone()


def numbers(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def equal(values, wanted, *, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(numbers(values), numbers(wanted), rtol=tolerance, atol=tolerance)


def copied(inputs: tuple) -> tuple:
    return tuple(value.copy() if isinstance(value, np.ndarray) else value.clone() for value in inputs)


def test_the_family_is_complete():
    assert {"cosine", "coverage", "mod", "nissim", "psnr", "ssim", "vid"} <= set(NAMES)


@every
def test_says_what_it_is(name):
    part = registry.find("measures", name)
    assert part.__name__.lower() == name
    assert part.compares in {*PAIRS, "levels", "neurons"}
    assert part.per in {"image", "level"}
    assert part.lowest <= part.same <= part.highest


@every
def test_has_an_example_that_holds(name):
    outcome = doctest.testmod(sys.modules[registry.find("measures", name).__module__])
    assert outcome.attempted > 0
    assert outcome.failed == 0


@every
@given(seed=st.integers(0, 10_000))
@LAWS
def test_identical_input_gives_exactly_the_declared_value(name, seed):
    measure = registry.build("measures", name)
    values = numbers(measure(*same_inputs(measure.compares, seed=seed)))
    assert values.size > 0
    assert (values == measure.same).all()


@every
@given(seed=st.integers(0, 10_000), exponent=st.integers(-30, 30))
@LAWS
def test_stays_within_the_declared_range(name, seed, exponent):
    measure = registry.build("measures", name)
    values = numbers(measure(*random_inputs(measure.compares, seed=seed, scale=10.0**exponent)))
    assert (values >= measure.lowest).all()
    assert (values <= measure.highest).all()


@every
def test_reaches_both_ends_of_the_declared_range(name):
    """An infinite range exactly, a finite one to within 1 %: some ends are limits, as the docstrings say."""
    measure = registry.build("measures", name)
    values = np.concatenate([numbers(measure(*inputs)) for inputs in extreme_inputs(measure.compares)])
    span = measure.highest - measure.lowest
    slack = 0.01 * span if math.isfinite(span) else 0.0
    assert measure.lowest <= values.min() <= measure.lowest + slack
    assert measure.highest >= values.max() >= measure.highest - slack


@every
@given(seed=st.integers(0, 10_000))
@LAWS
def test_the_order_of_what_is_compared_does_not_matter(name, seed):
    measure = registry.build("measures", name)
    if not measure.symmetric:
        pytest.skip("declared as not symmetric")
    inputs = random_inputs(measure.compares, seed=seed)
    if measure.compares == "levels":
        reversed_inputs = (np.flip(inputs[0], axis=0 if measure.per == "level" else 1),)
    elif measure.compares == "neurons":
        reversed_inputs = (inputs[0].flip(1),)
    else:
        reversed_inputs = inputs[::-1]
    equal(measure(*reversed_inputs), measure(*inputs))


@pytest.mark.parametrize("name", [n for n in NAMES if registry.find("measures", n).compares == "maps"])
@given(seed=st.integers(0, 10_000), exponent=st.integers(-6, 6))
@LAWS
def test_the_scale_of_raw_maps_does_not_matter(name, seed, exponent):
    """Studies compare raw maps by every measure that says it can: gradients of a confident network are tiny."""
    first, second = random_pair("maps", seed=seed)
    measure = registry.build("measures", name)
    equal(measure(first * 10.0**exponent, second), measure(first, second), tolerance=1e-5)


@every
def test_leaves_its_inputs_alone(name):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    before = copied(inputs)
    measure(*inputs)
    for value, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(np.asarray(value), np.asarray(kept))


@every
@given(seed=st.integers(0, 10_000))
@LAWS
def test_a_batch_equals_one_by_one(name, seed):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares, seed=seed)
    together = numbers(measure(*inputs))
    if measure.per == "level":
        alone = [numbers(measure(inputs[0][:, [level]])) for level in range(inputs[0].shape[1])]
    else:
        alone = [numbers(measure(*(value[[index]] for value in inputs))) for index in range(len(inputs[0]))]
    equal(together, np.concatenate(alone))


@every
@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("place", [(0, 0), (-1, -1), (SIZE // 2, 3)])
def test_a_nan_spoils_its_own_number_and_no_other(name, spoiled, place):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    healthy = numbers(measure(*inputs))
    broken = copied(inputs)
    if measure.compares == "levels":
        index = 3
        broken[0][(1, index) if measure.per == "level" else (index, 1)] = np.nan
    else:
        index, alone = 2, measure.compares == "neurons"
        broken[0 if alone else spoiled][(index, ..., *place[alone:])] = math.nan
    values = numbers(measure(*broken))
    assert np.isnan(values).tolist() == [i == index for i in range(len(healthy))]
    others = np.arange(len(healthy)) != index
    equal(values[others], healthy[others])


@every
def test_an_empty_batch_gives_no_number(name):
    measure = registry.build("measures", name)
    inputs = tuple(value[:0] for value in random_inputs(measure.compares))
    values = numbers(measure(*inputs))
    assert values.size == 0 if measure.per == "image" else np.isnan(values).all()


@every
def test_floats_of_any_width_give_float32_or_float64(name):
    """Half types are exactly what float32 makes of the same values: nothing is counted in them."""
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    if measure.compares == "levels":
        for narrow in (np.float16, np.float32):
            found = measure(inputs[0].astype(narrow))
            equal(found, measure(inputs[0].astype(narrow).astype(np.float64)), tolerance=1e-15)
            assert found.dtype == np.float64
        return
    for narrow in (torch.float16, torch.bfloat16):
        found = measure(*(value.to(narrow) for value in inputs))
        assert found.dtype == torch.float32
        assert torch.equal(found, measure(*(value.to(narrow).float() for value in inputs)))
    assert measure(*inputs).dtype == torch.float32
    assert measure(*(value.double() for value in inputs)).dtype == torch.float64
    equal(measure(*(value.double() for value in inputs)), measure(*inputs))


@pairwise
@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
@pytest.mark.parametrize("both", [False, True])
def test_an_infinite_value_gives_no_number(name, infinite, both):
    measure = registry.build("measures", name)
    first, second = copied(random_inputs(measure.compares))
    first[2, ..., 3, 5] = infinite
    if both:
        second[2, ..., 3, 5] = infinite
    assert numbers(measure(first, second).isnan()).tolist() == [at == 2 for at in range(6)]


@pairwise
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_change_however_small_is_no_identity_where_squares_underflow(name, dtype):
    """Maps are compared by their shape, so that a scale of 1e-7 (half: 6e-8 is its smallest) counts as little as 1."""
    measure = registry.build("measures", name)
    first, second = (value.double() for value in random_inputs(measure.compares))
    if measure.compares == "images" or name == "ssim":  # which have a range of their own
        still = torch.zeros_like(first)
        moved = measure(still.to(dtype), torch.full_like(still, {torch.float16: 6e-8}.get(dtype, 1e-30)).to(dtype))
        assert moved.isfinite().all()
        return
    scale = {torch.float16: 1e-4}.get(dtype, 1e-30)  # half types have few digits so near to nothing
    tiny = measure((first * scale).to(dtype), (second * scale).to(dtype))
    equal(tiny, measure(first, second), tolerance=2e-2 if dtype == torch.float16 else 1e-5)


@on_tensors
def test_strides_do_not_matter(name):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    strided = tuple(value.transpose(-1, -2).contiguous().transpose(-1, -2) for value in inputs)
    assert not strided[0].is_contiguous()
    equal(measure(*strided), measure(*inputs))


@on_tensors
@pytest.mark.parametrize("device", ["meta", CUDA])
def test_results_stay_on_the_device(name, device):
    """A meta tensor has no values, so any trip to the host would raise."""
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    values = measure(*(value.to(device) for value in inputs))
    assert (values.device.type, values.shape, values.dtype) == (device, (len(inputs[0]),), torch.float32)
    if device != "meta":
        equal(values.cpu(), measure(*inputs), tolerance=1e-5)


@on_tensors
def test_a_device_without_float64_gives_the_same_numbers(name):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    with fake_mps():
        values = measure(*(value.to("mps") for value in inputs))
        assert (values.device.type, values.dtype) == ("mps", torch.float32)
        equal(values.cpu(), measure(*inputs))


@pairwise
def test_a_device_without_float64_gives_the_same_derivative(name):
    measure = registry.build("measures", name)
    first, second = random_inputs(measure.compares)
    first.requires_grad_()
    (wanted,) = torch.autograd.grad(measure(first, second).sum(), first)
    with fake_mps():
        moved = first.detach().to("mps").requires_grad_()
        (found,) = torch.autograd.grad(measure(moved, second.to("mps")).sum(), moved)
        equal(found.cpu(), wanted, tolerance=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if registry.find("measures", n).compares == "images"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_have_any_number_of_channels_and_any_size(name, channels):
    """A channel that is there several times changes nothing: every channel counts the same."""
    measure = registry.build("measures", name)
    first, second = (value[:, :1, :9].expand(-1, channels, -1, -1) for value in random_pair("images"))
    equal(measure(first, second), measure(first[:, :1], second[:, :1]), tolerance=1e-5)
    assert (numbers(measure(first, first)) == measure.same).all()
    assert (numbers(measure(first, second)) != measure.same).all()


@pairwise
def test_maps_of_inference_mode_and_of_other_memory_formats(name):
    measure = registry.build("measures", name)
    inputs = random_inputs(measure.compares)
    with torch.inference_mode():
        equal(measure(*copied(inputs)), measure(*inputs))
    if measure.compares == "images":
        equal(measure(*(value.contiguous(memory_format=torch.channels_last) for value in inputs)), measure(*inputs))


@pairwise
def test_can_be_differentiated(name):
    """An attack that knows the detector goes through these numbers."""
    measure = registry.build("measures", name)
    first, second = (value.double() for value in random_pair(measure.compares, n=2, size=11))
    assert torch.autograd.gradcheck(measure, (first.requires_grad_(), second.requires_grad_()))


@pairwise
def test_refuses_what_is_no_pair(name):
    """Broadcasting would silently compare images that do not belong together."""
    measure = registry.build("measures", name)
    first, second = random_pair(measure.compares)
    for wrong in (second[:1], second[..., :-1], second[0], (second * 255).to(torch.uint8)):
        # With shapes checked at run time, the checker speaks first and raises its own TypeError.
        with pytest.raises((ValueError, TypeError), match=r"\(n, (channels, )?h, w\)|Type-check"):
            measure(first, wrong)
