"""DLFuzz against the specification: one seed at a time, dictionaries, plain autograd."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.attacks.dlfuzz.result import FuzzedSeed
from gazeshift.models import load
from helpers.dlfuzz_network import LIVELY, generators, images, make_network
from helpers.plain_dlfuzz import PlainDLFuzz, PlainSeed


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    return make_network()


def watched(network: nn.Sequential, scope: str = "all") -> dict[str, nn.Module]:
    names = {"0": 2, "3": 3, "4": 5, "6": 6, "7": 7, "9": 10}
    kept = ("0", "4", "6") if scope == "conv_only" else tuple(names)
    return {name: network[names[name]] for name in kept}


def plain_version(fuzz: DLFuzz, network: nn.Sequential) -> PlainDLFuzz:
    weights = {name: network[int(name)].weight for name in ("0", "4", "6", "9")} | {"softmax": network[11].weight}
    return PlainDLFuzz(fuzz, network, watched(network, fuzz.scope), weights, dense=("9",))


def plain_run(fuzz: DLFuzz, network: nn.Sequential, seeds: Tensor) -> list[PlainSeed]:
    """Tables of their own for each seed, or shared."""
    plain = plain_version(fuzz, network)
    found = []
    for at, (seed, generator) in enumerate(zip(seeds, generators(len(seeds)), strict=True)):
        if fuzz.tables == "own":
            plain = plain_version(fuzz, network)
        index = fuzz.seed_index + (at if fuzz.tables == "shared" else 0)
        found.append(plain.fuzz(seed[None], generator, index))
    return found


def assert_same_seed(ours: FuzzedSeed, plain: PlainSeed, tolerance: float = 1e-9) -> None:
    assert (ours.clean_label, ours.pops, ours.iterations) == (plain.clean_label, plain.pops, plain.iterations)
    assert [(a.pop, a.depth, a.iteration, a.label) for a in ours.adversarials] == [
        (a.pop, a.depth, a.iteration, a.label) for a in plain.adversarials
    ]
    assert ours.coverage_after == pytest.approx(plain.coverage_after, abs=tolerance)
    assert ours.class_gradient == pytest.approx(plain.class_gradients, rel=tolerance)
    assert ours.coverage_gradient == pytest.approx(plain.coverage_gradients, rel=tolerance)
    for one, other in zip(ours.adversarials, plain.adversarials, strict=True):
        torch.testing.assert_close(one.image, other.image[0], rtol=0, atol=tolerance)
        numbers = (one.confidence, one.l2, one.l2_ratio, one.coverage_gain)
        assert numbers == pytest.approx((other.confidence, other.l2, other.l2_ratio, other.gain), rel=tolerance)


SETTINGS: list[dict[str, Any]] = [
    {},
    *({"strategies": name} for name in ("0", "2", "3", "uniform", "0+2", "3+uniform+1")),
    {"strategies": "3", "signs": "code"},
    {"scope": "conv_only"},
    {"class_score": "logit"},
    {"balance": "rms", "class_score": "logit"},
    {"limit": "queue", "delta": 0.01},
    {"reference": "item"},
    {"accept": "all"},
    {"iterations": 1, "strategies": 1, "eps_norm": 1e-5, "reference": "item", "limit": "queue"},  # as released
    {"seed_index": 3, "threshold": 0.4, "n_neurons": 3, "predict_weight": 1.0, "coverage_weight": 0.1},
    {"n_neurons": 0},
    {"n_neurons": 500},
    {"tables": "shared"},
    {"tables": "shared", "strategies": "0", "seed_index": 2},
]


@pytest.mark.parametrize("changed", SETTINGS, ids=str)
def test_agrees_with_the_plain_version_seed_by_seed(network: nn.Sequential, changed: dict[str, Any]) -> None:
    fuzz = DLFuzz(**(LIVELY | changed))
    result = fuzz.run(network, images(), generator=generators(6), batch_size=4)
    plain = plain_run(fuzz, network, images())
    for ours, other in zip(result.seeds, plain, strict=True):
        assert_same_seed(ours, other)
    assert sum(len(seed.adversarials) for seed in plain) > 2, "the case shows something"


def test_the_cases_show_every_branch(network: nn.Sequential) -> None:
    seeds = DLFuzz(**LIVELY).run(network, images(), generator=generators(6)).seeds
    assert {seed.stop_reason for seed in seeds} == {"queue empty", "max_pops"}
    assert any(found.depth == 1 for seed in seeds for found in seed.adversarials)
    assert any(not seed.adversarials for seed in seeds)


def test_agrees_with_the_plain_version_on_a_real_network(data_folder: Any) -> None:
    """EfficientNet-Lite0 in float32: the same classes at the same iterations, images to a few float32 roundings."""
    from gazeshift.data import open_source

    classifier, fuzz = load("efficientnet_lite0", device="cpu"), DLFuzz(class_score="logit")
    batch = next(iter(open_source(data_folder / "imagenet700").batches(3, classifier.preprocessing)))
    norms = {
        name: module for name, module in classifier.module.named_modules() if type(module).__name__ == "BatchNormAct2d"
    }
    result = fuzz.run(classifier, batch.images, batch.labels, generator=generators(3))
    for at, ours in enumerate(result.seeds):
        plain = PlainDLFuzz(fuzz, classifier, norms | {"pool": classifier.module.global_pool.pool})
        other = plain.fuzz(batch.images[at : at + 1], generators(3)[at], 0)
        assert len(plain.neurons) == len(result.covered[0]) == 23288
        assert (ours.clean_label, ours.pops) == (other.clean_label, other.pops)
        assert [(a.iteration, a.label) for a in ours.adversarials] == [
            (a.iteration, a.label) for a in other.adversarials
        ]
        assert ours.coverage_after == pytest.approx(other.coverage_after, abs=5e-4)  # 11 neurons at the threshold
        for one, two in zip(ours.adversarials, other.adversarials, strict=True):
            assert (one.image - two.image[0]).norm() < 0.01 * one.l2  # rounding can turn single ReLUs
    assert result.adversarials


def test_the_last_step_leads_from_before_to_the_adversarial(network: nn.Sequential) -> None:
    """A first step begins at the seed; every later one, one step away from where it ends (nothing is clipped here)."""
    middle = 0.25 + images() / 2
    fuzz = DLFuzz(**LIVELY, iterations=3)
    found = fuzz.run(network, middle, generator=generators(6))
    first = [(seed, a) for seed in found.seeds for a in seed.adversarials if (a.depth, a.iteration) == (0, 1)]
    assert len(first) > 0
    assert all(torch.equal(a.before, seed.clean) for seed, a in first)
    for adversarial in found.adversarials:
        step = (adversarial.image - adversarial.before).square().mean().sqrt()
        assert step.item() == pytest.approx(fuzz.step, rel=1e-6)
    stopped = fuzz.run(network, middle, generator=generators(6), stop=True)
    for seed, other in zip(stopped.seeds, found.seeds, strict=True):
        assert torch.equal(seed.attacked(), other.attacked())
        assert seed.pops <= other.pops
