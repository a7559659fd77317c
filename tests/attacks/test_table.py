"""Images side by side only where each gets what it gets alone; and the page about other packages' attacks."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from gazeshift import registry
from gazeshift.attacks._adapter import run_attack
from gazeshift.errors import SettingsError
from gazeshift.seeds import generator_for

TOOL = Path(__file__).resolve().parents[2] / "tools" / "attack_table.py"
pytestmark = pytest.mark.filterwarnings("ignore")  # what packages have to say of each other


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attack_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["attack_table"] = module
    spec.loader.exec_module(module)
    return module


def package(spec: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = spec.partition(":")[0]
        pytest.importorskip(name, reason=f"{name} is not installed")


def test_the_page_fits_the_code(tool: ModuleType) -> None:
    text = tool.FILE.read_text("utf-8")
    rows = tool.rows_of(text)
    assert list(tool.misfits(rows)) == []
    assert text.endswith(tool.sections(rows)), "written by the tool"
    assert list(rows) == list(tool.PACKAGES)
    assert all(len(rows[name]) == len(tool.offered(name)) for name in tool.installed())


def test_a_page_that_does_not_fit_is_noticed(tool: ModuleType) -> None:
    rows = tool.rows_of(tool.FILE.read_text("utf-8"))["foolbox"]
    lost = rows.pop(0)
    wrong = next(at for at, row in enumerate(rows) if row.how == "one by one")
    rows[wrong] = tool.replace(rows[wrong], how="together")
    assert [problem for problem in tool.misfits({"foolbox": rows}) if problem.startswith("foolbox")] == [
        f"foolbox:{lost.name} is on one side alone",
        *(f"foolbox:{name} is together on one side alone" for name in sorted([lost.name, rows[wrong].name])),
    ]


def test_what_is_refused_is_refused_with_its_reason(tool: ModuleType) -> None:
    for package in tool.installed():
        for name, why in registry.find("attacks", package).refused.items():
            with pytest.raises(SettingsError) as raised:
                registry.build("attacks", f"{package}:{name}")
            assert str(raised.value) == f"{package}:{name} cannot be used here: {why}."


# Side by side


def sizes(tool: ModuleType, spec: str) -> list[int]:
    """How many images the package is given at a time when each has a seed of its own."""
    images, labels = tool.images_and_labels()
    images, counted, attack = images.float(), list[int](), registry.build("attacks", spec)
    own = attack._run

    def run(seen: Any, some: Tensor, its: Tensor) -> Tensor:
        counted.append(len(some))
        return own(seen, some, its)

    object.__setattr__(attack, "_run", run)
    made = attack(tool.Frozen(), images, labels, generator=[generator_for(at) for at in range(4)])
    object.__setattr__(attack, "_run", own)
    torch.testing.assert_close(made, tool.each_alone(attack, images, labels), rtol=0, atol=1e-6)
    return counted


@pytest.mark.parametrize(
    "spec",
    [
        "foolbox:LinfPGD,random_start=false,steps=5",
        "foolbox:PGD,random_start=false,steps=5",
        "foolbox:L2DeepFoolAttack",
        "torchattacks:BIM",
        "torchattacks:PGD,random_start=false,steps=5,alpha=0.01",
        "art:ProjectedGradientDescent,max_iter=5",
        "art:ProjectedGradientDescent,max_iter=5,target=2",
    ],
)
def test_attacks_without_chance_are_run_together(tool: ModuleType, spec: str) -> None:
    package(spec)
    assert sizes(tool, spec) == [4]


@pytest.mark.parametrize(
    "spec",
    [
        "foolbox:LinfPGD,steps=5",  # starts at random
        "foolbox:L2CarliniWagnerAttack,steps=10,binary_search_steps=2,initial_const=1",  # may stop for the batch
        "torchattacks:CW,steps=10,lr=0.05",  # stops for the batch
        "torchattacks:PGD,steps=5",
        "torchattacks:DIFGSM,steps=2",
        "art:ProjectedGradientDescent,max_iter=2,num_random_init=1",
        "art:ProjectedGradientDescent,max_iter=2,norm=2,epsilon=0.5",  # gradients are means over the batch
    ],
)
def test_others_are_run_one_by_one(tool: ModuleType, spec: str) -> None:
    package(spec)
    assert sizes(tool, spec) == [1, 1, 1, 1]


def test_what_draws_after_all_is_run_again_one_by_one(tool: ModuleType) -> None:
    """Whatever a list says."""
    images, labels = tool.images_and_labels()
    counted = list[int]()

    def run(_: Any, some: Tensor, its: Tensor) -> Tensor:
        counted.append(len(some))
        return some * (1 - 0.1 * torch.rand(some.shape))

    draws = [generator_for(at) for at in range(4)]
    made = run_attack(run, tool.Frozen(), images, labels, draws, spec="x", epsilon=None, norm=None, batched=True)
    assert counted == [4, 1, 1, 1, 1]
    alone = run_attack(
        run, tool.Frozen(), images[2:3], labels[2:3], [generator_for(2)], spec="x", epsilon=None, norm=None
    )
    assert torch.equal(made[2:3], alone)


@pytest.mark.slow
def test_every_attack_that_is_run_together_gives_each_image_what_it_gets_alone(tool: ModuleType) -> None:
    """By a run of them all, with the installed versions."""
    images, labels = tool.images_and_labels()
    for package in tool.installed():
        for name in registry.find("attacks", package).batched:
            spec = f"{package}:{name}"
            quiet = {key: off for key, off in tool.CHANCE.items() if key in tool.built(spec)._known()}
            assert tool.same_in_any_batch(tool.built(spec, settings=quiet), images, labels), spec
