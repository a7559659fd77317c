"""Detectors as files: what comes back is what was saved, and nothing else is accepted."""

import json
from dataclasses import fields, replace

import pytest
import torch

from gazeshift.calibrated import CalibratedDetector, fingerprints
from gazeshift.detectors import calibrate, p_values
from gazeshift.detectors.stability import Stability
from gazeshift.errors import BoundsError, DataError, OutputError, SettingsError
from gazeshift.pipeline import detector_inputs, judge, moved_most
from gazeshift.records import ANSWER
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded


@pytest.fixture
def classifier():
    return classifier_of(seeded(Plain))


@pytest.fixture
def deployed(classifier):
    draw = generator_for(0, "benign")
    detector = Stability(shifts=1, others=())
    count = 2 * len(detector.layers(classifier.layers((16, 16)))) + 1
    benign, attacked, fresh = (torch.randn(40, count, generator=draw, dtype=torch.float64) for _ in range(3))
    detector = detector.fit(benign, attacked + 1)
    return CalibratedDetector(
        name="stability",
        detector=detector,
        model=json.loads(json.dumps(classifier.card())),
        layers=detector.layers(classifier.layers((16, 16))),
        scores=detector.score(fresh),
        false_alarms=0.05,
        fitted_on=("aa", "bb"),
        calibrated_on=("cc",),
        facts={"images": "somewhere"},
    )


def test_what_was_saved_comes_back(deployed, classifier, tmp_path):
    deployed.save(tmp_path / "new" / "detector")
    again = CalibratedDetector.load(tmp_path / "new" / "detector")
    assert again.detector == deployed.detector
    for one in fields(deployed.detector):
        before, after = getattr(deployed.detector, one.name), getattr(again.detector, one.name)
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after, one.name
    assert torch.equal(again.scores, deployed.scores)
    for name in ("name", "model", "layers", "false_alarms", "fitted_on", "calibrated_on", "facts", "threshold"):
        assert getattr(again, name) == getattr(deployed, name), name
    images = images_of(4)
    first, second = (judge(classifier, images, one, generator=generator_for(1, "views")) for one in (deployed, again))
    assert torch.equal(first.suspicion, second.suspicion)


def test_a_verdict_is_the_scores_own(deployed, classifier):
    found = judge(classifier, images_of(6), deployed, generator=generator_for(1, "views"))
    assert torch.equal(found.is_attack, found.suspicion > deployed.threshold)
    assert torch.equal(found.p_value, p_values(found.suspicion, deployed.scores))
    assert torch.equal(found.is_attack, found.p_value <= 0.05)
    total = sum(found.reasons.values())
    torch.testing.assert_close(total, found.suspicion)
    assert {layer for _, layer in found.reasons} == {*deployed.layers, ANSWER}
    most = [moved_most(found, at)[0] for at in range(6)]
    assert all(found.reasons[view, layer][at] == part for at, (part, view, layer) in enumerate(most))
    assert all(layer != ANSWER for _, _, layer in most)
    fresh, other = judge(classifier, images_of(6), deployed), judge(classifier, images_of(6), deployed)
    assert not torch.equal(fresh.suspicion, other.suspicion), "views are drawn anew for each request"


def test_an_image_that_cannot_be_scored_is_an_alarm(deployed, classifier):
    broken = replace(deployed.detector, centre=torch.full_like(deployed.detector.centre, float("nan")))
    found = judge(classifier, images_of(2), replace(deployed, detector=broken))
    assert found.suspicion.isnan().all()
    assert found.is_attack.all()
    assert (found.p_value == 1 / 41).all()


def test_p_values_and_threshold_say_the_same():
    draw = generator_for(4, "scores")
    clean, fresh = torch.rand(57, generator=draw), torch.rand(300, generator=draw)
    fresh[:57] = clean  # ties
    for rate in (0.02, 0.05, 0.31):
        assert torch.equal(p_values(fresh, clean) <= rate, fresh > calibrate(clean, rate))


