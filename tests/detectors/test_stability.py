"""The stability detector: what it measures against plain NumPy, what it learns, and what it answers, by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from gazeshift.detectors.stability import FLOOR, Stability, _moved
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.pipeline import detector_inputs, look
from gazeshift.records import DetectorInput
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded

EVERYTHING = ("activation", "gradient", "grad_cam", "layer_cam", "grad_cam_norm", "layer_cam_norm", "logits")


def sighting(detector, images=None):
    images = images_of(5) if images is None else images
    draws = [generator_for(0, str(at)) for at in range(len(images))]
    return detector_inputs(classifier_of(seeded(Plain)), images, detector, generator=draws)


def moved(one, two):
    one, two = one.double().numpy().ravel(), two.double().numpy().ravel()
    cosine = (
        one @ two / (np.linalg.norm(one) * np.linalg.norm(two))
        if one.any() and two.any()
        else float(one.any() == two.any())
    )
    return np.log(max(1 - cosine, FLOOR))


def test_what_is_measured_is_what_the_documentation_says():
    detector = Stability(features=EVERYTHING, shifts=2, others="jpeg:quality=60")
    seen = sighting(detector)
    measured = detector.measure(seen).numpy()
    layers = seen.own.layers
    assert measured.shape == (5, 3 * len(layers) * 6 + 3)
    for image in range(5):
        wanted = []
        for view in seen.views:
            for layer in layers:
                own, other = seen.own.traces[layer], view.traces[layer]
                wanted += [moved(own.activation[image], other.activation[image])]
                wanted += [moved(own.gradient[image], other.gradient[image])]
                maps = [
                    (own.maps[cam][image].clamp_min(0), other.maps[cam][image].clamp_min(0))
                    for cam in ("grad_cam", "layer_cam")
                ]
                wanted += [moved(*pair) for pair in maps]
                wanted += [
                    np.log(max(float(two.double().norm()), 1e-15) / max(float(one.double().norm()), 1e-15))
                    for one, two in maps
                ]
        own = seen.own.logits[image].double().softmax(0)
        wanted += [float((view.logits[image].double().softmax(0) - own).abs().sum()) for view in seen.views]
        np.testing.assert_allclose(measured[image], wanted, atol=1e-6)


def test_an_image_that_is_its_own_view_has_not_moved():
    own = look(classifier_of(seeded(Plain)), images_of(3), layers="trunk")
    measured = Stability(shifts=1, features="activation+gradient").measure(DetectorInput(own=own, views=(own,)))
    torch.testing.assert_close(measured, torch.full_like(measured, float(np.log(FLOOR))))


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-20, 1e-35])
def test_how_far_a_gaze_moved_does_not_depend_on_its_size(scale):
    """Gradients of a sure network are tiny, and the product of four of them must not vanish."""
    first, second = torch.rand((2, 4, 9), generator=generator_for(0, "moved"))
    one, two = (values.double().numpy() for values in (first, second))
    cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    np.testing.assert_allclose(_moved(first * scale, second * scale), np.log(1 - cosine), atol=1e-5)
    none = torch.zeros_like(first)
    assert _moved(none, none).tolist() == pytest.approx([np.log(FLOOR)] * 4)
    assert _moved(none, second * scale).tolist() == [0.0] * 4


def test_each_feature_counts_the_same_whatever_its_numbers_spread_and_number():
    views, layers = 2, 3  # activation and gradient take turns; the answers, one for each view, come last
    sizes = torch.tensor([*(1.0, 20.0) * (views * layers), 5.0, 5.0])
    common = torch.randn(200, 1, generator=generator_for(1, "common"), dtype=torch.float64)
    benign = torch.randn(200, len(sizes), generator=generator_for(0, "benign"), dtype=torch.float64) + common
    benign = benign * sizes + 7
    detector = Stability(shifts=views).fit(benign)
    scaled = (benign.numpy() - benign.numpy().mean(0)) / benign.numpy().std(0, ddof=1)
    parts = [scaled[:, :12:2].mean(1), scaled[:, 1:12:2].mean(1), scaled[:, 12:].mean(1)]
    by_hand = np.mean([part / part.std(ddof=1) for part in parts], 0)
    np.testing.assert_allclose(detector.score(benign).numpy(), by_hand)
    assert Stability().centre is None, "fitting makes a new detector"


def test_one_that_knows_no_clean_images_says_so():
    with pytest.raises(SettingsError, match="knows no clean images yet: fit it first"):
        Stability().score(torch.zeros(1, 4))


def test_both_sides_count_steps_from_the_median_to_the_outer_points():
    benign = torch.randn(500, 3, generator=generator_for(1, "benign"), dtype=torch.float64)
    one, both = (Stability(shifts=3, features="logits", side=side).fit(benign) for side in ("high", "both"))
    means = one.score(benign)
    low, middle = np.quantile(means.numpy(), [0.05, 0.5])
    still = torch.full((1, 3), -4.0, dtype=torch.float64)
    assert one.score(still) < low
    assert both.score(still).item() == pytest.approx((middle - one.score(still).item()) / (middle - low))
    alarms = both.score(benign) > 1
    assert alarms.double().mean().item() == pytest.approx(0.1, abs=0.005)


def test_weights_are_those_of_a_logistic_regression_that_has_the_rule_of_clean_images_as_one_more_number():
    draw = generator_for(2, "draw")
    benign, attacked = (torch.randn(60, 5, generator=draw, dtype=torch.float64) + shift for shift in (0.0, 0.7))
    detector = Stability(shifts=1, penalty=0.3).fit(benign, attacked)
    scale = lambda values: (values - benign.mean(0)) / benign.std(0)  # noqa: E731
    oracle = LogisticRegression(C=0.3, class_weight="balanced", max_iter=5000)
    known = Stability(shifts=1).fit(benign)
    scores = torch.cat([known.score(benign), known.score(attacked)])[:, None]
    numbers = torch.cat([torch.cat([scale(benign), scale(attacked)]), 10 * scores], 1).numpy()
    oracle.fit(numbers, [0] * 60 + [1] * 60)
    by_hand = oracle.decision_function(numbers) - oracle.intercept_
    np.testing.assert_allclose(
        torch.cat([detector.score(benign), detector.score(attacked)]).numpy(), by_hand, atol=1e-6
    )
    assert detector.score(attacked).mean() > detector.score(benign).mean()


def test_reasons_add_up_to_the_suspicion():
    detector = Stability(shifts=2, others="jpeg:quality=60")
    seen = sighting(detector, images_of(40))
    measured = detector.measure(seen)
    detector = detector.fit(measured)
    reasons = detector.reasons(measured)
    assert reasons.shape == (40, 3, len(seen.own.layers) + 1), "the answer comes after the layers"
    assert detector.names == ("shift 1", "shift 2", "jpeg")
    torch.testing.assert_close(reasons.sum((1, 2)), detector.score(measured))


def test_views_of_a_shift_are_drawn_anew_and_never_the_image_itself():
    detector, images = Stability(shifts=6, others=()), images_of(2)
    views = detector.views(images, generator=[generator_for(3, str(at)) for at in range(2)])
    assert all(not torch.equal(view[at], images[at]) for view in views for at in range(2))
    assert len({tuple(view[0].flatten().tolist()) for view in views}) > 1


def test_texts_are_read_as_the_command_line_writes_them():
    assert Stability(features="activation+gradient+logits", others="") == Stability()
    assert Stability(others=None).changes == ("shift:most=3,least=1",) * 4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"features": ("sound",)}, UnknownNameError, "no feature 'sound'"),
        ({"side": "left"}, UnknownNameError, "no side 'left'"),
        ({"shifts": 0, "others": ()}, BoundsError, "at least one view and one feature, got 0 shifts, 0 others"),
        ({"features": ()}, BoundsError, "0 features"),
        ({"others": ("fog",)}, UnknownNameError, "no transforms named 'fog'"),
        ({"most": 0}, BoundsError, "at least 1 pixel, got 0"),
    ],
)
def test_settings_that_make_no_sense(settings, error, message):
    with pytest.raises(error, match=message):
        Stability(**settings)


def test_what_it_cannot_do():
    with pytest.raises(BoundsError, match="stability learns from at least 20 clean images, got 3"):
        Stability().fit(torch.zeros(3, 2))
    with pytest.raises(BoundsError, match="adversarial images too, got none"):
        Stability().fit(torch.zeros(20, 2), torch.zeros(0, 2))
    with pytest.raises(SettingsError, match="fit it first"):
        Stability().score(torch.zeros(3, 2))
    with pytest.raises(SettingsError, match="compares with 4 views, got 0"):
        Stability().measure(DetectorInput(own=sighting(Stability()).own))
