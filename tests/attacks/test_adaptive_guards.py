"""The attack that knows the detector, against guards whose weak side is known, and against every detector of ours."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gazeshift import registry
from gazeshift.attacks._defended import DetectorOutput, margins
from gazeshift.attacks.adaptive import Adaptive
from gazeshift.attacks.adaptive.steps import COMBINED, Slopes, without
from gazeshift.attacks.pgd import Pgd
from gazeshift.calibrated import CalibratedDetector, fingerprints
from gazeshift.errors import BoundsError, ModelError, SettingsError
from gazeshift.evasion import DefendedModel, evade, evaded
from gazeshift.pipeline import detector_inputs, judge
from gazeshift.seeds import each, generator_for, uniform
from helpers.networks import Plain, classifier_of, images_of, seeded

SIZE = 8


class Half(nn.Module):
    """Two classes, told apart by <weights, image> alone."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        score = ((images - 0.5) * self.weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


@dataclass(frozen=True)
class Guard:
    """Suspects what goes one way, <away, image>, give or take a random amount that is drawn for each glimpse.

    One view, which shows the image as it is.
    """

    model: nn.Module
    away: Tensor
    threshold: float = 0.5
    noise: float = 0.1
    broken: bool = False

    def views(self, images: Tensor, *, generator: Any) -> tuple[Tensor, ...]:  # noqa: ARG002
        return images, images * 1

    def glimpse(self, images: Tensor, *, generator: Any) -> DetectorOutput:
        suspicion = ((images - 0.5) * self.away).sum((1, 2, 3)).double()
        suspicion = suspicion + self.noise * uniform((len(images),), generator, images.device)
        suspicion = suspicion * torch.nan if self.broken else suspicion
        return DetectorOutput(suspicion=suspicion, logits=torch.stack([self.model(images)] * 2))


@pytest.fixture
def guarded() -> tuple[Half, Guard, Tensor, Tensor]:
    """Nearly grey images of class 0, and a guard who is alarmed by the steepest way out of it.

    The weights are w + u and the guard's are -8 u, with w and u on different pixels: whoever goes against w alone is
    misclassified and not seen, and whoever goes against both is seen.
    """
    first = torch.zeros(3, SIZE, SIZE)
    first[:, : SIZE // 2] = 1
    images = 0.5 + 0.004 + 0.002 * uniform((6, 3, SIZE, SIZE), generator_for(0, "grey"), torch.device("cpu"))
    model = Half(first + (1 - first))
    return model, Guard(model, -8 * (1 - first)), images, torch.zeros(6, dtype=torch.long)


def draws(n: int, name: str = "adaptive") -> list[torch.Generator]:
    return [generator_for(0, name, str(at)) for at in range(n)]


def past(guard: Guard, images: Tensor) -> Tensor:
    seen = guard.glimpse(images, generator=draws(len(images), "judge"))
    return (seen.logits[0].argmax(1) == 1) & (seen.suspicion <= guard.threshold)


@pytest.mark.parametrize("method", ["joint", "orthogonal"])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.02), ("l2", 0.2)])
def test_gets_past_where_there_is_a_way(guarded: Any, method: str, norm: str, epsilon: float) -> None:
    model, guard, images, labels = guarded
    attack = Adaptive(method=method, norm=norm, epsilon=epsilon, opponent=guard)
    moved = attack(model, images, labels, generator=draws(6))
    change = (moved - images).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(change, dim=1)
    assert past(guard, moved).all()
    assert size.max() <= epsilon * (1 + 1e-5)
    plain = Pgd(norm=norm, epsilon=epsilon)(model, images, labels, generator=draws(6))
    assert (model(plain).argmax(1) == 1).all()
    assert not past(guard, plain).any(), "PGD fools the model, and is seen"


def test_expectation_does_not_care_for_the_suspicion(guarded: Any) -> None:
    model, guard, images, labels = guarded
    moved = Adaptive(method="expectation", epsilon=0.02, opponent=guard)(model, images, labels, generator=draws(6))
    assert (model(moved).argmax(1) == 1).all()
    assert not past(guard, moved).any()


