"""attack(): the caller judges, not the attack."""

import pytest
import torch
from torch import nn

import gazeshift as gs
from gazeshift.errors import BoundsError, UnknownNameError


class Bright(nn.Module):
    """Class 1 if the image is bright: the margin is known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, images):
        light = self.conv(images).mean((1, 2, 3)) / 3
        return torch.stack([0.5 - light, light - 0.5], 1)


@pytest.fixture(scope="module")
def model():
    return gs.Classifier(Bright(), name="bright", preprocessing=gs.Preprocessing(resize=8, crop=8))


@pytest.fixture
def images():
    return torch.tensor([0.6, 0.52, 0.4])[:, None, None, None].expand(3, 3, 8, 8).contiguous()


def test_success_margin_and_norms_are_those_of_the_final_image(model, images):
    found = gs.attack(model, images, torch.tensor([1, 1, 1]), by="fgsm:epsilon=0.05")
    assert found.clean_correct.tolist() == [True, True, False]
    assert found.success.tolist() == [False, True, False]  # 0.55 stays bright, 0.47 does not, 0.4 was wrong before
    torch.testing.assert_close(found.margin, torch.tensor([0.1, -0.06, -0.3]))
    torch.testing.assert_close(found.linf, torch.full((3,), 0.05))
    torch.testing.assert_close(found.rms, torch.full((3,), 0.05))
    torch.testing.assert_close(found.l2, torch.full((3,), 0.05 * 192**0.5))


def test_passes_are_counted_per_image(model, images):
    found = gs.attack(model, images, by="pgd:steps=7")
    assert (found.forwards, found.backwards) == (7, 7)
    assert gs.attack(model, images, by="gaussian").backwards == 0


def test_without_labels_the_models_own_answers_are_left(model, images):
    found = gs.attack(model, images, by="pgd:epsilon=0.2")
    assert found.labels.tolist() == [1, 1, 0]
    assert found.success.all()


def test_what_an_attack_returns_is_clipped_and_predicted_again(model, images):
    class Liar:
        def __call__(self, _model, images, _labels, *, generator):  # noqa: ARG002
            return images + 2

    found = gs.attack(model, images, torch.tensor([1, 1, 1]), by=Liar())
    assert found.images.max() == 1
    assert not found.success.any()
    torch.testing.assert_close(found.logits, model(found.images))


def test_the_same_seed_gives_the_same_images(model, images):
    first, again = (gs.attack(model, images, by="pgd", generator=gs.generator_for(3, "x")) for _ in range(2))
    other = gs.attack(model, images, by="pgd", generator=gs.generator_for(4, "x"))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(gs.attack(model, images, by="gaussian").images, other.images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 3, 8, 8), 255.0), r"in \[0, 1\], got \[255, 255\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "must be float"),
        (torch.zeros(3, 8, 8), "One image: images"),
        (torch.zeros(1, 8, 8, 3), "Channels last"),
        (torch.full((1, 3, 8, 8), torch.nan), r"in \[0, 1\]"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(model, images, message):
    with pytest.raises(BoundsError, match=message):
        gs.attack(model, images)


def test_an_unknown_attack_is_answered_with_the_nearest(model, images):
    with pytest.raises(UnknownNameError, match="Did you mean 'fgsm'"):
        gs.attack(model, images, by="fgms")


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 2]), torch.tensor([0, -1, 1]), torch.tensor([0, 1])])
def test_labels_that_do_not_fit_are_refused(model, images, labels):
    with pytest.raises(BoundsError, match=r"labels must be .* one class from 0 to 1"):
        gs.attack(model, images, labels)
