"""Rules of DLFuzz one by one: the step, the limit, the queue, the tables, the choice of neurons."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.attacks.dlfuzz.choice import NeuronChoice, drawn
from gazeshift.attacks.dlfuzz.result import DLFuzzTables
from gazeshift.errors import BoundsError, GazeshiftError, ModelError, SettingsError, UnknownNameError
from gazeshift.measures.coverage import Coverage
from gazeshift.models import find_neurons
from gazeshift.registry import build
from gazeshift.seeds import generator_for
from helpers.dlfuzz_network import LIVELY, generators, images, make_network

MEAN = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64)[:, None, None] / 255


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    return make_network()


class Toy(nn.Module):
    """Three linear classes over all pixels, no layer but the softmax; its gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.randn((3, 3, 6, 6), generator=generator_for(0, "toy"), dtype=torch.float64)

    def forward(self, seen: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", seen, self.weights)


def grey(n: int = 3) -> Tensor:
    """Images that no step clips."""
    return torch.rand((n, 3, 6, 6), generator=generator_for(0, "grey"), dtype=torch.float64) * 0.4 + 0.3


def test_one_step_has_half_a_grey_level_along_the_analytic_gradient() -> None:
    """SPEC check 3. With logits and no neurons, the gradient is 0.5 (w_c2 + w_c3) - w_c1."""
    toy, seeds = Toy(), grey()
    fuzz = DLFuzz(class_score="logit", n_neurons=0, iterations=1, eps_norm=1e-30)
    steps = torch.stack([seed.last - seed.clean for seed in fuzz.run(toy, seeds, generator=generators(3)).seeds])
    assert steps.square().mean((1, 2, 3)).sqrt().tolist() == pytest.approx([0.5 / 255] * 3, rel=1e-9)
    for seed, step in zip(seeds, steps, strict=True):
        best = toy(seed[None])[0].argsort(descending=True)
        gradient = 0.5 * (toy.weights[best[1]] + toy.weights[best[2]]) - toy.weights[best[0]]
        torch.testing.assert_close(step / step.norm(), gradient / gradient.norm(), rtol=1e-9, atol=1e-12)


def test_a_larger_eps_norm_shortens_the_step_as_published() -> None:
    """Gradients per grey level: 1e-5 beside a gradient of RMS r takes r / (r + 1e-5) of the step."""
    toy, seeds = Toy(), grey(1)
    toy.weights *= 0.004
    fuzz = DLFuzz(class_score="logit", n_neurons=0, iterations=1, eps_norm=1e-5)
    seed = fuzz.run(toy, seeds, generator=generators(1)).seeds[0]
    size = seed.class_gradient[0] / 255
    assert size < 3e-5, "small enough to matter"
    rms = (seed.last - seed.clean).square().mean().sqrt().item()
    assert rms == pytest.approx(0.5 / 255 * size / (size + 1e-5), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-18, 1.0])
def test_tiny_gradients_still_have_a_direction(scale: float) -> None:
    """In float32 the squares of 1e-25 vanish; the softmax of a sure model has such gradients."""
    toy, seeds = Toy(), grey().float()
    toy.weights = toy.weights.float() * scale
    fuzz = DLFuzz(class_score="logit", n_neurons=0, iterations=1, eps_norm=1e-36)
    for seed in fuzz.run(toy, seeds, generator=generators(3)).seeds:
        assert (seed.last - seed.clean).square().mean().sqrt().item() == pytest.approx(0.5 / 255, rel=1e-3)


def test_balance_makes_both_gradients_equally_large(network: nn.Sequential) -> None:
    """With either weight, the step is the sum of the two directions."""
    one, other = (
        DLFuzz(balance="rms", iterations=1, **weights).run(network, images(), generator=generators(6)).seeds
        for weights in ({"coverage_weight": 0.5}, {"coverage_weight": 50.0})
    )
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first.last, second.last, rtol=0, atol=1e-9)
        assert second.coverage_gradient[0] == pytest.approx(100 * first.coverage_gradient[0])