def test_where_there_is_no_way_it_still_fools(guarded: Any) -> None:
    """And is as little suspicious as it could be: less than plain PGD."""
    model, guard, images, labels = guarded
    strict = Guard(model, guard.away, threshold=-100.0, noise=0.0)
    moved = Adaptive(epsilon=0.02, opponent=strict)(model, images, labels, generator=draws(6))
    plain = Pgd(epsilon=0.02)(model, images, labels, generator=draws(6))
    assert (model(moved).argmax(1) == 1).all()
    assert not past(strict, moved).any()
    suspicion = [strict.glimpse(one, generator=draws(6)).suspicion for one in (moved, plain)]
    assert (suspicion[0] < suspicion[1]).all()


def test_a_suspicion_that_is_not_a_number_is_an_alarm(guarded: Any) -> None:
    model, guard, images, labels = guarded
    broken = Guard(model, guard.away, broken=True)
    with pytest.raises(ModelError, match="NaN"):
        Adaptive(epsilon=0.02, opponent=broken)(model, images, labels, generator=draws(6))


@pytest.mark.parametrize("method", ["joint", "orthogonal", "expectation"])
def test_same_seed_same_result_in_any_company(guarded: Any, method: str) -> None:
    model, guard, images, labels = guarded
    attack = Adaptive(method=method, epsilon=0.02, opponent=guard, at_once=4, restarts=2, draws=2)
    together = attack(model, images, labels, generator=draws(6))
    assert torch.equal(together, attack(model, images, labels, generator=draws(6)))
    for at in range(6):
        alone = attack(model, images[at : at + 1], labels[at : at + 1], generator=draws(6)[at : at + 1])
        torch.testing.assert_close(alone, together[at : at + 1], rtol=0, atol=1e-6)


def test_restarts_are_for_those_that_did_not_get_past(guarded: Any) -> None:
    """Others stay where they were, so that more restarts lose nothing."""
    model, guard, images, labels = guarded
    epsilon = 0.0068  # some get past, some do not
    found = [
        Adaptive(epsilon=epsilon, steps=6, restarts=n, opponent=guard)(model, images, labels, generator=draws(6))
        for n in (1, 4)
    ]
    once, often = (past(guard, one) for one in found)
    assert 0 < once.sum() < 6
    assert often[once].all()
    assert often.sum() > once.sum()


def test_directions_by_hand() -> None:
    one, two = (torch.tensor(values).view(1, 3, 1, 1) for values in ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0]))
    assert without(two, one).flatten().tolist() == [0, 1, 0]
    assert torch.equal(without(two, torch.zeros_like(two)), two)

    def slopes(*, fooled: bool, unsure: bool, loud: bool) -> Slopes:
        flags = {"fooled": fooled, "unsure": unsure, "loud": loud}
        given = {name: torch.tensor([value]) for name, value in flags.items()}
        return Slopes(margin=one, suspicion=two, weight=torch.tensor([3.0]), **given)

    both, quiet = slopes(fooled=True, unsure=True, loud=True), slopes(fooled=True, unsure=True, loud=False)
    assert COMBINED["joint"](both).flatten().tolist() == [4, 3, 0]
    assert COMBINED["joint"](quiet).flatten().tolist() == [1, 0, 0]
    assert COMBINED["orthogonal"](both).flatten().tolist() == [0, 1, 0]
    assert COMBINED["orthogonal"](quiet).flatten().tolist() == [0.5, -0.5, 0]
    assert COMBINED["expectation"](both).flatten().tolist() == [1, 0, 0]


def test_margins_by_hand() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0]], [[0.0, 5.0, 2.0]]])
    assert margins(logits, torch.tensor([0])).tolist() == [[1.0], [-5.0]]


def test_one_generator_makes_one_for_each() -> None:
    made, again = (each(generator_for(0, "all"), 3) for _ in range(2))
    drawn = [torch.rand(1, generator=one).item() for one in made]
    assert len(set(drawn)) == 3
    assert drawn == [torch.rand(1, generator=one).item() for one in again]


DETECTORS = (
    "stability",
    "stability:features=grad_cam+logits,side=both",
    "confidence",
    "feature_squeezing",
    "mahalanobis",
)


@pytest.fixture(scope="module")
def classifier() -> Any:
    return classifier_of(seeded(Plain))


