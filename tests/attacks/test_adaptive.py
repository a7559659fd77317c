"""An attacker who knows the detector: gets past where that can be done, and past no detector that cannot be passed."""

import json
from dataclasses import replace

import pytest
import torch

from gazeshift.attacks.adaptive import Adaptive
from gazeshift.attacks.adaptive.steps import AttackState, unit, without
from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors.stability import Stability
from gazeshift.errors import BoundsError, ModelError, SettingsError, UnknownNameError
from gazeshift.evasion import DefendedModel, evade, evaded
from gazeshift.pipeline import attack, detector_inputs
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded


@pytest.fixture(scope="module")
def classifier():
    return classifier_of(seeded(Plain))


@pytest.fixture(scope="module")
def deployed(classifier):
    """Fitted on half of some images, calibrated on the others."""
    detector, images = Stability(shifts=1, features="activation+gradient"), images_of(80, seed=3)
    draws = [generator_for(0, str(at)) for at in range(80)]
    measured = detector.measure(detector_inputs(classifier, images, detector, generator=draws))
    fitted = detector.fit(measured[:40])
    return CalibratedDetector(
        name="stability",
        detector=fitted,
        model=json.loads(json.dumps(classifier.card(), default=str)),
        layers=detector.layers(classifier.layers((16, 16))),
        scores=fitted.score(measured[40:]),
        false_alarms=0.2,
        fitted_on=(),
        calibrated_on=(),
    )


def draws(name, n):
    return [generator_for(1, name, str(at)) for at in range(n)]


@pytest.mark.parametrize("method", ["joint", "orthogonal", "expectation"])
def test_it_stays_in_the_ball_and_repeats_itself(classifier, deployed, method):
    images, spec = images_of(4), f"adaptive:epsilon=0.1,steps=6,method={method}"
    first, again = (evade(classifier, images, None, deployed, by=spec, generator=draws("a", 4)) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert (first.images - images).abs().max() <= 0.1 + 1e-6
    assert first.images.min() >= 0
    assert first.images.max() <= 1
    alone = evade(classifier, images[1:2], None, deployed, by=spec, generator=draws("a", 4)[1:2])
    torch.testing.assert_close(alone.images, first.images[1:2], atol=1e-4, rtol=0)


def test_it_gets_past_more_often_than_one_who_does_not_know(classifier, deployed):
    """The threshold is set so low that plain attacks are seen; noise of the image's own kind keeps below it."""
    images = images_of(12, seed=8)
    labels = classifier(images).argmax(1)
    plain = attack(classifier, images, labels, by="pgd:epsilon=0.5,steps=10", generator=draws("pgd", 12)).images
    known = evade(
        classifier,
        images,
        labels,
        deployed,
        by="adaptive:epsilon=0.5,steps=24,restarts=2",
        generator=draws("adaptive", 12),
    ).images
    opponent = DefendedModel(classifier=classifier, deployed=deployed)
    past = {
        name: int(evaded(opponent, made, labels, generator=generator_for(5, name)).evaded.sum())
        for name, made in {"plain": plain, "known": known}.items()
    }
    assert past["known"] > past["plain"]


def test_nothing_gets_past_a_detector_that_always_alarms(classifier, deployed):
    images = images_of(4)
    labels = classifier(images).argmax(1)
    always = replace(deployed, scores=deployed.scores - 1e6)
    made = evade(classifier, images, labels, always, by="adaptive:epsilon=0.5,steps=24", generator=draws("b", 4))
    found = evaded(DefendedModel(classifier=classifier, deployed=always), made.images, labels)
    assert found.flagged.all()
    assert not found.evaded.any()
    assert found.misclassified.any(), "the label is left all the same"


def test_without_an_opponent_it_is_an_attack_like_any_other(classifier):
    images = images_of(4)
    made = attack(classifier, images, by="adaptive:epsilon=0.5,steps=8", generator=draws("c", 4))
    assert (made.logits.argmax(1) != made.labels).any()


def test_the_classifier_and_the_detector_stay_as_they_are(classifier, deployed):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    centre = deployed.detector.centre.clone()
    evade(classifier, images_of(2), None, deployed, by="adaptive:epsilon=0.1,steps=4")
    assert all(torch.equal(classifier.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(deployed.detector.centre, centre)


def test_of_two_gradients_the_part_along_the_other_is_taken_away():
    one, two = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    left = without(one, two)
    assert (left * two).sum((1, 2, 3)).abs().max() < 1e-4
    assert torch.equal(without(one, torch.zeros_like(two)), one)
    assert unit(one).abs().mean((1, 2, 3)).tolist() == pytest.approx([1, 1])


def test_the_best_is_kept_and_the_weight_follows_what_is_missing():
    images = torch.zeros(3, 3, 2, 2)
    state, at = AttackState.of(images, 0.2), torch.arange(3)
    state.note(at, images + 1, torch.tensor([1.0, -1.0, -1.0]), torch.tensor([5.0, 5.0, -1.0]))
    assert state.weight.tolist() == pytest.approx([0.8, 1.25, 1.0])
    assert state.merit[0] < 1 < state.merit[1] < state.merit[2] < 2
    state.note(at, images + 2, torch.tensor([2.0, -1.0, 1.0]), torch.tensor([5.0, 4.0, -9.0]))
    assert state.best[:, 0, 0, 0].tolist() == [1, 2, 1], "worse, less suspicious, classified again"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "force"}, UnknownNameError, "no method named 'force'"),
        ({"lead": -1}, BoundsError, "lead must be 0 or more and finite, got -1"),
        ({"draws": 0}, BoundsError, "draws"),
        ({"epsilon": 2}, BoundsError, "epsilon"),
    ],
)
def test_settings_that_make_no_sense(settings, error, message):
    with pytest.raises(error, match=message):
        Adaptive(**settings)


def test_another_model_is_refused(deployed):
    with pytest.raises(SettingsError, match="was fitted for"):
        evade(classifier_of(seeded(Plain, seed=1)), images_of(1), None, deployed)


def test_a_gradient_that_is_not_a_number_is_refused():
    def broken(images):
        scores = images.sum((1, 2, 3)) * torch.nan
        return torch.stack([scores, -scores], 1)

    with pytest.raises(ModelError, match=r"not finite|NaN|nan"):
        Adaptive(epsilon=0.1, steps=4)(broken, images_of(2), torch.tensor([0, 1]), generator=draws("nan", 2))
