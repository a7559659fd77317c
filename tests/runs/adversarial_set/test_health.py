"""Every finding about an attack's health fires on an attack or a model broken on purpose, and on no sound one."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.attacks.gaussian import Gaussian
from gazeshift.attacks.pgd import Pgd
from gazeshift.data import open_set
from gazeshift.records import Finding
from gazeshift.runs.adversarial_set.health import judge_rows, probe
from gazeshift.runs.adversarial_set.rows import Attacker
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.run import Run
from gazeshift.runs.settings import PaperSettings
from helpers.quadrants import make_quadrant_images, make_quadrant_network

EPSILON = 16 / 255


class Quadrants(nn.Module):
    """Ten times the mean brightness of each quadrant, through something that may spoil the gradient."""

    def __init__(self, *, times: float = 1.0, through: nn.Module | None = None) -> None:
        super().__init__()
        self.times, self.through = times, through or nn.Identity()
        self.mean = nn.Conv2d(3, 1, 8, stride=8, bias=False)
        nn.init.constant_(self.mean.weight, 10 / 192)

    def forward(self, images: Tensor) -> Tensor:
        return self.times * self.mean(self.through(images)).flatten(1)


class Backward(nn.Module):
    """The images, with a gradient that a formula makes of the true one."""

    def __init__(self, formula) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images = images * 1
            images.register_hook(self.formula)
        return images


def classifier(**built: object) -> gs.Classifier:
    return gs.Classifier(Quadrants(**built), name="quadrants", preprocessing=gs.Preprocessing(resize=16, crop=16))


def pictures(count: int = 8) -> tuple[Tensor, Tensor]:
    """The label's quadrant is brighter by 0.02 to 0.2."""
    images = torch.full((count, 3, 16, 16), 0.4)
    labels = torch.arange(count) % 4
    for at, label in enumerate(labels.tolist()):
        top, left = 8 * (label // 2), 8 * (label % 2)
        images[at, :, top : top + 8, left : left + 8] += 0.02 + 0.18 * at / count
    return images, labels


def probed(made: object, model: gs.Classifier | None = None, labels: Tensor | None = None) -> dict[str, Finding]:
    images, own = pictures()
    ids = [str(at) for at in range(len(images))]
    found = probe(model or classifier(), made, images, own if labels is None else labels, ids=ids)
    return {finding.check: finding for finding in found}


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.level for name, finding in found.items()}


CHECKS = ("gradient", "more steps", "huge epsilon", "noise")
SOUND = dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize(
    "made",
    [
        Pgd(epsilon=EPSILON),
        Pgd(epsilon=EPSILON, steps=60, step=1 / 255),
        Pgd(norm="l2", epsilon=1.0),
        Fgsm(epsilon=EPSILON),
        Gaussian(std=EPSILON),
    ],
    ids=repr,
)
def test_a_sound_attack_fires_nothing(made):
    assert levels(probed(made)) == SOUND


def test_the_figures_are_those_computed_by_hand():
    """PGD moves every quadrant's mean by epsilon, so that each margin falls by 10 x 2 epsilon, if it has the steps."""
    margins = torch.tensor([0.2 + 1.8 * at / 8 for at in range(8)])
    fall = 20 * EPSILON
    found = probed(Pgd(epsilon=EPSILON, steps=10, random_start=False))
    one, ten = margins - fall / 4, margins - fall
    before, after, last = (f"{margin.mean():.2f}" for margin in (margins, one, ten))
    wanted = f"label {before} before, {after} after 1, {last} after 10, {last} after 20 steps"
    assert wanted in found["more steps"].detail
    assert f"the attack fools {int((ten < 0).sum())} of 8 (mean margin {ten.mean():.2f})" in found["noise"].detail
    assert found["huge epsilon"].detail == "8 of 8 fooled at 0.5, wanted 90%"


def test_a_gradient_of_zero_fires():
    """Logits so large that the softmax saturates: the usual gradient masking."""
    found = probed(Pgd(epsilon=EPSILON, random_start=False), classifier(times=1e4))
    assert levels(found)["gradient"] == "error"
    assert "8 of 8 gradients are zero throughout" in found["gradient"].detail
    assert levels(found)["huge epsilon"] == "error"
    assert levels(found)["more steps"] == "error"


def test_a_few_zero_gradients_are_only_noted():
    images, labels = pictures(12)
    images[11] = 0
    images[11, :, :8, 8:] = 1  # a margin of 10 000 in one image of 12, and the others far below
    labels[11] = 1
    found = probe(classifier(times=20), Fgsm(epsilon=EPSILON), images, labels, ids=map(str, range(12)))
    assert next(finding for finding in found if finding.check == "gradient").level == "note"


def test_a_gradient_of_nan_fires():
    found = probed(Pgd(epsilon=EPSILON), classifier(through=Backward(lambda gradient: gradient * torch.nan)))
    assert found["gradient"].level == "error"
    assert "8 hold NaN or infinity" in found["gradient"].detail


