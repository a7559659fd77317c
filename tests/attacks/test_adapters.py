"""Attacks of other packages: asked for by name, the same as asked for directly, and nothing of ours disturbed."""

import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gazeshift as gs
from gazeshift import models, registry
from gazeshift.attacks._adapter import run_attack
from gazeshift.attacks.art import Art
from gazeshift.attacks.foolbox import Foolbox
from gazeshift.errors import BoundsError, MissingPackageError, ModelError, SettingsError, UnknownNameError
from gazeshift.seeds import generator_for

INSTALLED = ("foolbox", "torchattacks", "art")


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
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(392, 5),
        )
    return models.Classifier(network, name="small", preprocessing=models.Preprocessing(resize=None, crop=16))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((4, 3, 16, 16), generator=generator_for(0, "adapters")) * 0.8 + 0.1


@pytest.fixture(scope="module")
def labels(classifier: models.Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(images).argmax(1)


# Specs


@pytest.mark.parametrize(
    ("spec", "name", "epsilon", "settings"),
    [
        (
            "foolbox:LinfPGD,steps=20,abs_stepsize=0.01,epsilon=4/255",
            "LinfPGD",
            4 / 255,
            {"steps": 20, "abs_stepsize": 0.01},
        ),
        ("foolbox:LinfPGD", "LinfPGD", 8 / 255, {}),
        ("foolbox:L2DeepFoolAttack", "L2DeepFoolAttack", None, {}),
        ("foolbox:L2DeepFoolAttack,epsilon=none", "L2DeepFoolAttack", None, {}),
        ("foolbox:L2PGD,epsilon=0.5", "L2PGD", 0.5, {}),
        ("foolbox", "LinfBasicIterativeAttack", 8 / 255, {}),
        ("foolbox:name=L2PGD,epsilon=0.5", "L2PGD", 0.5, {}),
    ],
)
def test_written_as_a_spec(spec: str, name: str, epsilon: float | None, settings: dict[str, Any]) -> None:
    built = registry.build("attacks", spec)
    assert built == Foolbox(name=name, epsilon=epsilon, settings=settings)
    assert (built.epsilon, built.settings) == (epsilon, settings)
    assert hash(built) == hash(Foolbox(name=name, epsilon=epsilon))


def test_settings_given_beside_the_spec() -> None:
    built = registry.build("attacks", "foolbox:LinfPGD,steps=3", epsilon=2 / 255, steps=9, random_start=False)
    assert built == Foolbox(name="LinfPGD", epsilon=2 / 255, settings={"steps": 3, "random_start": False})


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("foolbox:LinfPDG", UnknownNameError, "foolbox has no attack named 'LinfPDG'. Did you mean 'LinfPGD'"),
        ("foolbox:LinfPGD,stepz=3", SettingsError, "foolbox:LinfPGD has no setting 'stepz'. Did you mean 'steps'"),
        ("foolbox:L2PGD", SettingsError, "foolbox:L2PGD needs an epsilon"),
        ("foolbox:LinfPGD,epsilon=8", BoundsError, "Did you mean 8/255"),
        ("foolbox:VirtualAdversarialAttack,epsilon=1", SettingsError, "cannot do without the setting steps"),
        ("foolbox:InversionAttack,epsilon=1", SettingsError, "has no distance that epsilon could bound"),
        ("foolbox:InversionAttack,distance=l7", UnknownNameError, "no distance named 'l7'"),
        ("foolbox:L2CarliniWagnerAttack,steps=3,LinfPGD", SettingsError, "settings are written NAME:KEY=VALUE"),
        ("pgd:LinfPGD", SettingsError, "settings are written NAME:KEY=VALUE,KEY=VALUE, got 'LinfPGD'"),
        ("pgd:settings=3", SettingsError, "attacks 'pgd' has no setting 'settings'"),
    ],
)
def test_bad_specs_end_in_a_sentence(spec: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        registry.build("attacks", spec)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("torchattacks:MIFSGM", UnknownNameError, "torchattacks has no attack named 'MIFSGM'. Did you mean 'MIFGSM'"),
        ("torchattacks:PGD,step=3", SettingsError, "torchattacks:PGD has no setting 'step'. Did you mean 'steps'"),
        ("torchattacks:CW,epsilon=8/255", SettingsError, "Write torchattacks:CW,epsilon=none"),
        ("torchattacks:PGDL2", SettingsError, "torchattacks:PGDL2 needs an epsilon"),
        ("torchattacks:MultiAttack", SettingsError, "cannot be used here: it runs other attack objects"),
    ],
)
def test_bad_specs_of_torchattacks(spec: str, kind: type[Exception], message: str) -> None:
    package("torchattacks")
    with pytest.raises(kind) as raised:
        registry.build("attacks", spec)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "install"),
    [("foolbox", "foolbox"), ("torchattacks", "torchattacks"), ("art", "adversarial-robustness-toolbox")],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, install: str) -> None:
    for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=f"pip install {install}"):
        registry.build("attacks", name)


