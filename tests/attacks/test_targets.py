"""Attacks of other packages towards a class: the one that was asked for, and never the right one."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift import models, registry
from gazeshift.errors import BoundsError, SettingsError
from gazeshift.seeds import generator_for

TARGET = 2


def package(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def classifier() -> models.Classifier:
    """Small, with five classes, and not at all robust."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(392, 5),
        )  # fmt: skip
    return models.Classifier(network, name="small", preprocessing=models.Preprocessing(resize=None, crop=16))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((4, 3, 16, 16), generator=generator_for(0, "targets")) * 0.8 + 0.1


@pytest.fixture(scope="module")
def labels(classifier: models.Classifier, images: Tensor) -> Tensor:
    """The model's answers, but for the last image, whose label is the target."""
    with torch.no_grad():
        answers = classifier(images).argmax(1)
    assert (answers != TARGET).all()
    answers[3] = TARGET
    return answers


SPECS = {
    "foolbox": "foolbox:LinfPGD,random_start=false,steps=10,epsilon=0.1",
    "torchattacks": "torchattacks:PGD,random_start=false,steps=10,alpha=0.02,epsilon=0.1",
    "art": "art:ProjectedGradientDescent,max_iter=10,epsilon=0.1",
}


def directly(name: str, classifier: models.Classifier, images: Tensor, wanted: Tensor) -> Tensor:
    """The same attacks asked for as the packages have it."""
    if name == "foolbox":
        foolbox = package("foolbox")
        model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
        attack = foolbox.attacks.LinfPGD(random_start=False, steps=10)
        return attack(model, images, foolbox.criteria.TargetedMisclassification(wanted), epsilons=0.1)[1]
    if name == "torchattacks":
        attack = package("torchattacks").PGD(classifier, eps=0.1, alpha=0.02, steps=10, random_start=False)
        attack.set_mode_targeted_by_label(quiet=True)
        return attack(images, wanted)
    evasion, classification = package("art.attacks.evasion"), package("art.estimators.classification")
    estimator = classification.PyTorchClassifier(
        classifier, loss=nn.CrossEntropyLoss(), input_shape=(3, 16, 16), nb_classes=5, clip_values=(0, 1),
        device_type="cpu",
    )  # fmt: skip
    attack = evasion.ProjectedGradientDescent(
        estimator, eps=0.1, eps_step=0.025, max_iter=10, targeted=True, verbose=False
    )
    return torch.from_numpy(attack.generate(x=images.numpy(), y=wanted.numpy()))


@pytest.mark.parametrize("name", SPECS)
def test_towards_a_class(classifier: models.Classifier, images: Tensor, labels: Tensor, name: str) -> None:
    package(name)
    found = gs.attack(classifier, images, labels, by=f"{SPECS[name]},target={TARGET}")
    wanted = directly(name, classifier, images, torch.full((4,), TARGET))
    torch.testing.assert_close(found.images[:3], wanted[:3], rtol=0, atol=1e-6)
    assert found.logits.argmax(1)[:3].tolist() == [TARGET] * 3
    assert found.success[:3].all(), "success stays: not the label any more"
    assert torch.equal(found.images[3], images[3]), "an image whose label is the target comes back as it is"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("art:ProjectedGradientDescent,targeted=true", "art:ProjectedGradientDescent,target=3 for class 3"),
        ("art:BasicIterativeMethod,targeted=true,epsilon=0.1", "attacks towards a class and needs it"),
        ("art:BoundaryAttack,targeted=true", "attacks towards a class and needs it"),
        ("art:SaliencyMapMethod", "attacks towards a class and needs it"),
        ("art:SquareAttack,target=2", "cannot be sent to a class"),
        ("art:AutoAttack,target=2", "cannot be sent to a class"),
        ("art:ProjectedGradientDescent,targeted=false,target=2", "given both targeted=false and target=2"),
        ("foolbox:GenAttack,steps=2", "foolbox:GenAttack,target=3 for class 3"),
        ("torchattacks:JSMA", "torchattacks:JSMA,target=3 for class 3"),
    ],
)
def test_a_target_that_is_missing_or_of_no_use_is_refused(spec: str, message: str) -> None:
    package(spec.partition(":")[0])
    with pytest.raises(SettingsError, match=message):
        registry.build("attacks", spec)


@pytest.mark.parametrize("spec", ["foolbox:NewtonFoolAttack", "foolbox:FGSM", "torchattacks:DeepFool"])
def test_attacks_that_only_leave_a_class_say_so(
    classifier: models.Classifier, images: Tensor, labels: Tensor, spec: str
) -> None:
    package(spec.partition(":")[0])
    with pytest.raises(SettingsError, match=f"{spec} cannot be sent to a class"):
        gs.attack(classifier, images, labels, by=f"{spec},target=2")


@pytest.mark.parametrize("target", ["-1", "1.5", "true", "cat"])
def test_a_target_is_a_whole_number(target: str) -> None:
    with pytest.raises(BoundsError, match="target must be a whole number, 0 or more"):
        registry.build("attacks", f"foolbox:LinfPGD,target={target}")


@pytest.mark.parametrize("name", SPECS)
def test_a_target_is_a_class_of_the_model(
    classifier: models.Classifier, images: Tensor, labels: Tensor, name: str
) -> None:
    package(name)
    with pytest.raises(BoundsError, match=r"target must be a class of the model, 0 to 4, got 5\."):
        gs.attack(classifier, images, labels, by=f"{SPECS[name]},target=5")


def test_a_setting_of_that_name_is_the_packages() -> None:
    """Foolbox' contrast attacks have a `target` of their own: the grey level that they go to."""
    built = registry.build("attacks", "foolbox:L2ContrastReductionAttack,target=0.7,epsilon=1")
    assert built.settings == {"target": 0.7}
    assert built.target is None


def test_saliency_maps_lead_to_the_target(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    """ART's takes its labels for targets: without one it would attack towards the right class."""
    package("art")
    found = gs.attack(classifier, images, labels, by="art:SaliencyMapMethod,target=2,theta=0.2")
    assert (found.logits.argmax(1)[:3] == TARGET).sum() >= 2


def test_torchattacks_saliency_maps_lead_to_the_target(
    classifier: models.Classifier, images: Tensor, labels: Tensor
) -> None:
    package("torchattacks")
    found = gs.attack(classifier, images[:2], labels[:2], by="torchattacks:JSMA,target=2")
    gained = found.logits.softmax(1)[:, TARGET] - found.clean_logits.softmax(1)[:, TARGET]
    assert (gained > 0).all()


def test_two_classes_are_enough_for_art(images: Tensor) -> None:
    package("art")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    classifier = models.Classifier(network, name="two", preprocessing=models.Preprocessing(resize=None, crop=16))
    found = gs.attack(classifier, images, by="art:ProjectedGradientDescent,max_iter=3")
    assert found.success.all()
    assert np.isfinite(found.images.numpy()).all()