def deployed_on(classifier: Any, spec: str) -> CalibratedDetector:
    images = (images_of(24, seed=5) * 255).round() / 255
    detector: Any = registry.build("detectors", spec)
    measured = detector.measure(detector_inputs(classifier, images, detector, generator=draws(24, "fit")))
    detector = detector.fit(measured)
    return CalibratedDetector(
        name=spec.partition(":")[0],
        detector=detector,
        model=json.loads(json.dumps(classifier.card(), default=str)),
        layers=detector.layers(classifier.layers((16, 16))),
        scores=detector.score(measured),
        false_alarms=0.05,
        fitted_on=fingerprints(images),
        calibrated_on=(),
    )


@pytest.mark.parametrize("spec", DETECTORS)
@pytest.mark.parametrize("bits", [8, None])
def test_against_detectors_of_ours(classifier: Any, spec: str, bits: int | None) -> None:
    """Every detector can be attacked; nothing of model or detector changes, and at least as many get past as by PGD."""
    deployed, images = deployed_on(classifier, spec), (images_of(4, seed=9) * 255).round() / 255
    opponent = DefendedModel(classifier=classifier, deployed=deployed, bits=bits)
    labels = classifier(images).argmax(1)
    before = classifier.weights_sha256, deployed.scores.clone()
    settings = "epsilon=6/255,steps=12,restarts=2,at_once=3"
    by = f"adaptive:{settings}"
    made = evade(classifier, images, labels, deployed, by=by, bits=bits, generator=draws(4))
    again = evade(classifier, images, labels, deployed, by=by, bits=bits, generator=draws(4))
    plain = Pgd(epsilon=6 / 255)(classifier, images, labels, generator=draws(4))
    assert made.linf.max() <= 6 / 255 + 1e-6
    assert torch.equal(made.images, again.images)
    del classifier.__dict__["weights_sha256"]
    assert classifier.weights_sha256 == before[0]
    assert torch.equal(deployed.scores, before[1])
    found, base = (evaded(opponent, one, labels, generator=draws(4, "judge")) for one in (made.images, plain))
    assert found.evaded.sum() >= base.evaded.sum()
    assert torch.equal(found.evaded, found.misclassified & ~found.flagged)


@pytest.mark.parametrize("spec", DETECTORS)
def test_an_opponent_sees_what_a_judge_sees(classifier: Any, spec: str) -> None:
    deployed, images = deployed_on(classifier, spec), images_of(4, seed=9)
    opponent = DefendedModel(classifier=classifier, deployed=deployed)
    verdict = judge(classifier, images, deployed, generator=draws(4, "judge"))
    live = opponent.glimpse(images.clone().requires_grad_(), generator=draws(4, "judge"))
    found = evaded(opponent, images, verdict.predicted, generator=draws(4, "judge"), at_once=3)
    torch.testing.assert_close(live.suspicion.detach(), verdict.suspicion, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.suspicion, verdict.suspicion, rtol=0, atol=1e-4)
    assert torch.equal(found.flagged, verdict.is_attack)
    assert not found.misclassified.any()
    assert live.suspicion.requires_grad
    assert not found.suspicion.requires_grad


def test_as_many_generators_as_images(classifier: Any) -> None:
    deployed, images = deployed_on(classifier, "confidence"), images_of(3)
    opponent, labels = DefendedModel(classifier=classifier, deployed=deployed), torch.zeros(3, dtype=torch.long)
    with pytest.raises(SettingsError, match="one generator per image is needed, got 2 for 3 images"):
        evade(classifier, images, labels, deployed, generator=draws(2))
    with pytest.raises(SettingsError, match="one generator per image is needed, got 4 for 3 images"):
        evaded(opponent, images, labels, generator=draws(4))


def test_only_images_are_judged(classifier: Any) -> None:
    deployed, labels = deployed_on(classifier, "confidence"), torch.zeros(3, dtype=torch.long)
    opponent, eight_bit = DefendedModel(classifier=classifier, deployed=deployed), (images_of(3) * 255).byte()
    with pytest.raises(BoundsError, match="images must be float"):
        evaded(opponent, eight_bit, labels)
    with pytest.raises(BoundsError, match="images must be float"):
        evade(classifier, eight_bit, labels, deployed)