def test_every_attack_of_foolbox_is_known_and_has_a_norm_or_none() -> None:
    attacks = package("foolbox").attacks
    for name in (
        "FGSM",
        "PGD",
        "LinfPGD",
        "L2CarliniWagnerAttack",
        "HopSkipJumpAttack",
        "DDNAttack",
        "LinfDeepFoolAttack",
    ):
        assert isinstance(getattr(attacks, name), type)
        epsilon = 1.0
        built = Foolbox(name=name, epsilon=epsilon)
        assert built.norm == ("linf" if name in ("FGSM", "PGD", "LinfPGD", "LinfDeepFoolAttack") else "l2")
    assert Foolbox(name="L1PGD", epsilon=3.0).norm is None
    assert Foolbox(name="L2DeepFoolAttack").norm is None, "no bound"
    assert Foolbox(name="HopSkipJumpAttack", epsilon=0.1, settings={"constraint": "linf"}).norm == "linf"


# Attacks


def test_foolbox_is_what_foolbox_gives(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    foolbox = package("foolbox")
    found = gs.attack(classifier, images, labels, by="foolbox:LinfPGD,random_start=false,steps=7,epsilon=4/255")
    model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(random_start=False, steps=7)
    _, wanted, _ = attack(model, images, foolbox.criteria.Misclassification(labels), epsilons=4 / 255)
    torch.testing.assert_close(found.images, wanted, rtol=0, atol=1e-6)
    assert found.backwards == 7
    assert found.forwards >= 7


@pytest.mark.parametrize(
    "name", ["L2DeepFoolAttack", "LinfDeepFoolAttack", "L2CarliniWagnerAttack", "HopSkipJumpAttack"]
)
def test_attacks_that_look_for_the_smallest_change(
    classifier: models.Classifier, images: Tensor, labels: Tensor, name: str
) -> None:
    few = {
        "L2CarliniWagnerAttack": ",steps=60,binary_search_steps=4,stepsize=0.05",
        "HopSkipJumpAttack": ",steps=8,max_gradient_eval_steps=300",
    }
    found = gs.attack(classifier, images, labels, by=f"foolbox:{name}{few.get(name, '')}")
    assert found.success.all()
    assert (found.backwards > 0) == (name != "HopSkipJumpAttack"), "decisions need no gradient"
    # A tenth of the change no longer fools the model: it was about as small as could be, and not just noise.
    tenth = found.clean + 0.1 * found.perturbation
    assert (classifier(tenth).argmax(1) == labels).all()
    bounded = gs.attack(classifier, images, labels, by=f"foolbox:{name}{few.get(name, '')},epsilon=0.001")
    norm = bounded.linf if name.startswith("Linf") else bounded.l2
    assert (norm <= 0.001 * (1 + 1e-4)).all()


def test_epsilon_bounds_a_smallest_change(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    free = gs.attack(classifier, images, labels, by="foolbox:L2DeepFoolAttack")
    between = float(free.l2.sort().values[1:3].mean())
    bounded = gs.attack(classifier, images, labels, by=Foolbox(name="L2DeepFoolAttack", epsilon=between))
    assert bounded.success.tolist() == (free.l2 <= between).tolist()
    assert 0 < int(bounded.success.sum()) < 4


def test_an_image_without_a_start_comes_back(images: Tensor) -> None:
    """HopSkipJump blends noise into an image until the model errs: one that never errs for class 1 gives no start."""

    def model(shown: Tensor) -> Tensor:
        bright = (shown.mean((1, 2, 3)) > 0.9).float()
        return torch.stack([1 - bright - 0.5, bright], 1)

    labels = torch.tensor([0, 0])
    made = Foolbox(name="HopSkipJumpAttack", settings={"steps": 1})(
        model, images[:2], labels, generator=generator_for(0)
    )
    assert torch.equal(made, images[:2])


@pytest.mark.parametrize("name", ["BoundaryAttack", "L2DeepFoolAttack"])
def test_what_is_misclassified_already_needs_no_change(
    classifier: models.Classifier, images: Tensor, labels: Tensor, name: str
) -> None:
    """Foolbox' boundary attack divides by the change, which is zero, and gives NaN."""
    wrong = (labels + torch.tensor([0, 1, 0, 0])) % 5
    steps = {"steps": 2} if name == "BoundaryAttack" else {}
    found = gs.attack(classifier, images, wrong, by=Foolbox(name=name, settings=steps))
    assert torch.equal(found.images[1], images[1])
    assert found.success[[0, 2, 3]].all()


@pytest.mark.parametrize("spec", ["foolbox:SpatialAttack", "torchattacks:FAB,epsilon=0.05", "torchattacks:TIFGSM"])
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_attacks_that_compute_in_float32_alone_take_float64(
    classifier: models.Classifier, images: Tensor, labels: Tensor, spec: str
) -> None:
    package(spec.partition(":")[0])
    found = gs.attack(classifier, images.double(), labels, by=spec)
    assert found.images.dtype == torch.float64
    assert torch.equal(found.images.float(), gs.attack(classifier, images, labels, by=spec).images)


@pytest.mark.parametrize("name", ["EADAttack", "L2CarliniWagnerAttack"])
def test_an_attack_that_finds_nothing_gives_no_black_picture(
    classifier: models.Classifier, images: Tensor, labels: Tensor, name: str
) -> None:
    """Foolbox gives zeros there, which may well have another class."""
    found = gs.attack(classifier, images, labels, by=f"foolbox:{name},steps=1,binary_search_steps=1")
    assert torch.equal(found.images, images)


def test_torchattacks_is_what_torchattacks_gives(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    torchattacks = package("torchattacks")
    found = gs.attack(classifier, images, labels, by="torchattacks:NIFGSM,steps=4,alpha=1/255,epsilon=3/255")
    wanted = torchattacks.NIFGSM(classifier, eps=3 / 255, alpha=1 / 255, steps=4)(images, labels)
    torch.testing.assert_close(found.images, wanted, rtol=0, atol=1e-6)
    assert found.backwards == 4


@pytest.mark.parametrize(
    "spec", ["APGDT,epsilon=0.05", "FAB,epsilon=0.05", "Square,n_queries=200,epsilon=0.1", "CW,lr=0.05", "DeepFool"]
)
def test_the_number_of_classes_is_the_models(
    classifier: models.Classifier, images: Tensor, labels: Tensor, spec: str
) -> None:
    """Some attacks of torchattacks take it to be 10; this model has five."""
    package("torchattacks")
    found = gs.attack(classifier, images, labels, by=f"torchattacks:{spec}")
    assert found.success.float().mean() >= 0.5


def test_art_is_what_art_gives(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    package("art")
    evasion, classification = package("art.attacks.evasion"), package("art.estimators.classification")
    found = gs.attack(classifier, images, labels, by="art:ProjectedGradientDescent,max_iter=5,epsilon=4/255")
    estimator = classification.PyTorchClassifier(
        classifier,
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, 16, 16),
        nb_classes=5,
        clip_values=(0, 1),
        device_type="cpu",
    )
    attack = evasion.ProjectedGradientDescent(estimator, eps=4 / 255, eps_step=1 / 255, max_iter=5, verbose=False)
    wanted = attack.generate(x=images.numpy(), y=labels.numpy())
    np.testing.assert_allclose(found.images.numpy(), wanted, rtol=0, atol=1e-6)
    assert Art(name="ProjectedGradientDescent", epsilon=1.0, settings={"norm": 2}).norm == "l2"
    assert Art(name="HopSkipJump").norm is None
    with pytest.raises(SettingsError, match="epsilon=none"):
        Art(name="DeepFool", epsilon=0.1)


@pytest.mark.parametrize(
    "spec", ["art:SquareAttack,max_iter=200,epsilon=0.2", "art:DeepFool", "art:HopSkipJump,max_iter=3"]
)
def test_art_attacks(classifier: models.Classifier, images: Tensor, labels: Tensor, spec: str) -> None:
    package("art")
    assert gs.attack(classifier, images, labels, by=spec).success.all()


# Chance


RANDOM = {
    "foolbox": "foolbox:LinfPGD,steps=2",
    "torchattacks": "torchattacks:PGD,steps=2",
    "art": "art:ProjectedGradientDescent,num_random_init=1,max_iter=2",
    "art with a generator of its own": "art:HopSkipJump,max_iter=1,max_eval=50,init_eval=10",
    "art with another": "art:BoundaryAttack,max_iter=1,num_trial=5,sample_size=5,init_size=20",
}


def states() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())


@pytest.mark.parametrize("name", RANDOM)
def test_chance_comes_from_the_generator_alone(
    classifier: models.Classifier, images: Tensor, labels: Tensor, name: str
) -> None:
    package(name.partition(" ")[0])
    kinds = np.random.RandomState, np.random.default_rng
    before = states()
    first, again, other = (
        gs.attack(classifier, images, labels, by=RANDOM[name], generator=generator_for(seed)).images
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert states() == before
    draws = [generator_for(0, str(at)) for at in range(4)]
    together = gs.attack(classifier, images, labels, by=RANDOM[name], generator=draws)
    alone = gs.attack(classifier, images[2:3], labels[2:3], by=RANDOM[name], generator=[generator_for(0, "2")])
    assert torch.equal(together.images[2:3], alone.images)
    assert (np.random.RandomState, np.random.default_rng) == kinds


def test_no_attack_is_seeded_by_the_clock(
    classifier: models.Classifier, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchattacks' AutoAttack takes the time for its seed, and ART's CMA-ES seeds itself so."""
    attack = package("torchattacks").AutoAttack
    seeds, get_seed = list[float](), attack.get_seed
    monkeypatch.setattr(attack, "get_seed", lambda self: seeds.append(get_seed(self)) or seeds[-1])
    for _ in range(2):
        gs.attack(classifier, images[:1], labels[:1], by="torchattacks:AutoAttack", generator=generator_for(0))
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
    package("art")
    with pytest.raises(SettingsError, match=r"art:ThresholdAttack with es=0, CMA-ES, is seeded by the clock"):
        Art(name="ThresholdAttack", settings={"es": 0})


def test_the_global_state_is_restored_after_an_error_too(images: Tensor) -> None:
    before, seen = states(), []

    def run(seen_model: nn.Module, shown: Tensor, _: Tensor) -> Tensor:
        seen.append((float(torch.rand(1)), np.random.rand(), random.random()))
        return seen_model(shown)

    def model(_: Tensor) -> Tensor:
        raise KeyError("broken")

    for seed in (0, 0, 1):
        with pytest.raises(KeyError, match="broken"):
            run_attack(run, model, images, torch.zeros(4), generator_for(seed), spec="x", epsilon=None, norm=None)
    assert states() == before
    assert seen[0] == seen[1]
    assert all(one != other for one, other in zip(seen[0], seen[2], strict=True))


def test_a_package_that_breaks_off_is_named(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(SettingsError, match=r"foolbox:LinfPGD broke off .*: can't multiply sequence"):
        gs.attack(classifier, images, labels, by=Foolbox(name="LinfPGD", settings={"steps": 2, "rel_stepsize": "x"}))


def test_a_packages_warning_is_no_error_of_ours(images: Tensor) -> None:
    def run(_: nn.Module, shown: Tensor, __: Tensor) -> Tensor:
        warnings.warn("slow", RuntimeWarning, stacklevel=1)
        return shown

    with pytest.warns(RuntimeWarning, match="slow"):
        run_attack(run, nn.Identity(), images, torch.zeros(4), generator_for(0), spec="x", epsilon=None, norm=None)
    with pytest.raises(RuntimeWarning, match="slow"):
        run_attack(run, nn.Identity(), images, torch.zeros(4), generator_for(0), spec="x", epsilon=None, norm=None)


def test_as_many_generators_as_images(classifier: models.Classifier, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(SettingsError, match="one generator per image is needed, got 2 for 4 images"):
        gs.attack(classifier, images, labels, by="foolbox:LinfPGD", generator=[generator_for(0), generator_for(1)])


# The model


def test_the_weights_are_out_of_reach(images: Tensor) -> None:
    """A package that trains, moves or changes what it is given changes nothing of ours."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(768, 2)).eval()

    def run(seen: nn.Module, shown: Tensor, labels: Tensor) -> Tensor:
        assert not list(seen.children())
        seen.train().double().requires_grad_()
        shown = shown.requires_grad_()
        nn.functional.cross_entropy(seen(shown), labels).backward()
        return (shown + shown.grad.sign()).detach()

    made = run_attack(run, network, images, torch.zeros(4), generator_for(0), spec="x", epsilon=0.1, norm="linf")
    assert (made - images).abs().max() <= 0.1 + 1e-6
    assert all(weights.grad is None and weights.dtype == torch.float32 for weights in network.parameters())
    assert not network.training


def test_nan_logits_are_refused_by_place(images: Tensor) -> None:
    def model(shown: Tensor) -> Tensor:
        marked = (shown[:, 0, 0, 0] - images[3, 0, 0, 0]).abs() < 1e-9
        return shown.sum((2, 3)) + torch.where(marked, torch.nan, 0.0)[:, None]

    draws = [generator_for(at) for at in range(4)]
    for generator in (generator_for(0), draws):
        with pytest.raises(ModelError, match="1 of 4 images, first at index 3"):
            Foolbox(name="FGSM")(model, images, torch.zeros(4), generator=generator)


@pytest.fixture(scope="module")
def vgg(data_folder: Path) -> models.Classifier:
    return gs.load(f"module:{data_folder / 'vgg16_cifar10' / 'vgg16_cifar10.py'}:vgg16_cifar10", device="cpu")


def test_on_a_real_model(vgg: models.Classifier, data_folder: Path) -> None:
    """DeepFool, Carlini-Wagner and HopSkipJump on the VGG-16 of CIFAR-10: each fools it, the first two with little."""
    source = gs.open_source(data_folder / "vgg16_cifar10" / "test", class_names=vgg.class_names).take(8, 0)
    batch = source.read(preprocessing=vgg.preprocessing)
    assert batch.labels is not None
    little = (
        "foolbox:L2DeepFoolAttack",
        "foolbox:L2CarliniWagnerAttack,steps=30,binary_search_steps=3,stepsize=0.01,initial_const=1",
    )
    deep, carlini = (gs.attack(vgg, batch.images, batch.labels, by=spec) for spec in little)
    right = deep.clean_correct
    assert right.sum() >= 5
    for found in (deep, carlini):
        assert found.success[right].all()
        assert found.l2[right].median() < 0.5
    spec = "foolbox:HopSkipJumpAttack,steps=3,initial_gradient_eval_steps=50,max_gradient_eval_steps=50"
    jump = gs.attack(vgg, batch.images[:2], batch.labels[:2], by=spec)
    assert jump.success.all()
    assert jump.backwards == 0
    assert (jump.l2 < 5).all()
    assert (jump.l2 > deep.l2[:2]).all()
