"""Checks before anything is attacked or looked at: each fails on a model made to fail it, and only on that."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gazeshift.errors import BoundsError, ModelError, NoMapsError
from gazeshift.models import Classifier, load, preflight
from gazeshift.pipeline import look

IMAGES = torch.rand(12, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A convolution and a linear head; `change` is what a bad model does to the maps or the logits."""

    def __init__(self, classes=3, *, maps=None, logits=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)
        self.change_maps, self.change_logits = maps, logits

    def forward(self, images):
        maps = functional.relu(self.second(functional.relu(self.first(images))))
        maps = self.change_maps(maps) if self.change_maps else maps
        logits = self.head(maps.mean((2, 3)))
        return self.change_logits(logits) if self.change_logits else logits


def checked(images=IMAGES, labels=None, **options):
    return preflight(Classifier(Network(**options), name="toy"), images, labels)


def found(findings, check):
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_a_sound_model_passes_every_check():
    findings = checked()
    assert [(finding.check, finding.level) for finding in findings] == [
        ("range", "ok"),
        ("eval mode", "ok"),
        ("finite", "ok"),
        ("logits", "ok"),
        ("the same answer twice", "ok"),
        ("the same answer alone and in a batch", "ok"),
        ("maps", "ok"),
    ]
    assert found(findings, "range").detail == f"images lie in [{IMAGES.min():.3f}, {IMAGES.max():.3f}]"
    assert found(findings, "logits").detail == "logits, 3 classes"
    assert found(findings, "maps").detail == "2 convolutions, 1 blocks, 2 layers of the trunk"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logits": lambda z: z.softmax(1)}, "toy gives probabilities, and gradients of probabilities vanish"),
        ({"logits": lambda z: z / 0 * 0}, "toy gives NaN or infinite logits for 12 of 12 images"),
        ({"logits": lambda z: z.masked_fill(torch.arange(len(z))[:, None] == 3, torch.inf)}, "for 1 of 12 images"),
        (
            {"logits": lambda z: z[: len(z) // 2]},
            "must give one row of logits per image, (12, classes); toy gave (6, 3)",
        ),
        ({"logits": lambda z: (z, z)}, "toy gave a tuple of (12, 3), (12, 3). Wrap it"),
        ({"logits": lambda z: {"out": z, "aux": z}}, "toy gave a dict of 'out', 'aux'. Wrap it"),
        ({"logits": lambda z: z.squeeze()[:, 0]}, "toy gave float32 (12,)"),
        (
            {"logits": lambda z: z.argmax(1, keepdim=True)},
            "a logit for each of two classes or more, toy gave int64 (12, 1)",
        ),
        ({"logits": lambda z: z[:, :1]}, "give torch.cat([-z, z], 1) / 2"),
        ({"maps": lambda maps: functional.dropout(maps, 0.5, training=True)}, "does not give the same answer twice"),
        ({"maps": lambda maps: maps + torch.rand(1)}, "It draws random numbers in eval mode"),
        (
            {"maps": lambda maps: functional.batch_norm(maps, None, None, training=True)},
            "does not give the same answer alone and in a batch",
        ),
        ({"logits": lambda z: z - z.mean(0)}, "Its images influence each other"),
    ],
)
def test_what_would_make_every_result_wrong(options, message):
    with pytest.raises(ModelError) as told:
        checked(**options)
    assert message in str(told.value)


def test_one_image_is_enough_to_find_out_that_images_influence_each_other():
    with pytest.raises(ModelError, match="alone and in a batch"):
        checked(IMAGES[:1], maps=lambda maps: functional.batch_norm(maps, None, None, training=True))
    assert found(checked(IMAGES[:1]), "the same answer alone and in a batch").level == "ok"


def test_a_model_that_squeezes_fails_on_one_image_alone():
    with pytest.raises(ModelError, match=r"one row of logits per image, \(1, classes\); toy gave \(3,\)"):
        checked(logits=lambda z: z.squeeze())


def test_a_network_that_switches_itself_to_train_mode():
    class Switching(Network):
        def forward(self, images):
            self.second.train()
            return super().forward(images)

    with pytest.raises(ModelError, match=r"toy is not in eval mode \(module.second trains\)"):
        preflight(Classifier(Switching(), name="toy"), IMAGES)


def test_a_network_that_cannot_take_these_images():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(
        ModelError, match=r"toy cannot be run on 12 images of 3 x 12 x 12: RuntimeError: .*mat1 and mat2 shapes"
    ):
        preflight(Classifier(network, name="toy"), IMAGES)