def test_no_gradient_at_all_fires():
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach()

    found = probed(Pgd(epsilon=EPSILON), classifier(through=Cut()))
    assert found["gradient"].level == "error"
    assert "gives none" in found["gradient"].detail


def test_a_gradient_that_leads_astray_loses_to_noise_and_to_more_steps():
    """Reversed: every step makes the label surer, and noise of the same size does better."""
    found = probed(Pgd(epsilon=EPSILON), classifier(through=Backward(lambda gradient: -gradient)))
    assert levels(found) == {"gradient": "ok", "more steps": "error", "huge epsilon": "error", "noise": "error"}


def test_an_attack_that_loses_by_more_steps_fires():
    """Its steps grow with their number and leave the images anywhere: well meant at one step, worse at ten."""

    @dataclass(frozen=True, kw_only=True)
    class Circling:
        norm: ClassVar[str | None] = "linf"
        epsilon: float = EPSILON
        steps: int = 1

        def __call__(self, model, images, labels, *, generator):
            sign = 1 if self.steps == 1 else -1
            return (
                images + sign * (Fgsm(epsilon=self.epsilon)(model, images, labels, generator=generator) - images)
            ).clamp(0, 1)

    found = probed(Circling())
    assert found["more steps"].level == "error"


def test_an_attack_that_ignores_epsilon_fires():
    """Asked for a huge change, it stays as small as it was."""

    @dataclass(frozen=True, kw_only=True)
    class Timid:
        norm: ClassVar[str | None] = "linf"
        epsilon: float = EPSILON
        steps: int = 10

        def __call__(self, model, images, labels, *, generator):
            return Pgd(epsilon=1 / 255, steps=self.steps)(model, images, labels, generator=generator)

    found = probed(Timid())
    assert found["huge epsilon"].level == "error"
    assert "0 of 8 fooled at 0.5, wanted 90%" in found["huge epsilon"].detail
    assert levels(found) | {"huge epsilon": "ok"} == SOUND


def test_noise_that_beats_the_attack_fires():
    """The model falls for one odd pixel anywhere, which its gradient does not show."""

    class OddPixel(Quadrants):
        def forward(self, images: Tensor) -> Tensor:
            fallen = ((images - images.mean((2, 3), keepdim=True)).abs().amax((1, 2, 3)) > 0.25).float()[:, None]
            logits = super().forward(images)
            return logits * (1 - fallen) + logits.roll(1, 1) * fallen

    model = gs.Classifier(OddPixel(), name="odd", preprocessing=gs.Preprocessing(resize=16, crop=16))
    found = probed(Pgd(epsilon=4 / 255, steps=1, step=4 / 255, random_start=False), model)
    assert found["noise"].level == "ok"  # noise of 4/255 rarely makes an odd pixel

    @dataclass(frozen=True, kw_only=True)
    class Flat:
        """Large, and the same in every pixel: never an odd pixel, and no quadrant overtakes another."""

        epsilon: float = 20 / 255

        def __call__(self, model, images, labels, *, generator):
            return (images + self.epsilon + 0 * Fgsm()(model, images, labels, generator=generator)).clamp(0, 1)

    found = probed(Flat(), model)
    assert found["noise"].level == "error"
    assert "the attack fools 0 of 8" in found["noise"].detail


def test_images_wrong_from_the_start_are_left_out():
    _, labels = pictures()
    wrong = (labels + 1) % 4
    mixed = torch.where(torch.arange(8) < 6, labels, wrong)
    assert " of 6 gradients" in probed(Pgd(epsilon=EPSILON), labels=mixed)["gradient"].detail
    found = probed(Pgd(epsilon=EPSILON), labels=wrong)
    assert levels(found) == {"probes": "note"}
    assert "none of 8 images is classified right" in found["probes"].detail


ROWS = {
    "used": 10,
    "clean_correct": 8,
    "claimed": 6,
    "success": 6,
    "success_8bit": 6,
    "kept_8bit": 6,
    "wrong_after": 8,
    "exceeded": 0,
    "not_finite": 0,
}


def judged(**changed: int) -> dict[str, Finding]:
    found = judge_rows(ROWS | changed, norm="linf", epsilon=EPSILON, largest=EPSILON)
    return {finding.check: finding for finding in found}


@pytest.mark.parametrize(
    ("changed", "check", "level", "words"),
    [
        ({"not_finite": 1}, "finite", "error", "1 of 10 attacked images hold NaN"),
        ({"exceeded": 2}, "epsilon", "error", "2 of 10 perturbations are larger"),
        ({"success": 5}, "second prediction", "error", "1 of 6 claimed successes were not confirmed"),
        ({"kept_8bit": 5}, "8 bit", "note", "5 of 6 successes survive"),
        (
            {"clean_correct": 0, "claimed": 0, "success": 0, "kept_8bit": 0},
            "clean errors",
            "note",
            "10 of 10 images were misclassified before",
        ),
    ],
)
def test_rows_are_judged(changed, check, level, words):
    assert {finding.level for finding in judged().values()} == {"ok"}
    assert "2 of 10 images were misclassified before" in judged()["clean errors"].detail
    assert "6 of 8 classified right were fooled; 8 of all 10 are wrong after" in judged()["clean errors"].detail
    found = judged(**changed)
    assert found[check].level == level
    assert words in found[check].detail
    assert {name for name, finding in found.items() if finding.level != "ok"} == {check}


