"""What enters and leaves a classifier: converted where the meaning is plain, else refused in one sentence of ours."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gazeshift as gs
from gazeshift.errors import BoundsError, ModelError, SettingsError
from gazeshift.models import Classifier, Preprocessing

P = Preprocessing(resize=12, crop=12)


class Net(nn.Module):
    """One convolution and a linear head on its mean; `answer` changes what it gives, `first` what it takes."""

    def __init__(self, channels: int = 3, classes: int = 4, answer: Any = None, first: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(channels, 5, 3), nn.Linear(5, classes)
        self.answer, self.first = answer, first

    def forward(self, images: Tensor) -> Any:
        images = self.first(images) if self.first else images
        logits = self.head(self.conv(images).relu().mean((2, 3)))
        return self.answer(logits) if self.answer else logits


def classifier(**options: Any) -> Classifier:
    return Classifier(Net(**options), name="toy", preprocessing=P)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.numpy(),
        list,
        lambda x: [one.numpy() for one in x],
        lambda x: tuple(x.numpy()),
        lambda x: x.numpy()[..., ::-1].copy()[..., ::-1],  # negative strides
        lambda x: x.numpy().astype(">f4"),
        lambda x: x.numpy().astype(np.float64).astype(np.float32),
    ],
)
def test_images_whose_meaning_is_plain(images, convert):
    assert torch.equal(classifier().prepare(convert(images)), images)


def test_float64_and_half_keep_their_type(images):
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        assert classifier().prepare(images.to(kind)).dtype == kind
    assert classifier().prepare(images.double().numpy()).dtype == torch.float64


def test_pictures_come_to_the_models_size_as_files_do(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture, grey = Image.fromarray(pixels), Image.fromarray(pixels[:12, :12, 0])
    picture.save(tmp_path / "one.png")
    expected = gs.read_image(tmp_path / "one.png", P)
    assert torch.equal(classifier().prepare(picture), expected[None])
    both = classifier().prepare([picture, grey])
    assert torch.equal(both[0], expected)
    assert torch.equal(both[1], torch.from_numpy(pixels[:12, :12, 0]).float().div(255).expand(3, -1, -1))


def test_a_picture_of_the_models_own_size_that_is_resized_all_the_same_says_so():
    small = Image.new("RGB", (12, 12))
    with pytest.warns(UserWarning, match="12 x 12 pixels was resized and cropped to that same size"):
        Classifier(Net(), name="toy", preprocessing=Preprocessing(resize=14, crop=12)).prepare(small)


def test_rounding_beyond_the_range_is_clamped_and_more_is_refused(images):
    near = images - images.min() - 3e-8
    assert near.min() < 0
    assert torch.equal(classifier().prepare(near), near.clamp(0, 1))
    with pytest.raises(BoundsError, match=r"\[0, 1\], got \[-1e-05,"):
        classifier().prepare(images - images.min() - 1e-5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda x: (x * 255).to(torch.uint8), "Divide 8-bit images by 255: images / 255."),
        (lambda x: (x * 255).numpy().astype(np.uint8), "got uint8 (3, 3, 12, 12). Divide 8-bit"),
        (lambda x: x[0], "One image: images[None]"),
        (lambda x: x.permute(0, 2, 3, 1), "Channels last: images.permute(0, 3, 1, 2)."),
        (lambda x: x[:, :1], "images must be float (n, 3, h, w) for this model, got float32 (3, 1, 12, 12)."),
        (lambda x: x * 5 - 2, "Pass images before normalisation."),
        (lambda x: [x[0], x[1, :, :5]], "must have one shape, got (3, 5, 12) and (3, 12, 12)"),
        (lambda _: "cat.png", "got str. Give a tensor"),
        (lambda _: ["cat.png"], "got list of str. Give a tensor"),
        (lambda _: None, "got NoneType"),
        (lambda _: np.array(["cat"]), "got ndarray of <U3"),
        (lambda x: x.bool(), "got bool"),
        (lambda x: torch.complex(x, x), "got complex64"),
        (lambda x: {"images": x}, "got dict"),
    ],
)
def test_what_is_no_batch_of_images(images, wrong, sentence):
    with pytest.raises(BoundsError) as told:
        classifier().prepare(wrong(images))
    assert sentence in str(told.value)


def test_logits_by_name_are_taken(images):
    expected = classifier()(images)
    for answer in (
        lambda z: {"logits": z, "hidden": z},
        lambda z: SimpleNamespace(logits=z),
        lambda z: z[..., None, None],
    ):
        assert torch.equal(classifier(answer=answer)(images), expected)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda z: z[:, :1], "two classes or more, toy gave float32 (1, 1). From one logit z"),
        (lambda z: z[:, 0], "two classes or more, toy gave float32 (1,)"),
        (lambda z: z.argmax(1, keepdim=True), "toy gave int64 (1, 1)"),
        (lambda z: (z, z), "toy gave a tuple of (1, 4), (1, 4). Wrap it in a torch.nn.Module"),
        (lambda z: [z], "toy gave a list of (1, 4)"),
        (lambda z: {"out": z}, "toy gave a dict of 'out'"),
        (lambda z: z.mean(0), "toy gave (4,)"),
        (lambda z: torch.cat([z, z]), "If 2 crops of each image are folded into the batch"),
        (lambda z: z[..., None, None].expand(1, 4, 2, 2), "toy gave (1, 4, 2, 2)"),
        (lambda _: None, "toy gave NoneType"),
        (lambda _: 1 / 0, "toy cannot be run on 1 image of 3 x 12 x 12: ZeroDivisionError: division by zero"),
    ],
)
def test_an_answer_that_is_no_row_of_logits(images, answer, sentence):
    made = classifier(answer=answer)
    for entrance in (made, lambda x: gs.attack(made, x), lambda x: gs.look(made, x), lambda x: gs.preflight(made, x)):
        with pytest.raises(ModelError) as told:
            entrance(images[:1])
        assert sentence in str(told.value)


def test_a_network_that_needs_more_than_images(images):
    class Two(Net):
        def forward(self, images, mask):
            return super().forward(images * mask)

    made = Classifier(Two(), name="toy", preprocessing=P)
    with pytest.raises(
        ModelError, match=r"missing 1 required positional argument: 'mask'\. Wrap it in a torch.nn.Module"
    ):
        gs.attack(made, images)


def test_weights_that_are_not_there_yet():
    with pytest.raises(ModelError, match=r"weights without a shape yet \(LazyLinear 2\)"):
        Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3)), name="toy")


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.filterwarnings("ignore")
def test_quantised_networks(kind):
    from torch.ao import quantization

    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    network = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 3)).eval()
    if kind == "dynamic":
        made = quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    else:
        network.qconfig = quantization.default_qconfig
        prepared = quantization.prepare(network)
        prepared(torch.rand(2, 3, 12, 12))
        made = quantization.convert(prepared)
    with pytest.raises(ModelError, match=r"toy is quantised .* no gradients pass .* Give the float network"):
        Classifier(made, name="toy")


@pytest.mark.parametrize("broken", [Tensor.detach, lambda x: torch.from_numpy(x.detach().numpy())])
def test_a_network_without_gradients_is_told_as_such(images, broken):
    made = classifier(answer=broken)
    for entrance in (lambda: gs.attack(made, images, by="fgsm"), lambda: gs.look(made, images)):
        with pytest.raises(
            ModelError, match=r"this model gives none\. Leave out detach\(\), no_grad\(\), inference_mode\(\)"
        ):
            entrance()
    assert gs.attack(made, images, by="gaussian").images.shape == images.shape


class Inference(Net):
    def forward(self, images: Tensor) -> Any:
        with torch.inference_mode():
            return super().forward(images)


def test_inference_mode_inside_the_forward_pass(images):
    with pytest.raises(ModelError, match=r"inference_mode\(\)"):
        gs.attack(Classifier(Inference(), name="toy", preprocessing=P), images, by="fgsm")


@pytest.mark.parametrize("labels", [[0, 1, 2], (0, 1, 2), np.array([0, 1, 2]), np.array([0, 1, 2], np.uint8)])
def test_labels_as_lists_and_arrays(images, labels):
    expected = gs.attack(classifier(), images, torch.tensor([0, 1, 2]), by="fgsm")
    assert torch.equal(gs.attack(classifier(), images, labels, by="fgsm").images, expected.images)
    assert torch.equal(gs.look(classifier(), images, target=labels).explained, expected.labels)


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [0, 1, 4], [0, 1, -1], [0.0, 1.0, 2.0], ["cat", "dog", "eel"], [True, False, True], 3, [[0], [1], [2]]],
)
def test_labels_that_are_none(images, labels):
    for entrance in (
        lambda: gs.attack(classifier(), images, labels),
        lambda: gs.look(classifier(), images, target=labels),
        lambda: gs.preflight(classifier(), images, labels),
    ):
        with pytest.raises(BoundsError, match="must be 3 whole numbers, one class from 0 to 3 per image, got"):
            entrance()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_number_of_channels_is_found_out(channels):
    made = classifier(channels=channels)
    batch = torch.rand(2, channels, 12, 12)
    assert made.channels == channels
    assert gs.look(made, batch).layers == ("conv",)
    assert gs.attack(made, batch, by="pgd").images.shape == batch.shape
    with pytest.raises(BoundsError, match=rf"\(n, {channels}, h, w\)"):
        made.prepare(torch.rand(2, channels + 1, 12, 12))


def test_a_network_that_makes_grey_or_more_channels_of_three_takes_three():
    assert (
        classifier(channels=1, first=lambda x: x.mean(1, keepdim=True) * torch.ones(3)[: x.shape[1]].mean()).channels
        == 3
    )
    folded = classifier(channels=12, first=lambda x: nn.functional.pixel_unshuffle(x, 2))
    assert folded.channels == 3


def test_finding_the_channels_changes_no_batch_norm():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = Classifier(network.train(), name="toy", preprocessing=P)
    assert all(torch.equal(value, before[name]) for name, value in made.module.state_dict().items())
    assert network.training


def test_a_mean_for_other_channels_than_the_network_takes():
    given = Preprocessing(resize=12, crop=12, mean=(0.5, 0.5, 0.5), std=0.5)
    with pytest.raises(BoundsError, match=r"\(n, 3, h, w\)"):
        Classifier(Net(channels=1), name="toy", preprocessing=given).prepare(torch.rand(1, 1, 12, 12))


def test_one_mean_for_all_channels_is_that_mean_for_each(images):
    one = Classifier(Net(), name="toy", preprocessing=Preprocessing(resize=12, crop=12, mean=0.5, std=0.25))
    each = Classifier(
        Net(), name="toy", preprocessing=Preprocessing(resize=12, crop=12, mean=(0.5,) * 3, std=(0.25,) * 3)
    )
    assert torch.equal(one(images), each(images))
    assert one.card() == each.card()
    assert one.card()["preprocessing"]["mean"] == (0.5, 0.5, 0.5)


def test_rectangles():
    made = Classifier(Net(), name="toy", preprocessing=Preprocessing(resize=(12, 20), crop=(12, 20)))
    assert (made.input_size, made.size) == ((12, 20), (12, 20))
    assert made.layers()[0].shape == (5, 10, 18)
    assert gs.look(made, torch.rand(1, 3, 12, 20)).maps("conv").shape == (1, 10, 18)


@pytest.mark.parametrize(
    ("settings", "size", "expected"),
    [
        ({"resize": 48.0, "crop": 32}, (100, 50), (96, 48)),
        ({"resize": (48, 48), "crop": (48, 48)}, (100, 50), (48, 48)),
        ({"resize": (48, 64), "crop": (48, 64), "fit": "cover"}, (100, 50), (96, 48)),
        ({"resize": (48, 64), "crop": (48, 64), "fit": "pad"}, (100, 50), (64, 32)),
        ({"resize": None, "crop": None}, (100, 50), (100, 50)),
    ],
)
def test_sizes_after_the_first_step(settings, size, expected):
    assert Preprocessing(**settings).resized(*size) == expected


def test_padding_is_of_the_mean_colour():
    pad = Preprocessing(resize=(4, 8), crop=(4, 8), fit="pad", mean=(0.2, 0.4, 0.6), std=1.0)
    found = np.asarray(pad.fitted(Image.new("RGB", (6, 6), "white")))
    assert found.shape == (4, 8, 3)
    assert (found[:, 2:6] == 255).all()
    assert (found[:, :2] == (51, 102, 153)).all()
    assert (found[:, 6:] == (51, 102, 153)).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"resize": 0}, "resize must be a number of pixels such as 224, or height and width"),
        ({"crop": (3, 64, 128)}, r"crop must be .* got \(3, 64, 128\)"),
        ({"crop": 22.5}, "crop must be"),
        ({"resize": "large"}, "got 'large'"),
        ({"resize": True}, "got True"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5, 0.5)}, "got 2 and 3"),
        ({"mean": float("nan")}, "mean must be a finite number"),
        ({"std": 0}, "must not be 0"),
        ({"mean": (0.5,) * 3, "channels": 1}, "got 3 and 1 for 1 channels"),
    ],
)
def test_preprocessing_that_cannot_be_meant(settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Preprocessing(**settings)