def test_the_promise_is_kept_over_200_random_splits():
    """Fitting, calibrating and testing on disjoint random parts of one collection, as `detect fit` does."""
    measured = torch.randn(300, 6, generator=generator_for(5, "clean"), dtype=torch.float64).exp()
    rates = []
    for split in range(200):
        order = torch.randperm(300, generator=generator_for(split, "split"))
        detector = Stability().fit(measured[order[:100]])
        scores = detector.score(measured[order[100:]])
        rates.append(float((scores[100:] > calibrate(scores[:100], 0.05)).double().mean()))
    assert sum(rates) / 200 <= 0.05 + 2 * 0.03 / 200**0.5
    assert sum(rates) / 200 >= 0.03, "a threshold that never alarms keeps every promise"


def test_the_classifiers_own_card_is_its_card(deployed, classifier):
    """As Python has it, with tuples where a file has lists."""
    replace(deployed, model=classifier.card()).check(classifier, images_of(1))


def test_another_model_is_refused(deployed):
    with pytest.raises(SettingsError, match=r"was fitted for .* with weights_sha256 .* Fit one for it"):
        deployed.check(classifier_of(seeded(Plain, seed=1)))


def test_images_that_show_other_layers_are_refused(deployed, classifier):
    """Pooling makes a single pixel, which is no map, of what is two pixels wide."""
    with pytest.raises(SettingsError, match=r"on 3 layers and images of 2 x 2 show 1; .* relus\.1\. Give it images of"):
        judge(classifier, images_of(1, size=2), deployed)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda images: (images * 255).byte(), "images must be float"),
        (lambda images: images[0], "images must be float .* One image: images"),
        (lambda images: images + 0.001, r"images must be in \[0, 1\]"),
    ],
    ids=["8-bit numbers", "a single one", "hardly out of range"],
)
def test_only_images_are_judged(deployed, classifier, made, message):
    """Rounding to 8 bits comes first, and would make images of the first and the last."""
    with pytest.raises(BoundsError, match=message):
        judge(classifier, made(images_of(2) * 0 + 1), deployed)
    with pytest.raises(BoundsError, match=message):
        detector_inputs(classifier, made(images_of(2) * 0 + 1), deployed.detector, generator=generator_for(1, "views"))


def test_calibrating_on_images_it_learned_from_is_refused(deployed):
    scores = torch.rand(30)
    with pytest.raises(SettingsError, match="1 of these 3 images are among those the detector was fitted on"):
        deployed.calibrated(scores, ["dd", "aa", "ee"])
    again = deployed.calibrated(scores, ["dd"], false_alarms=0.1)
    assert (again.threshold, again.calibrated_on) == (calibrate(scores.double(), 0.1), ("dd",))


def test_files_that_are_no_detector(deployed, tmp_path):
    with pytest.raises(DataError, match=r"holds no detector: detector.json is missing"):
        CalibratedDetector.load(tmp_path)
    deployed.save(tmp_path)
    numbers, words = tmp_path / "detector.safetensors", tmp_path / "detector.json"
    whole, text = numbers.read_bytes(), words.read_text()
    numbers.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"does not belong to detector.json beside it, or was cut short"):
        CalibratedDetector.load(tmp_path)
    numbers.write_bytes(whole)
    words.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="is damaged"):
        CalibratedDetector.load(tmp_path)
    words.write_text(json.dumps(json.loads(text) | {"format": 2}))
    with pytest.raises(DataError, match=r"of format 2, and this gazeshift reads up to 1. Update gazeshift"):
        CalibratedDetector.load(tmp_path)
    told = json.loads(text)
    del told["layers"]
    words.write_text(json.dumps(told))
    with pytest.raises(DataError, match="damaged detector"):
        CalibratedDetector.load(tmp_path)
    words.write_text("[]")
    with pytest.raises(DataError, match="is not a detector's"):
        CalibratedDetector.load(tmp_path)


def test_a_folder_that_cannot_be_written(deployed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        deployed.save(tmp_path / "file" / "detector")


def test_fingerprints_follow_from_8_bit_pixels_alone():
    image = torch.full((1, 3, 4, 4), 0.5)
    same, other = fingerprints(image + 0.0005), fingerprints(image + 0.01)
    assert fingerprints(image) == same != other
    assert len(same[0]) == 20
