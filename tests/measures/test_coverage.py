"""Numbers of neuron coverage: SPEC check 2, tables that are joined, curves of several arms."""

import numpy as np
import pytest
import torch

from gazeshift.errors import BoundsError, SettingsError
from gazeshift.measures.coverage import Coverage
from gazeshift.models import find_neurons
from gazeshift.seeds import generator_for

NAN = float("nan")


def some_values(n: int = 12, neurons: int = 30) -> torch.Tensor:
    return torch.rand((n, neurons), generator=generator_for(0, "values")) ** 4


def test_by_hand() -> None:
    values = torch.tensor([[0.0, 0.25, 0.2500001, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert Coverage()(values).tolist() == [0.5, 0.0, 1.0]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_at_the_threshold_is_not_covered(threshold: float, dtype: torch.dtype) -> None:
    """Also where the threshold has no exact float32."""
    at = torch.full((1, 1), threshold, dtype=dtype)
    above = at.nextafter(torch.ones_like(at))
    measure = Coverage(threshold=threshold)
    assert (measure(at).item(), measure(above).item()) == (0.0, 1.0)


def test_a_constant_layer_covers_nothing() -> None:
    """From images to coverage: zero weights, equal biases, and a softmax of equal logits."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    for layer in (network[0], network[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, 0.9)
    values = find_neurons(network, torch.zeros(1, 3, 4, 4)).read(torch.rand(2, 3, 4, 4)).values
    assert Coverage(threshold=0.0)(values).tolist() == [0.0, 0.0]


def test_grows_with_images_and_does_not_depend_on_their_order() -> None:
    values, measure = some_values(), Coverage()
    seen = [measure.table(values[:n]).coverage for n in range(13)]
    assert seen[0] == 0
    assert (np.diff(seen) >= 0).all()
    assert len(set(seen)) > 5
    order = torch.randperm(12, generator=generator_for(0, "order"))
    assert torch.equal(measure.table(values[order]).counts, measure.table(values).counts)
    assert seen[-1] == measure.table(values[order]).coverage == (values > 0.25).any(0).double().mean()


@pytest.mark.parametrize("cuts", [(0,), (5,), (3, 4, 11)])
def test_shards_counted_apart_and_joined_give_the_same(cuts: tuple[int, ...]) -> None:
    values, measure = some_values(), Coverage()
    whole = measure.table(values)
    parts = [measure.table(shard) for shard in values.tensor_split(cuts)]
    for order in (parts, parts[::-1]):
        joined = order[0]
        for part in order[1:]:
            joined = joined + part
        assert torch.equal(joined.counts, whole.counts)
        assert (joined.images, joined.coverage, joined.threshold) == (12, whole.coverage, 0.25)


def test_tables_that_do_not_belong_together_are_refused() -> None:
    table = Coverage().table(some_values())
    with pytest.raises(SettingsError, match=r"30 neurons at 0.25 and 29 at 0.25 do not belong together"):
        table + Coverage().table(some_values()[:, 1:])
    with pytest.raises(SettingsError, match=r"30 neurons at 0.25 and 30 at 0.5 do not"):
        table + Coverage(threshold=0.5).table(some_values())


def test_nan() -> None:
    values = torch.tensor([[NAN, 1.0], [0.0, 1.0]])
    assert Coverage()(values)[0].isnan()
    assert Coverage()(values)[1] == 0.5
    assert Coverage().table(values).counts.tolist() == [0, 2]


@pytest.mark.parametrize("threshold", [-0.1, 1.0, NAN, 25.0])
def test_thresholds_out_of_range_are_refused(threshold: float) -> None:
    with pytest.raises(BoundsError, match="threshold from 0 to below 1, got"):
        Coverage(threshold=threshold)


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(2, 3, 4), torch.zeros(3, 0), torch.ones(2, 3).long()])
def test_what_is_no_values_is_refused(wrong: torch.Tensor) -> None:
    # With shapes checked at run time, the checker speaks first and raises its own TypeError.
    with pytest.raises((BoundsError, TypeError), match=r"float values \(images, neurons\), got|Type-check"):
        Coverage()(wrong)


def test_curves_of_arms_that_differ_in_seeds_are_refused() -> None:
    arms = {"seeds": torch.zeros(3, 4, dtype=torch.bool), "attacked": torch.zeros(2, 4, dtype=torch.bool)}
    with pytest.raises(BoundsError, match=r"same seeds and neurons, got .*'attacked': \(2, 4\)"):
        Coverage.curves(arms)
    assert Coverage.curves({}) == {}
