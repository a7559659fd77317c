"""The binary detector: what it sees, two steps of its training by hand, and something plain to learn."""

import copy
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

import helpers.networks
from gazeshift.detectors._two_classes import fresh_detector
from gazeshift.detectors.binary import Binary, _images
from gazeshift.errors import BoundsError, ModelError, SettingsError
from gazeshift.pipeline import detector_inputs
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded

TINY = f"module:{helpers.networks.__file__}:Plain"


def measured(images, detector):
    return detector.measure(detector_inputs(classifier_of(seeded(Plain)), images, detector, generator=[]))


def patterned(images):
    """A chequered change of 6/255, plain for a network and not for the eye."""
    sign = 1 - 2.0 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2)
    return (images + 6 / 255 * sign).clamp(0, 1)


def test_sees_the_middle_unchanged():
    images = images_of(2)
    found = measured(images, Binary(side=4))
    assert found[:, 0].tolist() == [3, 3]  # channels
    assert torch.equal(found[:, 1:].reshape(2, 3, 4, 4).float(), images[:, :, 6:10, 6:10])
    assert measured(images, Binary(side=99)).shape == (2, 1 + 3 * 16 * 16)


def test_a_network_of_colour_takes_images_of_other_channels():
    """The same but for a first convolution and a normalisation of other width, and all the rest drawn as before."""
    colour, grey = (fresh_detector(TINY, 3, "cpu", channels) for channels in (3, 4))
    assert grey(torch.rand(2, 4, 8, 8)).shape == (2, 2)
    assert grey.mean.shape == grey.std.shape == (4, 1, 1)
    other = grey.state_dict()
    assert {name for name, one in colour.state_dict().items() if not torch.equal(one, other[name])} == {
        "mean",
        "std",
        "network.convs.0.weight",
        "network.convs.0.bias",
    }
    again = fresh_detector(TINY, 3, "cpu", 4)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in grey.state_dict().items())


def test_channels_and_sides_are_told_apart():
    """Four channels of 4 x 4 pixels are as many numbers as one of 8 x 8."""
    four, one = torch.rand(2, 4, 4, 4), torch.rand(2, 1, 8, 8)
    for images in (four, one):
        rows = torch.cat([torch.full((2, 1), float(images.shape[1])), images.flatten(1)], 1)
        assert torch.equal(_images(rows), images)
    with pytest.raises(SettingsError, match="got 48 numbers that begin with 0"):
        _images(torch.zeros(2, 48))


def test_two_steps_by_hand():
    smooth = TINY.replace("Plain", "Linear")  # no batch norm, which leaves biases to chance
    detector = Binary(network=smooth, side=8, epochs=2, batch_size=100, seed=3)
    clean, attacked = measured(images_of(6), detector), measured(patterned(images_of(3, seed=2)), detector)
    network = fresh_detector(smooth, 3, "cpu").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        rows = network(torch.cat([clean, attacked])[:, 1:].float().reshape(9, 3, 8, 8)).log_softmax(1)
        (-(rows[:6, 0].mean() + rows[6:, 1].mean()) / 2).backward()
        optimizer.step()
    network.eval()
    others = measured(images_of(5, seed=4), detector)
    logits = network(others[:, 1:].float().reshape(5, 3, 8, 8)).detach()
    found = detector.fit(clean, attacked).score(others)
    torch.testing.assert_close(found, (logits[:, 1] - logits[:, 0]).double(), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def learned():
    detector = Binary(network=TINY, side=16, epochs=40, batch_size=20, learning_rate=0.02)
    return detector.fit(measured(images_of(60), detector), measured(patterned(images_of(40, seed=2)), detector))


def test_learns_what_is_plain_to_see(learned):
    clean, attacked = measured(images_of(50, seed=3), learned), measured(patterned(images_of(50, seed=4)), learned)
    scores = learned.score(torch.cat([clean, attacked]))
    assert roc_auc_score([0] * 50 + [1] * 50, scores) > 0.95


def test_the_same_again_and_its_fields_are_all_there_is(learned):
    others, before = measured(images_of(5, seed=3), learned), torch.get_rng_state()
    bare = replace(learned, weights=None)
    again = bare.fit(measured(images_of(60), bare), measured(patterned(images_of(40, seed=2)), bare))
    assert torch.equal(again.score(others), learned.score(others))
    restored = replace(bare, weights=copy.deepcopy(dict(reversed(learned.weights.items()))))
    assert torch.equal(restored.score(others), learned.score(others))
    assert torch.equal(torch.get_rng_state(), before)
    assert learned.score(others[:0]).shape == (0,)


def test_steps_are_of_nearly_the_same_size_and_epochs_differ_in_order():
    steps = list(Binary(epochs=2, batch_size=32)._steps(65))
    assert [len(step) for step in steps] == [22, 22, 21] * 2
    first, second = torch.cat(steps[:3]), torch.cat(steps[3:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(65))
    assert not torch.equal(first, second)
    own = torch.randperm(65, generator=generator_for(0, "order", "0"))
    assert torch.equal(first, own)


def test_refusals():
    detector = Binary(network=TINY, side=8)
    clean = measured(images_of(4), detector)
    for attacked in (None, clean[:0]):
        with pytest.raises(SettingsError, match="needs both: give it adversarial sets"):
            detector.fit(clean, attacked)
    with pytest.raises(SettingsError, match="has not learned yet"):
        detector.score(clean)
    with pytest.raises(ModelError, match="ends in a linear layer"):
        replace(detector, network="torchvision:squeezenet1_1").fit(clean, clean)
    with pytest.raises(ModelError, match="Lower the learning rate"):
        replace(detector, learning_rate=1e30).fit(clean, clean)
    with pytest.raises(BoundsError, match="side, epochs and a batch_size of at least 1"):
        Binary(side=0)
