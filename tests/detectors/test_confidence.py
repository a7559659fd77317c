"""Suspicion from the logits alone: by hand, and against pytorch-ood."""

import math

import pytest
import pytorch_ood.detector as theirs
import torch

from gazeshift.detectors.confidence import Confidence
from gazeshift.errors import UnknownNameError
from gazeshift.records import DetectorInput
from gazeshift.seeds import generator_for
from helpers.evidence import answers


def scored(by, logits):
    detector = Confidence(by=by)
    return detector.score(detector.measure(DetectorInput(own=answers(logits))))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("msp", 0.4),
        ("energy", -math.log(10)),
        ("entropy", -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1))),
        ("margin", -math.log(2)),
    ],
)
def test_by_hand(by, expected):
    logits = torch.tensor([[1.0, 6.0, 3.0]]).log()  # probabilities 0.1, 0.6 and 0.3
    assert scored(by, logits).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("by", "other", "offset"),
    [("msp", theirs.MaxSoftmax, 1), ("energy", theirs.EnergyBased, 0), ("entropy", theirs.Entropy, 0)],
)
def test_agrees_with_pytorch_ood(by, other, offset):
    logits = 4 * torch.randn((20, 7), generator=generator_for(0, "logits"))
    expected = other(None).predict_logits(logits.double()) + offset
    torch.testing.assert_close(scored(by, logits), expected)


def test_sure_answers_differ_where_one_minus_the_probability_does_not():
    logits = torch.tensor([[60.0, 0.0], [50.0, 0.0]])
    first, second = scored("msp", logits).tolist()
    assert 1 - logits.double().softmax(1).amax(1).tolist()[0] == 0
    assert first == pytest.approx(math.exp(-60))
    assert second == pytest.approx(math.exp(-50))


def test_a_class_ruled_out_has_no_entropy_and_no_nan():
    logits = torch.tensor([[0.0, 0.0, -200.0]])
    assert scored("entropy", logits).item() == pytest.approx(math.log(2))


def test_another_way_is_refused():
    with pytest.raises(UnknownNameError, match=r"confidence has no by 'enrgy'\. Did you mean 'energy'"):
        Confidence(by="enrgy")