@dataclass(frozen=True, kw_only=True)
class Exceeding:
    """Says 16/255 and takes twice as much."""

    norm: ClassVar[str | None] = "linf"
    epsilon: float = EPSILON

    def __call__(self, model, images, labels, *, generator):
        return Fgsm(epsilon=2 * self.epsilon)(model, images, labels, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Lying:
    """Changes nothing, and makes the model err on the very next look: the one that would grade it."""

    norm: ClassVar[str | None] = "linf"
    epsilon: float = EPSILON

    def __call__(self, model, images, *_, **__):
        looked = []

        def once(module, given, logits):
            if not looked:
                looked.append(True)
                handle.remove()
                return logits.roll(1, 1)
            return None

        handle = model.register_forward_hook(once)
        return images.clone()


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Gives NaN, of which argmax makes a class that is seldom the label."""

    norm: ClassVar[str | None] = "linf"
    epsilon: float = EPSILON

    def __call__(self, _, images, *__, **___):
        return images * torch.nan


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an attack object as if it had a name; the finished manifest."""

    def run(made: object, **changed: object) -> dict:
        images = make_quadrant_images(tmp_path / "images", 14)
        monkeypatch.setattr("gazeshift.runs.adversarial_set.run.open_attack", lambda *_: made)
        usual = {"images": images, "model": make_quadrant_network(tmp_path), "device": "cpu", "batch_size": 4}
        folder = AttackRun("made", SetSettings(**usual | changed), tmp_path / type(made).__name__).run()
        return json.loads((folder / "manifest.json").read_text()) | {"folder": folder}

    return run


def test_a_sound_run_fires_nothing(run):
    manifest = run(Pgd(epsilon=EPSILON))
    names = ("finite", "epsilon", "second prediction", "8 bit", "clean errors", *CHECKS)
    assert {finding["check"]: finding["level"] for finding in manifest["health"]} == dict.fromkeys(names, "ok")


@pytest.mark.parametrize(
    ("made", "check"), [(Exceeding(), "epsilon"), (Lying(), "second prediction"), (Broken(), "finite")]
)
def test_a_flawed_attack_is_exposed_by_its_own_set(run, made, check):
    manifest = run(made, health_images=0)
    found = {finding["check"]: finding for finding in manifest["health"]}
    assert {name for name, finding in found.items() if finding["level"] == "error"} == {check}
    assert found["probes"]["detail"] == "not asked for: --health-images 0"
    counts = manifest["counts"]
    if check == "epsilon":
        assert counts["exceeded"] == 14
        assert max(open_set(manifest["folder"]).column("linf")) == pytest.approx(2 * EPSILON)
    else:
        assert counts["success"] == 0
    if check == "second prediction":
        assert counts["claimed"] == counts["clean_correct"] > 0


def test_a_study_of_a_set_hands_on_the_sets_health(run, tmp_path):
    manifest = run(Exceeding(), health_images=0)
    settings = PaperSettings(set=manifest["folder"], model=make_quadrant_network(tmp_path), device="cpu")
    study = Run("some", 1, settings, tmp_path / "study")
    study.open()
    assert study.manifest([]).as_dict()["health"] == manifest["health"] != []


@pytest.mark.parametrize(
    ("made", "norms", "exceeded"),
    [
        (Pgd(epsilon=0.1), [0.1, 0.1 + 5e-7, 0.1 + 3e-6, 0.2], 2),
        (Pgd(norm="l2", epsilon=3.0), [3.0, 3.0 + 2e-4, 3.0 + 4e-4, 6.0], 2),
        (Gaussian(std=0.1), [0.5, 0.9, 1.0, 1.0], 0),
    ],
    ids=repr,
)
def test_a_bound_met_but_for_rounding_is_met(made, norms, exceeded):
    attacker = Attacker(classifier=classifier(), made=made, spec="made", seed=0)
    values = np.array([*norms, np.nan], np.float32)
    flags = np.array([True, True, False, False, False])
    counts, largest = attacker.beyond({"linf": values, "l2": values, "success": flags, "success_8bit": ~flags | flags})
    assert counts == {"exceeded": exceeded, "not_finite": 1, "kept_8bit": 2}
    assert largest == pytest.approx(max(norms))


def test_pgd_on_a_real_model_is_healthy(data_folder, tmp_path):
    settings = SetSettings(
        images=data_folder / "imagenet700", limit=3, epsilon="2/255", device="cpu", batch_size=3, health_images=3
    )
    folder = AttackRun("pgd:steps=4", settings, tmp_path / "set").run()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [finding for finding in manifest["health"] if finding["level"] != "ok"] == []
    assert len(manifest["health"]) == 9
    assert manifest["counts"]["success"] >= 0.9 * manifest["counts"]["clean_correct"] > 0
