"""When an attack cannot work on a model: the true cause and the way out, and nothing refused that could work."""

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift import models
from gazeshift.errors import MissingPackageError, ModelError, SettingsError
from gazeshift.seeds import generator_for


def package(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


def classifier_of(network: nn.Module) -> models.Classifier:
    return models.Classifier(network, name="small", preprocessing=models.Preprocessing(resize=None, crop=16))


def linear(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(768, classes))


class Cut(nn.Module):
    """A network whose forward pass cuts the gradient."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = linear(3), how

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "detach":
            return self.inner(images.detach())
        if self.how == "numpy":
            return self.inner(torch.from_numpy(images.detach().cpu().numpy()))
        with torch.inference_mode() if self.how == "inference_mode" else torch.no_grad():
            return self.inner(images)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((3, 3, 16, 16), generator=generator_for(0, "causes"))


# The difference of logits ratio


@pytest.mark.parametrize(
    ("spec", "least", "instead"),
    [
        ("torchattacks:APGDT", 4, "Take torchattacks:APGD, which has the cross-entropy"),
        ("torchattacks:AutoAttack", 4, "Take torchattacks:APGD"),
        ("torchattacks:AutoAttack,version=rand", 3, "Take torchattacks:APGD,loss=ce"),
        ("torchattacks:APGD,loss=dlr", 3, "Take torchattacks:APGD,loss=ce"),
        (
            "art:AutoProjectedGradientDescent,loss_type=difference_logits_ratio,max_iter=2,nb_random_init=1",
            3,
            "loss_type=cross_entropy",
        ),
    ],
)
def test_a_loss_that_ranks_classes_needs_as_many(images: Tensor, spec: str, least: int, instead: str) -> None:
    package(spec.partition(":")[0])
    few = classifier_of(linear(least - 1))
    with pytest.raises(
        SettingsError, match=f"compares the {least} best classes, and this model has {least - 1}"
    ) as why:
        gs.attack(few, images, by=spec)
    assert instead in str(why.value)
    assert gs.attack(classifier_of(linear(least)), images, by=spec).images.isfinite().all()


def test_what_is_advised_works_with_two_classes(images: Tensor) -> None:
    package("torchattacks")
    found = gs.attack(classifier_of(linear(2)), images, by="torchattacks:APGD,loss=ce,epsilon=0.1")
    assert found.success.all()


# Packages that packages need


def test_a_package_that_an_attack_imports_when_it_runs_is_named(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ART's AutoAttack imports it in any case, and uses it for `parallel_pool_size` alone."""
    package("art")
    spec = "art:AutoAttack,epsilon=0.3"
    monkeypatch.setitem(sys.modules, "multiprocess", None)
    with pytest.raises(MissingPackageError, match="art:AutoAttack needs the package 'multiprocess': pip install mult"):
        gs.attack(classifier_of(linear(3)), images, by=spec)
    monkeypatch.setitem(sys.modules, "multiprocess", types.ModuleType("multiprocess"))
    assert gs.attack(classifier_of(linear(3)), images, by=spec).success.all()


# Models without a gradient

FOLLOW_A_GRADIENT = [
    "fgsm",
    "pgd",
    "mifgsm",
    "universal",
    "adaptive",
    "aoa:attention=gradient_input",
    "dlfuzz",
    "foolbox:LinfPGD",
    "foolbox:L2DeepFoolAttack",
    "foolbox:L2CarliniWagnerAttack,steps=2",
    "torchattacks:BIM",
    "torchattacks:CW,steps=2",
    "torchattacks:DeepFool",
    "torchattacks:APGD",
    "art:ProjectedGradientDescent,max_iter=2",
    "art:DeepFool,max_iter=2",
    "art:CarliniL2Method,max_iter=2",
]
NEED_NONE = [
    "gaussian",
    "foolbox:HopSkipJumpAttack,steps=1,max_gradient_eval_steps=100",
    "foolbox:LinfAdditiveUniformNoiseAttack",
    "foolbox:SaltAndPepperNoiseAttack,steps=20",
    "torchattacks:Square,n_queries=50,epsilon=0.2",
    "torchattacks:Pixle,restarts=2",
    "art:SquareAttack,max_iter=20,epsilon=0.2",
    "art:HopSkipJump,max_iter=1,max_eval=50,init_eval=10",
]


@pytest.mark.parametrize("how", ["detach", "no_grad", "inference_mode", "numpy"])
@pytest.mark.parametrize("spec", FOLLOW_A_GRADIENT)
def test_a_gradient_that_is_cut_is_the_cause_that_is_told(images: Tensor, spec: str, how: str) -> None:
    if ":" in spec and not spec.startswith("aoa"):
        package(spec.partition(":")[0])
    with pytest.raises(ModelError, match=r"Leave out detach\(\), no_grad\(\), inference_mode"):
        gs.attack(classifier_of(Cut(how)), images, by=spec)


@pytest.mark.parametrize("how", ["detach", "no_grad", "inference_mode", "numpy"])
@pytest.mark.parametrize("spec", NEED_NONE)
def test_attacks_that_need_no_gradient_work_without(images: Tensor, spec: str, how: str) -> None:
    if ":" in spec:
        package(spec.partition(":")[0])
    cut, whole = classifier_of(Cut(how)), classifier_of(linear(3))
    draws: Callable[[], list[torch.Generator]] = lambda: [generator_for(at) for at in range(3)]  # noqa: E731
    found = gs.attack(cut, images, by=spec, generator=draws())
    assert torch.equal(found.images, gs.attack(whole, images, by=spec, generator=draws()).images)
