"""Networks that send images different ways: early exits, gates, loops, parts of a batch."""

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from gazeshift.errors import LayerError
from gazeshift.models import Classifier, Preprocessing, preflight, select
from gazeshift.models._discovery import discover
from gazeshift.models._paths import check_reached_by_all, modules_reached, path_change, path_of
from gazeshift.pipeline import look

GREY, DARK, LIGHT = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)


class Exits(nn.Module):
    """Leaves early unless an image is light; a batch goes on with those that stay."""

    def __init__(self, *, by_image: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.early, self.late, self.by_image = nn.Linear(4, 3), nn.Linear(6, 3), by_image

    def forward(self, images):
        maps = self.first(images)
        logits = self.early(maps.mean((2, 3)))
        staying = images.mean((1, 2, 3)) > 0.6
        if self.by_image:
            later = logits.clone()
            later[staying] = self.late(self.second(maps[staying]).mean((2, 3)))
            return later
        return self.late(self.second(maps).mean((2, 3))) if staying.all() else logits


class Gated(nn.Module):
    """One of two branches, by the mean of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.dark, self.light, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, images):
        return self.head((self.light if images.mean() > 0.6 else self.dark)(images).mean((2, 3)))


class Loop(nn.Module):
    """Repeats a convolution as often as an image is light."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, images):
        maps = self.stem(images)
        for _ in range(1 + int(images.mean() * 2)):
            maps = self.conv(maps)
        return self.head(maps.mean((2, 3)))


class Deep(nn.Module):
    """Stochastic depth, which in eval mode leaves nothing to chance."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.drop = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), StochasticDepth(0.5, "row")
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        maps = self.stem(images)
        return self.head((maps + self.drop(self.conv(maps))).mean((2, 3)))


def change(network, images):
    classifier = Classifier(network, name="paths")
    return path_change(classifier.layers((8, 8)).path, path_of(classifier.module, lambda: classifier(images)))


@pytest.mark.parametrize(
    ("network", "image", "told"),
    [
        (Exits(by_image=False), DARK, ""),
        (Exits(by_image=False), LIGHT, "it reaches second and 1 more"),
        (Exits(by_image=True), DARK, ""),
        (Exits(by_image=True), LIGHT, "it calls or fills in another way second and 1 more"),  # grey: with no image
        (Gated(), DARK, ""),
        (Gated(), LIGHT, "it reaches light; it does not reach dark"),
        (Loop(), GREY, ""),
        (Loop(), DARK, "it calls or fills in another way conv"),
        (Deep(), LIGHT, ""),
    ],
)
def test_how_a_path_differs_from_a_grey_images(network, image, told):
    assert change(network, image) == told


def test_modules_that_only_other_images_reach():
    classifier = Classifier(Gated(), name="gated")
    uncalled = classifier.layers((8, 8)).uncalled
    assert uncalled == ("light",)
    for image, expected in ((DARK, set()), (LIGHT, {"light"})):
        with modules_reached(classifier.module, uncalled) as reached:
            classifier(image)
        assert reached == expected
    with modules_reached(classifier.module, ()) as reached:
        classifier(LIGHT)
    assert reached == set()
    assert not any(part._forward_hooks for part in classifier.modules())


@pytest.mark.parametrize(
    ("network", "image", "names"),
    [
        (Exits(by_image=False), DARK, ["first"]),
        (Exits(by_image=False), LIGHT, ["first", "second"]),
        (Exits(by_image=True), LIGHT, ["first", "second"]),
        (Gated(), DARK, ["dark"]),
        (Gated(), LIGHT, ["light"]),
        (Loop(), LIGHT, ["stem", "conv", "conv#2", "conv#3"]),
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_layers_of_the_images_own_path(network, image, names, n):
    classifier = Classifier(network, name="paths")
    images = image.repeat(n, 1, 1, 1)
    layers = discover(classifier.module, lambda: classifier(images), "paths", "these images")
    assert [layer.name for layer in layers] == names


def test_an_empty_batch_is_not_an_images_way():
    classifier = Classifier(Exits(by_image=True), name="exits")
    uncalled = classifier.layers((8, 8)).uncalled
    assert uncalled == ("second", "late")
    with pytest.raises(LayerError, match="no map at 'second': the network does not call it for a grey image"):
        select(classifier.layers((8, 8)), "second", "exits")
    for image, expected in ((DARK, set()), (LIGHT, {"second", "late"})):
        with modules_reached(classifier.module, uncalled) as reached:
            classifier(image)
        assert reached == expected


def test_a_batch_of_which_a_part_goes_on_has_no_layers_of_its_own():
    classifier = Classifier(Exits(by_image=True), name="exits")
    both = torch.cat([DARK, LIGHT, DARK])
    with pytest.raises(LayerError, match=r"exits sends 1 of 3 images through second: .* Look at one image at a time"):
        discover(classifier.module, lambda: classifier(both), "exits", "these images")


def test_a_layer_must_have_got_every_image():
    (layer,) = Classifier(Gated(), name="gated").layers((8, 8))
    check_reached_by_all(layer, torch.zeros(3, 4, 6, 6), 3)
    for shape in ((2, 4, 6, 6), (3, 5, 6, 6), (3, 4)):
        with pytest.raises(LayerError, match=r"layer dark gave .* for 3 images, not \(3, 4, height, width\)"):
            check_reached_by_all(layer, torch.zeros(shape), 3)


def test_a_look_says_that_images_reach_what_no_grey_one_does():
    classifier = Classifier(Exits(by_image=False), name="exits", preprocessing=Preprocessing(resize=8, crop=8))
    with pytest.warns(
        UserWarning, match=r"exits: these images reach late and 1 more, which the grey image .* does not"
    ):
        look(classifier, LIGHT)
    look(classifier, DARK)  # and no warning, which would be an error here


def test_a_layer_that_only_grey_images_reach():
    classifier = Classifier(Gated(), name="gated", preprocessing=Preprocessing(resize=8, crop=8))
    with pytest.raises(LayerError, match="did not reach layer dark, as that of a grey image"):
        look(classifier, LIGHT, layers="dark")


@pytest.mark.parametrize(
    ("image", "told"), [(DARK, []), (LIGHT, ["it calls or fills in another way second and 1 more"])]
)
def test_preflight_compares_the_paths_of_images(image, told):
    classifier = Classifier(Exits(by_image=True), name="exits", preprocessing=Preprocessing(resize=8, crop=8))
    findings = [one for one in preflight(classifier, image * 0.9 + 0.05) if one.check == "paths"]
    assert [one.level for one in findings] == ["note"] * len(told)
    assert [one.detail.split("another, ")[1] for one in findings] == told
