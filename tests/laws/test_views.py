"""What every change of an image must do: the interventions that make images, found by listing the folder."""

import pytest
import torch

from helpers.changes import JOINT, SPECS, UNBOUNDED, VIEWS, changed, images_of
from helpers.fake_mps import fake_mps

HALVES = (torch.float16, torch.bfloat16)
CHANNELS = (1, 2, 3, 4, 5)

every = pytest.mark.parametrize("spec", SPECS)
views = pytest.mark.parametrize("spec", VIEWS)  # from an image alone to an image


def is_bounded(spec):
    return spec.partition(":")[0] not in UNBOUNDED


def test_the_family_is_complete():
    assert {"bit_depth", "blur", "jpeg", "matched_noise", "median", "pca", "roi_pixels", "shift", "strength"} <= set(
        SPECS
    )
    assert {"bit_depth", "blur", "jpeg", "median", "pca", "shift"} <= set(VIEWS)


@every
@pytest.mark.parametrize("channels", CHANNELS)
def test_images_of_any_type_channels_and_size_keep_all_three(spec, channels):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        keeps(spec, images_of(2, channels, 13, 20, dtype))


def keeps(spec, images):
    made = changed(spec, images)
    assert made.dtype == images.dtype
    assert made.shape[2:] == images.shape[2:]
    assert made.shape[1] % images.shape[1] == 0
    assert made.isfinite().all()
    if is_bounded(spec):
        assert made.min() >= 0
        assert made.max() <= 1


@every
@pytest.mark.parametrize("dtype", HALVES)
def test_half_images_are_computed_in_float32_and_rounded_once(spec, dtype):
    images = images_of(dtype=dtype)
    made, wanted = changed(spec, images), changed(spec, images.float())
    if spec.startswith("pca"):  # from float64, which may be rounded to either side of a tie of float32
        torch.testing.assert_close(made.float(), wanted, rtol=torch.finfo(dtype).eps, atol=1e-6)
    else:
        assert torch.equal(made, wanted.to(dtype))


@every
def test_float64_images_are_the_same_within_rounding(spec):
    made, wanted = changed(spec, images_of().double()), changed(spec, images_of())
    away = (made - wanted).abs()
    if "jpeg" in spec or "bit" in spec:  # what is rounded to levels may fall on either side of a tie
        assert away.mean() < 0.5 / 255
    else:
        assert away.max() < 1e-5


@every
@pytest.mark.parametrize("channels", CHANNELS)
def test_channels_are_changed_each_by_itself(spec, channels):
    if spec in JOINT or (spec.startswith("jpeg") and channels == 3):
        pytest.skip("these go together, as its docstring says")
    images = images_of(2, channels, 13, 20)
    made = changed(spec, images)
    if spec == "roi_pixels":  # the region is that of the map, whatever the channel
        assert ((made != images) == (made != images)[:, :1]).all()
        return
    for at in range(channels):
        torch.testing.assert_close(made[:, at::channels], changed(spec, images[:, at : at + 1]), rtol=1e-6, atol=1e-6)


@every
def test_arguments_and_the_global_random_state_are_left_alone(spec):
    given, before = images_of(), torch.get_rng_state()
    changed(spec, given)
    assert torch.equal(given, images_of())
    assert torch.equal(before, torch.get_rng_state())


@every
def test_a_batch_is_its_images_one_by_one(spec):
    whole = changed(spec, images_of())
    for at in range(3):
        torch.testing.assert_close(changed(spec, images_of()[at : at + 1], first=at)[0], whole[at])


@every
def test_the_same_seed_gives_the_same(spec):
    assert torch.equal(changed(spec, images_of()), changed(spec, images_of()))


@every
def test_an_empty_batch_stays_empty(spec):
    made = changed(spec, images_of()[:0])
    assert (len(made), *made.shape[2:]) == (0, 21, 26)


@every
@pytest.mark.parametrize("how", ["channels last", "transposed", "expanded"])
def test_memory_layout_does_not_matter(spec, how):
    images = images_of()
    other = {
        "channels last": images.contiguous(memory_format=torch.channels_last),
        "transposed": images.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": images[:1].expand(3, -1, -1, -1),
    }[how]
    torch.testing.assert_close(changed(spec, other), changed(spec, other.contiguous()), rtol=1e-6, atol=1e-6)


@every
def test_inference_mode_changes_nothing(spec):
    with torch.inference_mode():
        found = changed(spec, images_of())
    assert torch.equal(found, changed(spec, images_of()))


@every
def test_a_device_without_float64_gives_the_same(spec):
    with fake_mps():
        made = changed(spec, images_of().to("mps"))
        assert made.device.type == "mps"
        torch.testing.assert_close(made.cpu(), changed(spec, images_of()), rtol=1e-6, atol=1e-6)


@every
def test_a_nan_spoils_no_other_image(spec):
    images = images_of()
    images[1, 0, 5, 5] = torch.nan
    others = [0, 2]
    found, wanted = changed(spec, images), changed(spec, images_of())
    torch.testing.assert_close(found[others], wanted[others])
    assert found[1].isnan().any() or spec.startswith("roi_pixels")


@views
def test_an_even_image_stays(spec):
    grey = torch.full((1, 3, 40, 40), 128 / 255)
    tolerance = 0.51 if spec == "bit_depth:bits=1" else 0.04
    torch.testing.assert_close(changed(spec, grey), grey, atol=tolerance, rtol=0)


@views
def test_one_pixel_is_an_image_too(spec):
    if spec.startswith("shift"):
        pytest.skip("nothing would be left of it, which is refused")
    pixel = torch.tensor([0.0, 0.2, 1.0])[None, :, None, None]
    tolerance = 0.51 if spec == "bit_depth:bits=1" else 0.04
    torch.testing.assert_close(changed(spec, pixel), pixel, atol=tolerance, rtol=0)


@views
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_it_has_a_gradient_to_the_image(spec, dtype):
    asked = images_of(dtype=dtype).requires_grad_()
    made = changed(spec, asked)
    (found,) = torch.autograd.grad(made.float().square().sum(), asked)
    assert found.isfinite().all()
    assert (found != 0).double().mean() > 0.2
    torch.testing.assert_close(made.detach(), changed(spec, images_of(dtype=dtype)))


@views
def test_an_attacker_sees_the_same_gradient_without_float64(spec):
    asked = images_of().requires_grad_()
    (wanted,) = torch.autograd.grad(changed(spec, asked).square().sum(), asked)
    with fake_mps():
        moved = images_of().to("mps").requires_grad_()
        (found,) = torch.autograd.grad(changed(spec, moved).square().sum(), moved)
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-4)


def test_other_draws_give_another_view():
    made = [changed("shift", images_of(), first=10 * at) for at in range(4)]
    assert any(not torch.equal(made[0], other) for other in made[1:])
