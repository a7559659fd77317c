"""Numbers of the content-keeping changes: by hand, against SciPy, and against Pillow's JPEG files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from gazeshift.errors import BoundsError
from gazeshift.seeds import generator_for
from gazeshift.transforms.bit_depth import BitDepth
from gazeshift.transforms.blur import Blur
from gazeshift.transforms.jpeg import Jpeg, _cosines
from gazeshift.transforms.median import Median
from gazeshift.transforms.shift import Shift


def photo(height: int = 61, width: int = 90) -> torch.Tensor:
    """A smooth picture with some texture, on 8-bit levels."""
    generator = generator_for(0, "photo")
    smooth = torch.nn.functional.interpolate(
        torch.rand((1, 3, 7, 9), generator=generator), (height, width), mode="bicubic"
    )
    noisy = smooth + 0.05 * torch.randn(smooth.shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.3])
def test_blur_is_scipys(sigma):
    wanted = ndimage.gaussian_filter(photo()[0].double().numpy(), (0, sigma, sigma), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(Blur(sigma=sigma)(photo())[0], wanted, atol=1e-6)


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_scipys(size):
    wanted = ndimage.median_filter(photo()[0].numpy(), (1, size, size), mode="nearest")
    np.testing.assert_array_equal(Median(size=size)(photo())[0], wanted)


def test_bit_depth_by_hand():
    given = torch.tensor([0.0, 0.1, 0.2, 0.49, 0.51, 0.9, 1.0]).reshape(1, 1, 1, 7).expand(1, 3, 1, 7)
    third = 1 / 3
    torch.testing.assert_close(BitDepth(bits=2)(given)[0, 0, 0], torch.tensor([0, 0, third, third, 2 * third, 1, 1]))
    assert torch.equal(BitDepth(bits=1)(given)[0, 0, 0], torch.tensor([0.0, 0, 0, 0, 1, 1, 1]))


def test_shift_by_hand():
    row = torch.arange(5.0).reshape(1, 1, 1, 5).expand(1, 3, 4, 5) / 5
    assert Shift(right=2)(row)[0, 0, 0].mul(5).tolist() == [0, 0, 0, 1, 2]
    assert Shift(right=-1)(row)[0, 0, 0].mul(5).tolist() == [1, 2, 3, 4, 4]
    column = row.transpose(2, 3)
    assert Shift(down=1)(column)[0, 0, :, 0].mul(5).tolist() == [0, 0, 1, 2, 3]


def test_random_shifts_reach_every_place():
    made = Shift(most=1)._moves(400, [generator_for(at) for at in range(400)])
    assert set(made) == {(right, down) for right in (-1, 0, 1) for down in (-1, 0, 1)}


def test_the_cosine_transform_keeps_lengths():
    torch.testing.assert_close(_cosines() @ _cosines().T, torch.eye(8, dtype=torch.float64))


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("subsample", [True, False])
def test_jpeg_is_pillows(quality, subsample):
    given, file = photo(), io.BytesIO()
    pixels = (given[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    wanted = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()
    made = Jpeg(quality=quality, subsample=subsample)(given)[0] * 255
    assert torch.equal(made, made.round())
    changed = (wanted - given[0] * 255).abs().mean()
    assert (made - wanted).abs().mean() < min(1.5, 0.35 * changed)


@pytest.mark.parametrize("quality", [10, 75, 95])
def test_jpeg_of_one_channel_is_pillows_of_a_grey_picture(quality):
    given, file = photo()[:, 1:2], io.BytesIO()
    Image.fromarray((given[0, 0] * 255).round().byte().numpy()).save(file, "JPEG", quality=quality)
    wanted = torch.from_numpy(np.array(Image.open(file))).float()
    made = Jpeg(quality=quality)(given)[0, 0] * 255
    changed = (wanted - given[0, 0] * 255).abs().mean()
    assert (made - wanted).abs().mean() < min(0.5, 0.25 * changed)  # Pillow's transform has whole numbers inside


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_jpeg_computes_in_single_precision(kind):
    given = photo().to(kind)
    made = Jpeg()(given)
    assert made.dtype == kind
    assert torch.equal(made, Jpeg()(given.float()).to(kind))


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        (Blur, {"sigma": 0.0}, "sigma above 0"),
        (Median, {"size": 4}, "odd size of at least 3 pixels, got 4"),
        (BitDepth, {"bits": 0}, "1 to 8 bits"),
        (Jpeg, {"quality": 0}, "quality from 1 to 100, got 0"),
        (Shift, {"most": 0}, "at least 1 pixel"),
    ],
)
def test_bad_settings(part, settings, message):
    with pytest.raises(BoundsError, match=message):
        part(**settings)


def test_a_least_shift_leaves_no_axis_in_place():
    image = torch.zeros(1, 3, 9, 9)
    image[..., 4, 4] = 1.0
    found = set()
    for at in range(200):
        moved = Shift(most=2, least=1)(image, generator=generator_for(at, "shift"))[0, 0]
        found.add(tuple(place - 4 for place in moved.nonzero()[0].tolist()))
    assert found == {(down, right) for down in (-2, -1, 1, 2) for right in (-2, -1, 1, 2)}
    with pytest.raises(BoundsError, match="least shift from 0 to most=2"):
        Shift(least=3)


def test_impossible_shifts():
    with pytest.raises(BoundsError, match="leaves nothing of images of 90 x 61"):
        Shift(right=90)(photo())
    with pytest.raises(BoundsError, match="leaves nothing of images of 90 x 61"):
        Shift(down=-61)(photo())
    assert torch.equal(Shift(right=61)(photo())[..., 61:], photo()[..., :-61])  # some of the width is left
    with pytest.raises(BoundsError, match="needs a generator"):
        Shift()(photo())