def test_hard_limit(network: nn.Sequential) -> None:
    """Every accepted mutant and every last one is within delta of the centred seed; as released, many are not."""
    lively = LIVELY | {"step": 2 / 255, "delta": 0.04}
    hard = DLFuzz(**lively).run(network, images(), generator=generators(6))
    free = DLFuzz(**lively, limit="queue").run(network, images(), generator=generators(6))
    for seed in hard.seeds:
        for image in (seed.last, *(found.image for found in seed.adversarials)):
            assert (image - seed.clean).norm() <= 0.04 * (seed.clean - MEAN).norm()
    ratios = [found.l2_ratio for found in hard.adversarials]
    assert max(ratios) <= 0.04
    assert max(found.l2_ratio for found in free.adversarials) > 0.06
    assert len(free.adversarials) > len(hard.adversarials) > 0


def test_sizes_are_those_of_the_images(network: nn.Sequential) -> None:
    result = DLFuzz(**LIVELY).run(network, images(), generator=generators(6))
    for seed in result.seeds:
        for found in seed.adversarials:
            change = found.image - seed.clean
            sizes = change.norm(), change.norm() / (seed.clean - MEAN).norm(), change.abs().max()
            assert (found.l2, found.l2_ratio, found.linf) == pytest.approx([size.item() for size in sizes])
            assert found.rms == pytest.approx(change.square().mean().sqrt().item())
            probabilities = network(found.image[None])[0].softmax(0)
            assert (found.label, found.confidence) == (
                probabilities.argmax(),
                pytest.approx(probabilities.max().item()),
            )
            assert found.original_confidence == pytest.approx(probabilities[seed.clean_label].item())
            assert found.label != seed.clean_label
            assert found.image.min() >= 0
            assert found.image.max() <= 1