def test_a_network_without_convolution():
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
    finding = found(preflight(Classifier(network, name="toy"), IMAGES), "maps")
    assert finding.level == "note"
    assert finding.detail.startswith("toy has no convolution")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.round() * 4 - 2, "images must be in [0, 1], got [-2, 2]. The model normalises inside. Pass"),
        (IMAGES * 255, "Divide 8-bit images by 255"),
        (IMAGES[0], "One image: images[None]"),
        (IMAGES[:0], "preflight needs at least one image, got none"),
    ],
)
def test_images_that_are_none(images, message):
    with pytest.raises(BoundsError) as told:
        checked(images)
    assert message in str(told.value)


def test_log_probabilities_are_noted():
    finding = found(checked(logits=lambda z: z.log_softmax(1)), "logits")
    assert (finding.level, finding.detail) == ("note", "the model gives log-probabilities; maps explain these")


def test_outputs_of_a_sigmoid_are_noted():
    finding = found(checked(logits=torch.sigmoid), "logits")
    assert finding.level == "note"
    assert "if the model ends in a sigmoid, return what comes before it" in finding.detail


@pytest.mark.parametrize(
    "bare",
    [
        lambda z: z * 5,  # any sign
        lambda z: z.abs() + 1,  # none below 0, and not summing to 1
        lambda z: z.softmax(1) * 9,
        lambda z: z.softmax(1) - 0.5,
    ],
)
def test_logits_that_are_no_probabilities(bare):
    assert found(checked(logits=bare), "logits").level == "ok"


def test_two_classes_are_enough():
    assert found(checked(classes=2, logits=lambda z: z * 5 - 1), "logits").detail == "logits, 2 classes"
    with pytest.raises(ModelError, match="gives probabilities"):
        checked(classes=2, logits=lambda z: z.softmax(1))


def test_an_untrained_constant_answer_is_the_same_answer():
    findings = checked(logits=lambda z: z * 0 + 1)
    assert found(findings, "the same answer twice").detail == "largest difference 0.0e+00 of the logits' spread"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_pass_and_still_fail_when_they_should(dtype):
    sound = Classifier(Network(), name="toy").to(dtype)
    images = torch.cat([torch.zeros_like(IMAGES[:1]), IMAGES[1:]])  # so different that bfloat16 tells them apart
    assert found(preflight(sound, images), "the same answer alone and in a batch").level == "ok"
    for change in (lambda z: z.softmax(1), lambda z: z - z.mean(0)):
        with pytest.raises(ModelError):
            preflight(Classifier(Network(logits=change), name="toy").to(dtype), images)


def test_the_number_of_class_names_is_compared():
    network = Network()
    findings = preflight(Classifier(network, name="toy", class_names=["a", "b"]), IMAGES)
    assert found(findings, "class names").detail == "the model has 3 classes and 2 names"
    assert "class names" not in [
        finding.check for finding in preflight(Classifier(network, name="toy", class_names=["a", "b", "c"]), IMAGES)
    ]


def test_a_transformer_is_noted():
    classifier = load("timm:vit_tiny_patch16_224", weights="random", device="cpu")
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    finding = found(preflight(classifier, images), "maps")
    assert finding.level == "note"
    assert (
        "48 of its 49 layers of weights lie behind or beside its maps (the last is patch_embed.proj)" in finding.detail
    )
    with pytest.raises(NoMapsError, match="works on tokens, as transformers"):
        look(classifier, images)


def test_accuracy():
    answers = Classifier(Network(), name="toy")(IMAGES).argmax(1)
    assert found(checked(labels=answers), "accuracy").detail == "12 of 12 labelled images are classified right"
    wrong = found(checked(labels=(answers + 1) % 3), "accuracy")
    assert (wrong.level, wrong.detail) == (
        "note",
        "toy: only 0 of 12 labelled images are classified right: check the preprocessing and the labels",
    )
    few = found(checked(IMAGES[:9], labels=((answers + 1) % 3)[:9]), "accuracy")
    assert (few.level, few.detail) == ("ok", "0 of 9 labelled images are classified right")


@pytest.mark.parametrize(
    "labels",
    [torch.full((12,), 3), torch.full((12,), -1), torch.zeros(5, dtype=torch.long), torch.full((12,), 0.5)],
)
def test_labels_that_are_not_the_models(labels):
    with pytest.raises(BoundsError, match="labels must be 12 whole numbers, one class from 0 to 2 per image, got "):
        checked(labels=labels)


def test_it_changes_nothing():
    classifier = Classifier(Network(), name="toy")
    before, state = classifier.weights_sha256, torch.get_rng_state()
    preflight(classifier, IMAGES)
    del classifier.weights_sha256
    assert classifier.weights_sha256 == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in classifier.modules())


def test_it_works_inside_inference_mode_and_on_images_made_there():
    with torch.inference_mode():
        assert len(checked(IMAGES.clone())) == 7
