"""Pictures: resizing against torch, the colour table's evenness, overlays by hand, and the sheet of an evidence."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gazeshift import pictures

SIDE = st.integers(1, 40)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(size=st.tuples(SIDE, SIDE), target=st.tuples(SIDE, SIDE), double=st.booleans(), seed=st.integers(0, 99))
def test_upsample_equals_torch(size, target, double, seed):
    kind = torch.float64 if double else torch.float32
    values = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=kind)
    wanted = torch.nn.functional.interpolate(values[None, None], size=target, mode="bilinear", align_corners=False)
    made = pictures.upsample(values, *target)
    assert made.shape == target
    assert made.dtype == values.numpy().dtype
    np.testing.assert_allclose(made, wanted[0, 0].numpy(), atol=1e-6, rtol=0)


def test_upsample_by_hand():
    np.testing.assert_allclose(pictures.upsample([[0.0, 1.0]], 1, 4), [[0, 0.25, 0.75, 1]])
    np.testing.assert_allclose(pictures.upsample([[0, 4]], 1, 4), [[0, 1, 3, 4]])


def test_rectified_divides_by_its_own_maximum():
    np.testing.assert_array_equal(pictures.rectified([[-4.0, 1.0], [0.0, 2.0]]), [[0, 0.5], [0, 1]])
    np.testing.assert_allclose(pictures.rectified(torch.tensor([[1e-30, 5e-31]])), [[1, 0.5]])


@pytest.mark.parametrize("values", [[[0.0, -1.0]], [[float("nan"), 1.0]], [[float("inf"), 1.0]], [[0.0, 0.0]]])
def test_undefined_maps_are_none(values):
    assert pictures.rectified(values) is None


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson 2020, written again from the definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb / 255]
    red, green, blue = linear
    long = np.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = np.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = np.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return np.array(
        [
            0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
            1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
            0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
        ]
    )


def test_colours_grow_brighter_in_even_steps():
    lab = np.array([oklab(colour) for colour in pictures.colour_table()[::15].astype(float)])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert (np.diff(lab[:, 0]) > 0).all()
    assert lab[0, 0] < 0.2
    assert lab[-1, 0] > 0.95
    assert steps.max() / steps.min() < 1.2


def test_colour_takes_the_ends_of_the_table_and_clips():
    table = pictures.colour_table()
    made = pictures.colour(np.array([[-1.0, 0.0, 1.0, 2.0]]))
    np.testing.assert_array_equal(made, table[[0, 0, 255, 255]][None])
    assert made.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_photograph_rounds_and_keeps_the_channels():
    image = torch.zeros(3, 2, 4)
    image[0], image[1] = 1.0, 0.5
    picture = pictures.photograph(image)
    assert picture.size == (4, 2)
    assert picture.getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize(
    ("channels", "drawn"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (4, (0, 1, 2)), (7, (0, 1, 2))]
)
def test_any_number_of_channels_is_drawn(channels, drawn):
    levels = np.random.default_rng(channels).integers(0, 256, (channels, 8, 12))
    picture = pictures.photograph(levels / 255)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), levels[list(drawn)].transpose(1, 2, 0))
    assert (
        np.asarray(pictures.overlay(levels / 255, np.ones((2, 3)), opacity=0.0)).tolist()
        == np.asarray(picture).tolist()
    )
    assert pictures.overlay(levels / 255, np.zeros((2, 3))).size == (12, 8)
    assert pictures.outlined(picture, np.eye(8, 12)).size == (12, 8)
    assert Image.open(io.BytesIO(pictures.encode_webp(picture))).size == (12, 8)
    assert opened(pictures.encode_png(picture)).tobytes() == picture.tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_a_perturbation_is_amplified_by_the_largest_change_of_all_channels(channels):
    delta = np.zeros((channels, 1, 2))
    delta[0, 0, 1], delta[-1, 0, 0] = 2 / 255, -4 / 255
    pixels = np.asarray(pictures.perturbation_picture(delta))
    assert pixels[0, 1, 0] == round(127.5 + 127.5 * 2 / 4)
    assert pixels[0, 0, 0] == (0 if channels == 1 else 128)


def test_values_that_are_not_finite_are_drawn_without_a_warning():
    image = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.2]).view(1, 2, 2)
    assert np.asarray(pictures.photograph(image))[:, :, 0].tolist() == [[0, 255], [0, 51]]
    drawn = np.asarray(pictures.perturbation_picture(image[:, :, [0, 1]]))
    assert drawn[1, 1].tolist() == [255, 255, 255]
    assert (np.asarray(pictures.perturbation_picture(torch.full((3, 2, 2), torch.nan))) == 0).all()


def test_perturbation_picture_is_grey_where_nothing_changed():
    delta = np.zeros((3, 1, 3), dtype=np.float32)
    delta[:, 0, 1], delta[:, 0, 2] = 2 / 255, -1 / 255
    pixels = np.asarray(pictures.perturbation_picture(torch.tensor(delta)))
    assert pixels[0, :, 0].tolist() == [128, 255, 64]
    assert (np.asarray(pictures.perturbation_picture(np.zeros((3, 2, 2)))) == 128).all()


def test_overlay_mixes_by_opacity():
    image, heat = np.ones((3, 8, 8)), np.ones((2, 2))
    brightest = pictures.colour_table()[255].astype(float)
    half = np.asarray(pictures.overlay(image, heat, opacity=0.5)).astype(float)
    np.testing.assert_allclose(half, np.broadcast_to((255 + brightest) / 2, half.shape), atol=1)
    assert (np.asarray(pictures.overlay(image, heat, opacity=0.0)) == 255).all()


def test_overlay_of_an_undefined_map_is_hatched_and_not_smoothed():
    image = np.random.default_rng(0).random((3, 64, 64))
    hatched = np.asarray(pictures.overlay(image, np.full((7, 7), np.nan)))
    blank = np.asarray(pictures.overlay(image, -np.ones((7, 7))))
    np.testing.assert_array_equal(hatched, blank)
    assert (hatched == 255).all(axis=2).sum() > 100, "the white plate behind the word"
    spread = hatched.astype(int).max(axis=2) - hatched.astype(int).min(axis=2)
    assert spread.mean() < 60, "grey, not coloured"


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_maps_with_a_gradient_are_read(kind):
    heat = torch.tensor([[0.25, 1.0]], dtype=kind, requires_grad=True)
    np.testing.assert_allclose(pictures.rectified(heat), [[0.25, 1]])


def test_encoded_files_open_again():
    picture = pictures.photograph(np.random.default_rng(0).random((3, 16, 20)))
    np.testing.assert_array_equal(np.asarray(opened(pictures.encode_png(picture))), np.asarray(picture))
    assert Image.open(io.BytesIO(pictures.encode_webp(picture))).size == (20, 16)


def evidence(images: int, layers: int, name: str = "tench") -> SimpleNamespace:
    names = tuple(f"layer{i}" for i in range(layers))
    return SimpleNamespace(
        images=torch.full((images, 3, 32, 32), 0.5),
        predicted=torch.arange(images),
        class_names=(name,),
        layers=names,
        cams=("grad_cam",),
        maps=lambda layer, _: torch.full((images, 4, 4), float(names.index(layer) + 1)),
        target="predicted",
        model="net",
    )


def test_sheet_shows_at_most_eight_images_and_layers():
    def size(images: int, layers: int) -> tuple[int, int]:
        return opened(pictures.evidence_sheet(evidence(images, layers))).size

    assert size(8, 8) == size(30, 40)
    assert size(1, 1)[0] < size(1, 2)[0]
    assert size(1, 1)[1] < size(2, 1)[1]


def test_sheet_shows_the_first_and_the_last_layer():
    asked = []
    shown = evidence(1, 20)
    maps = shown.maps
    shown.maps = lambda layer, cam: asked.append(layer) or maps(layer, cam)
    pictures.evidence_sheet(shown)
    assert len(asked) == 8
    assert (asked[0], asked[-1]) == ("layer0", "layer19")
    assert asked == sorted(asked, key=lambda name: int(name[5:]))


def test_sheet_of_a_single_layer_shows_the_first():
    asked = []
    shown = evidence(1, 20)
    maps = shown.maps
    shown.maps = lambda layer, cam: asked.append(layer) or maps(layer, cam)
    pictures.evidence_sheet(shown, columns=1)
    assert asked == ["layer0"]


def test_sheet_of_evidence_without_maps_shows_the_images():
    shown = evidence(2, 4)
    alone = evidence(2, 0)
    shown.cams = alone.cams = ()
    assert pictures.evidence_sheet(shown) == pictures.evidence_sheet(alone)


def test_sheet_says_which_channels_it_shows(monkeypatch):
    titles = []
    monkeypatch.setattr(pictures, "_fitted", lambda text, *_: titles.append(text) or "")
    for channels in (1, 3, 5):
        shown = evidence(1, 2)
        shown.images = torch.full((1, channels, 16, 32), 0.5)
        pictures.evidence_sheet(shown)
    assert [title.rpartition(", ")[2] for title in titles if title.startswith("net")] == [
        "1 image",
        "1 image",
        "channels 1 to 3 of 5",
    ]


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(20, 40), (40, 20)])
def test_sheets_keep_the_aspect_of_an_image(channels, size):
    """The pictures of a white image end where it ends: 160 pixels along its longer side, 80 along the other."""
    shown = evidence(1, 1)
    shown.images = torch.zeros(1, channels, *size)
    logits, change = torch.zeros(1, 2), torch.zeros(1, channels, *size)
    changed = SimpleNamespace(
        clean=shown.images,
        images=shown.images,
        perturbation=change,
        clean_logits=logits,
        logits=logits,
        linf=torch.zeros(1),
        class_names=(),
    )
    for sheet in (pictures.evidence_sheet(shown), pictures.attack_sheet(changed)):
        square = np.asarray(opened(sheet))[34 : 34 + 160, 10 : 10 + 160].sum(2) == 0
        assert (square.any(1).sum(), square.any(0).sum()) == (4 * size[0], 4 * size[1])


def test_sheet_survives_names_that_no_font_has():
    assert opened(pictures.evidence_sheet(evidence(1, 2, name="\n\x00 " + "很长的名字" * 30))).size[0] < 700
    assert opened(pictures.evidence_sheet(evidence(0, 2))).size[0] > 0
    assert opened(pictures.evidence_sheet(evidence(1, 0))).size[0] > 0


def test_importing_pictures_imports_no_torch():
    code = "import sys, gazeshift.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