def test_queued_images_are_copies(network: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC check 4: what was queued is the mutant of that moment, although its seed went on changing."""
    from gazeshift.attacks.dlfuzz import loop as _dlfuzz_loop

    queued: list[tuple[Tensor, Tensor, Tensor]] = []
    judged = _dlfuzz_loop.Loop.judge

    def watching(loop: Any, seed: Any, item: Any, mutant: Any, covered: Any) -> None:
        before = len(seed.queue)
        judged(loop, seed, item, mutant, covered)
        if len(seed.queue) > before:
            queued.append((seed.queue[-1].image, mutant.image.clone(), mutant.image))

    monkeypatch.setattr(_dlfuzz_loop.Loop, "judge", watching)
    DLFuzz(**LIVELY).run(network, images(), generator=generators(6))
    assert len(queued) > 3
    for kept, then, mutant in queued:
        assert torch.equal(kept, then)
        mutant.zero_()
        assert torch.equal(kept, then), "and shares no memory with it"


@pytest.mark.parametrize("size", [1, 2, 64])
def test_results_do_not_depend_on_the_batch_size(network: nn.Sequential, size: int) -> None:
    fuzz = DLFuzz(**(LIVELY | {"max_pops": 9, "strategies": "0+1+3"}))
    expected = fuzz.run(network, images(), torch.arange(6) % 5, generator=generators(6), batch_size=3)
    found = fuzz.run(network, images(), torch.arange(6) % 5, generator=generators(6), batch_size=size)
    assert len({seed.pops for seed in expected.seeds}) > 2, "seeds of different length share the batch"
    assert torch.equal(found.covered, expected.covered)
    assert torch.equal(found.tables.evaluated, expected.tables.evaluated)
    assert torch.equal(found.tables.reported, expected.tables.reported)
    for one, other in zip(found.records(), expected.records(), strict=True):
        assert_alike(one, other)


def assert_alike(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_alike(first, second)
    else:
        assert one == (pytest.approx(other, rel=1e-9) if isinstance(one, float) else other)


def test_shards_fuzzed_apart_and_joined_give_the_same(network: nn.Sequential) -> None:
    """Records, tables and the curve."""
    fuzz, seeds = DLFuzz(**LIVELY), images()
    whole = fuzz.run(network, seeds, generator=generators(6))
    first = fuzz.run(network, seeds[:4], generator=generators(6)[:4])
    second = fuzz.run(network, seeds[4:], generator=generators(6)[4:])
    joined = first.tables + second.tables
    assert torch.equal(joined.evaluated, whole.tables.evaluated)
    assert torch.equal(joined.reported, whole.tables.reported)
    later = Coverage.curves({"joined": torch.cat([first.covered, second.covered])})["joined"]
    assert torch.equal(later, whole.coverage_curve)
    assert whole.coverage_curve[-1] == (joined.reported > 0).double().mean()
    with pytest.raises(SettingsError, match="do not belong together"):
        joined + DLFuzzTables(evaluated=torch.zeros(3), reported=torch.zeros(3))


def test_tables_count_what_was_evaluated_and_what_is_reported(network: nn.Sequential) -> None:
    result = DLFuzz(**LIVELY).run(network, images(), generator=generators(6))
    neurons = find_neurons(network, images()[:1])
    clean = neurons.read(images()).values > 0.25
    assert torch.equal(result.clean_covered, clean)
    accepted = [neurons.read(found.image[None]).values[0] > 0.25 for found in result.adversarials]
    assert torch.equal(result.tables.reported, clean.sum(0) + torch.stack(accepted).sum(0))
    most = sum(seed.pops + seed.iterations for seed in result.seeds)
    assert result.tables.evaluated.max() == most, "a neuron that is always on is counted in every pass"
    assert (result.tables.evaluated >= result.tables.reported).all()


def test_goes_on_from_earlier_tables(network: nn.Sequential) -> None:
    """A seed that knows what was covered covers nothing new, so it queues nothing; its own counts stay apart."""
    fuzz = DLFuzz(**LIVELY)
    first = fuzz.run(network, images(), generator=generators(6))
    again = fuzz.run(network, images(), generator=generators(6), before=first.tables)
    assert sum(seed.pops for seed in again.seeds) < sum(seed.pops for seed in first.seeds)
    assert again.coverage_curve[0] >= first.coverage_curve[-1]
    assert again.tables.evaluated.sum() < 1.2 * first.tables.evaluated.sum()


def test_shared_tables_run_on_from_seed_to_seed(network: nn.Sequential) -> None:
    """As handing each seed the tables and the index of its forerunners does."""
    shared = DLFuzz(**LIVELY, tables="shared").run(network, images(), generator=generators(6))
    tables = None
    for at, (seed, generator) in enumerate(zip(images(), generators(6), strict=True)):
        one = DLFuzz(**LIVELY, seed_index=at).run(network, seed[None], generator=[generator], before=tables)
        assert shared.seeds[at].seed_index == at
        assert_alike(shared.seeds[at].record() | {"position": 0}, one.seeds[0].record())
        tables = one.tables if tables is None else tables + one.tables
    assert torch.equal(shared.tables.evaluated, tables.evaluated)
    assert shared.seeds[-1].coverage_after == pytest.approx(shared.coverage_curve[-1].item())


def test_the_three_arms_of_a_coverage_curve(network: nn.Sequential) -> None:
    """SPEC section 4: same seeds, same rule; clean seeds alone lie below what their mutants add."""
    attack = DLFuzz(**LIVELY | {"step": 6 / 255, "accept": "all"})
    arms = {name: replace(attack, mutation=name) for name in ("gradient", "gaussian")}
    runs = {name: arm.run(network, images(), generator=generators(6)) for name, arm in arms.items()}
    curves = Coverage.curves(
        {name: run.covered for name, run in runs.items()} | {"seeds": runs["gradient"].clean_covered}
    )
    assert torch.equal(runs["gradient"].clean_covered, runs["gaussian"].clean_covered)
    for curve in curves.values():
        assert len(curve) == 6
        assert (curve.diff() >= 0).all()
        assert (curve >= curves["seeds"]).all()
    assert (curves["gradient"] > curves["seeds"]).any()
    assert not torch.equal(curves["gradient"], curves["gaussian"])


def test_the_random_arm_takes_steps_of_the_same_mean_and_deviation() -> None:
    """On 224 x 224 pixels, where a sample's own moments are near those asked for."""
    weights = torch.rand((2, 3, 224, 224), generator=generator_for(0, "big"))
    seeds = torch.full((2, 3, 224, 224), 0.5)

    def linear(seen: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", seen, weights) / 1000

    settings = {"class_score": "logit", "n_neurons": 0, "iterations": 1, "max_pops": 1, "step": 0.01}
    true, noise = (
        torch.stack(
            [
                one.last - one.clean
                for one in DLFuzz(**settings, delta=9.0, mutation=kind)
                .run(linear, seeds, generator=generators(2))
                .seeds
            ]
        )
        for kind in ("gradient", "gaussian")
    )
    assert noise.mean((1, 2, 3)).tolist() == pytest.approx(true.mean((1, 2, 3)).tolist(), abs=1e-4)
    assert noise.std((1, 2, 3)).tolist() == pytest.approx(true.std((1, 2, 3)).tolist(), rel=0.01)
    assert abs(torch.corrcoef(torch.stack([noise[0].flatten(), true[0].flatten()]))[0, 1]) < 0.02
    assert not torch.equal(noise[0], noise[1])


def test_what_a_call_gives_back(network: nn.Sequential) -> None:
    """The first adversarial or the smallest; without one, the last mutant."""
    fuzz, labels = DLFuzz(**LIVELY), torch.zeros(6, dtype=torch.long)
    seeds = fuzz.run(network, images(), generator=generators(6)).seeds
    first = fuzz(network, images(), labels, generator=generators(6))
    smallest = replace(fuzz, pick="min_l2")(network, images(), labels, generator=generators(6))
    for at, seed in enumerate(seeds):
        if seed.adversarials:
            assert torch.equal(first[at], seed.adversarials[0].image)
            assert seed.adversarials[0].image.is_contiguous()
            sizes = [found.l2 for found in seed.adversarials]
            assert (smallest[at] - seed.clean).norm().item() == pytest.approx(min(sizes))
            assert seed.picked("all") == seed.adversarials
        else:
            assert torch.equal(first[at], seed.last)
            assert not torch.equal(seed.last, seed.clean)
            assert seed.picked("first") == seed.picked("min_l2") == ()
    assert not torch.equal(first, smallest)
    with pytest.raises(SettingsError, match="pick='all' gives no single image"):
        replace(fuzz, pick="all")(network, images(), labels, generator=generators(6))


def test_labels_are_noted_and_do_not_steer(network: nn.Sequential) -> None:
    truth = network(images()).argmax(1)
    truth[2] = (truth[2] + 1) % 5
    fuzz = DLFuzz(**LIVELY)
    result = fuzz.run(network, images(), truth, generator=generators(6))
    assert [seed.clean_correct for seed in result.seeds] == [True, True, False, True, True, True]
    assert fuzz.run(network, images(), generator=generators(6)).seeds[0].clean_correct is None
    other = fuzz(network, images(), truth * 0, generator=generators(6))
    assert torch.equal(fuzz(network, images(), truth, generator=generators(6)), other)


def test_rates_and_means(network: nn.Sequential) -> None:
    truth = network(images()).argmax(1)
    result = DLFuzz(**LIVELY).run(network, images(), truth, generator=generators(6))
    found = [seed for seed in result.seeds if seed.adversarials]
    assert 0 < result.success_rate == result.success_rate_clean_correct == len(found) / 6 < 1
    assert result.mean_l2 == pytest.approx(sum(a.l2 for s in found for a in s.adversarials) / len(result.adversarials))
    nothing = DLFuzz().run(network, images()[:0], generator=[])
    assert nothing.success_rate != nothing.success_rate, "NaN"
    assert nothing.coverage_curve.tolist() == []
    assert sum(result.layers.values()) == len(result.tables.reported) == 48


def test_records_are_json(network: nn.Sequential) -> None:
    import json

    result = DLFuzz(**LIVELY).run(network, images(), torch.zeros(6, dtype=torch.long), generator=generators(6))
    again = json.loads(json.dumps(result.records(), allow_nan=False))
    assert len(again) == 6
    assert again[1]["adversarials"][0]["iteration"] >= 1
    assert {"clean_correct", "class_gradient", "coverage_gradient", "stop_reason", "coverage_after"} <= again[0].keys()


@pytest.mark.parametrize(
    "broken", [lambda seen: seen.detach(), lambda seen: seen.detach().requires_grad_(), lambda seen: seen.round()]
)
def test_a_model_without_gradient(network: nn.Sequential, broken: Callable[[Tensor], Tensor]) -> None:
    """Detached is refused. Rounding gives a gradient of zero: nothing moves, nothing is found."""
    labels = torch.zeros(6, dtype=torch.long)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, seen: Tensor) -> Tensor:
            return self.inner(broken(seen))

    if broken(torch.ones(1, requires_grad=True)).grad_fn is None:
        with pytest.raises(ModelError, match="this model gives none"):
            DLFuzz()(Cut(), images(), labels, generator=generators(6))
    else:
        assert torch.equal(DLFuzz()(Cut(), images(), labels, generator=generators(6)), images())


def test_a_gradient_that_is_not_a_number_names_its_seed(network: nn.Sequential) -> None:
    """By its place in the run, not in the batch."""

    def spoiled(seen: Tensor) -> Tensor:
        return network(seen) * torch.where(seen.detach()[:, :1, 0, 0] > 0.99, torch.nan, 1.0)

    seeds = images()
    seeds[:, 0, 0, 0], seeds[4, 0, 0, 0] = 0.5, 1.0
    with pytest.raises(ModelError, match="1 of 6 images, first at index 4"):
        DLFuzz().run(spoiled, seeds, generator=generators(6), batch_size=2)


def test_modes_are_restored_after_an_exception() -> None:
    def broken(seen: Tensor) -> Tensor:
        raise KeyError("broken")

    with torch.inference_mode():
        with pytest.raises(KeyError, match="broken"):
            DLFuzz().run(broken, images(), generator=generators(6))
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_drawing_follows_the_weights() -> None:
    """Against NumPy's choice without replacement, whose chances of the two first places are known exactly."""
    weights = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    rows = 4000
    chosen = drawn(weights.expand(rows, 5), 2, [generator_for(0, "draw", str(row)) for row in range(rows)])
    share = weights / weights.sum()
    expected = [
        sum(a * b / (1 - a) + a * b / (1 - b) for j, b in enumerate(share) if j != i) for i, a in enumerate(share)
    ]
    assert chosen.sum(1).tolist() == [2] * rows
    assert chosen.double().mean(0).tolist() == pytest.approx([float(one) for one in expected], abs=0.025)


def test_fewer_candidates_than_wanted_are_all_chosen() -> None:
    weights = torch.tensor([[0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert drawn(weights, 3, generators(2)).tolist() == [[False, True, False, True], [False] * 4]


def choice(network: nn.Sequential, strategies: tuple[str, ...], count: int = 6, signs: str = "cover") -> NeuronChoice:
    neurons = find_neurons(network, images()[:1])
    return NeuronChoice(strategies=strategies, count=count, threshold=0.25, signs=signs, neurons=neurons)


def test_what_each_strategy_chooses_from(network: nn.Sequential) -> None:
    times, values = torch.zeros(6, 48, dtype=torch.long), torch.full((6, 48), 0.9)
    times[:, 5:20], times[:, 20:25] = 3, 1
    values[:, 10:14], values[:, 14:17], values[:, 36:] = 0.2, 0.3, 0.2
    picked = {name: choice(network, (name,))(times, values, generators(6)) for name in ("0", "1", "3", "uniform")}
    assert set(picked["0"].nonzero()[:, 1].tolist()) <= set(range(5, 25))
    assert not picked["1"][:, 5:20].any()
    assert not picked["uniform"][:, 5:25].any()
    assert set(picked["3"].nonzero()[:, 1].tolist()) == {10, 11, 12, 13}, "just below; never linear layers or softmax"
    assert all((signs >= 0).all() for signs in picked.values())
    code = choice(network, ("3",), signs="code")(times, values, generators(6))
    assert (code > 0).nonzero()[:3, 1].tolist() == [14, 15, 16]
    assert (code < 0).nonzero()[:3, 1].tolist() == [10, 11, 12]


def test_all_covered_leaves_all_to_choose_from(network: nn.Sequential) -> None:
    times, values = torch.ones(6, 48, dtype=torch.long), torch.zeros(6, 48)
    assert choice(network, ("uniform",))(times, values, generators(6)).sum() == 36
    assert choice(network, ("1",))(times, values, generators(6)).sum() == 0, "none is rarer than the others"


def test_strategies_share_the_neurons(network: nn.Sequential) -> None:
    """Seven in three parts: 3, 2 and 2."""
    times, values = torch.zeros(6, 48, dtype=torch.long), torch.zeros(6, 48)
    times[:, :24] = 1
    values[:, 24:30] = 0.2
    chosen = choice(network, ("0", "3", "2"), 7)(times, values, generators(6))
    assert (chosen[:, :24].sum(1) >= 3).all()
    assert (chosen[:, 24:30].sum(1) >= 2).all()
    assert (chosen.sum(1) >= 6).all()
    assert (chosen.sum(1) <= 7).all()


def test_strategy_2_takes_the_tenth_with_the_largest_weights(network: nn.Sequential) -> None:
    weights = find_neurons(network, images()[:1]).incoming.nan_to_num(nan=-9)
    best = set(weights.topk(5).indices.tolist())  # ceil(0.1 * 48)
    assert weights[list(best)].min() > 0
    chosen = choice(network, ("2",), 20)(torch.zeros(6, 48, dtype=torch.long), torch.zeros(6, 48), generators(6))
    assert set(chosen.nonzero()[:, 1].tolist()) == best


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"strategies": "4"}, UnknownNameError, r"no DLFuzz strategy named '4'"),
        ({"strategies": "1+1"}, SettingsError, r"different ones, joined by '\+', got '1\+1'"),
        ({"strategies": ()}, SettingsError, "different ones"),
        ({"scope": "conv_onyl"}, UnknownNameError, r"DLFuzz has no scope 'conv_onyl'\. Did you mean 'conv_only'"),
        ({"class_score": "logits"}, UnknownNameError, r"no class_score 'logits'\. Did you mean 'logit'"),
        ({"balance": "RMS"}, UnknownNameError, "no balance 'RMS'"),
        ({"limit": None}, UnknownNameError, "no limit 'None'"),
        ({"pick": "min"}, UnknownNameError, r"no pick named 'min'\. Did you mean 'min_l2'"),
        ({"step": 0.5}, None, ""),
        ({"step": 2.0}, BoundsError, r"step must be above 0 and at most 1, got 2\. .*2/255"),
        ({"eps_norm": 0.0}, BoundsError, "eps_norm must be above 0"),
        ({"delta": -1}, BoundsError, "delta must be above 0"),
        ({"delta": "0.02"}, SettingsError, "delta must be a number"),
        ({"threshold": 1.0}, BoundsError, "threshold must be from 0 to below 1, got 1"),
        ({"queue_gain": -0.1}, BoundsError, "queue_gain must be from 0"),
        ({"coverage_weight": float("inf")}, BoundsError, "coverage_weight must be 0 or more and finite"),
        ({"predict_weight": float("nan")}, BoundsError, "predict_weight must be 0 or more and finite"),
        ({"iterations": 0}, BoundsError, "iterations must be a whole number, 1 or more, got 0"),
        ({"max_pops": 2.5}, BoundsError, "max_pops must be a whole number, 1 or more, got 2.5"),
        ({"n_neurons": -1}, BoundsError, "n_neurons must be a whole number, 0 or more, got -1"),
        ({"seed_index": True}, BoundsError, "seed_index must be a whole number"),
    ],
)
def test_settings(settings: dict[str, Any], error: type[GazeshiftError] | None, message: str) -> None:
    if error is None:
        DLFuzz(**settings)
        return
    with pytest.raises(error, match=message):
        DLFuzz(**settings)


def test_settings_as_people_write_them() -> None:
    assert build("attacks", "dlfuzz:strategies=1,step=0.25/255") == DLFuzz(strategies=1, step=0.25 / 255)
    assert build("attacks", "dlfuzz:strategies=0+3,scope=conv_only").strategies == "0+3"
    assert DLFuzz().norm is None


def test_one_generator_for_all_or_one_each(network: nn.Sequential) -> None:
    with pytest.raises(SettingsError, match="one generator per image is needed, got 2 for 6 images"):
        DLFuzz().run(network, images(), generator=generators(2))
    fuzz = DLFuzz(**LIVELY)
    one, again, other = (
        fuzz.run(network, images(), generator=generator_for(seed, "all")).covered for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
