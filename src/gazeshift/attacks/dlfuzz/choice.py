"""Which neurons DLFuzz excites: strategies 0 to 3 of the paper, and DeepXplore's uniform one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazeshift.models import Neurons
from gazeshift.precision import exact, has_float64

TOP_SHARE = 0.1  # of all neurons, by incoming weight: strategy 2
BELOW, ABOVE = 0.2, 0.25  # the band around the threshold: strategy 3


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronChoice:
    """Chooses neurons for a batch of seeds, each by its own table and its own generator.

    Drawing without replacement, with probability in proportion to a weight, is a race: neuron i arrives after
    -log(1 - u_i) / weight_i, u uniform, and the first ones are chosen. One uniform number per neuron (float64 if the
    generator's device has it) is drawn for each strategy that draws, so a seed's choice does not depend on the others.

    Args:
        strategies: names; each chooses an equal share of `count`, the first ones one more if it does not divide.
        count: neurons to choose. A strategy with fewer candidates chooses them all. A neuron chosen twice counts once.
        threshold: above it, a neuron is covered.
        signs: for strategy 3. ``cover`` draws from the neurons just below the threshold. ``code`` takes the first
            neurons just above it, and lowers the first just below it, as the released code does.
        neurons: of the model.
    """

    strategies: tuple[str, ...]
    count: int
    threshold: float
    signs: str
    neurons: Neurons

    def __post_init__(self) -> None:
        object.__setattr__(self, "_heavy", self._heaviest() if "2" in self.strategies else None)

    def __call__(
        self, times: Int[Tensor, "n neurons"], values: Float[Tensor, "n neurons"], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "n neurons"]:
        """+1 for each neuron to excite, -1 for each to calm, 0 for the others; on the CPU.

        Args:
            times: how often each neuron was covered so far.
            values: scaled activations of the images that were popped.
            generators: one per row.
        """
        chosen = torch.zeros(values.shape)
        each, more = divmod(self.count, len(self.strategies))
        for at, strategy in enumerate(self.strategies):
            found = self._chosen(strategy, each + (at < more), times, values, generators)
            chosen = torch.where(chosen == 0, found, chosen)
        return chosen

    def _chosen(
        self, strategy: str, count: int, times: Tensor, values: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        if strategy == "3" and self.signs == "code":
            above = self._first(self._band(values, self.threshold, self.threshold + ABOVE), count // 2)
            below = self._first(self._band(values, self.threshold - BELOW, self.threshold), count - count // 2)
            return above.float() - below.float()
        return drawn(self._weights(strategy, times, values), count, generators).float()

    def _weights(self, strategy: str, times: Tensor, values: Tensor) -> Float[Tensor, "n neurons"]:
        if strategy == "0":
            return times.double()
        if strategy == "1":
            return (times.amax(1, keepdim=True) - times).double()
        if strategy == "2":
            return self._heavy.double().expand(values.shape)  # type: ignore[attr-defined,no-any-return]
        if strategy == "3":
            return self._band(values, self.threshold - BELOW, self.threshold).double()
        fresh = times == 0
        return torch.where(fresh.any(1, keepdim=True), fresh, True).double()

    def _band(self, values: Tensor, low: float, high: float) -> Bool[Tensor, "n neurons"]:
        """Neurons between two values, both left out, in convolutions and poolings."""
        return (values > low) & (values < high) & self.neurons.of_kinds(("conv", "pool"))

    @staticmethod
    def _first(marked: Bool[Tensor, "n neurons"], count: int) -> Bool[Tensor, "n neurons"]:
        return marked & (marked.cumsum(1) <= count)

    def _heaviest(self) -> Bool[Tensor, " neurons"]:
        """The tenth of all neurons with the largest mean incoming weight, if it is positive."""
        weights = self.neurons.incoming.nan_to_num(nan=-torch.inf)  # layers without weights are no candidates
        count = -(-len(weights) // round(1 / TOP_SHARE))
        best = weights.topk(count).indices
        return torch.zeros(len(weights), dtype=torch.bool).index_fill_(0, best, value=True) & (weights > 0)


def drawn(
    weights: Float[Tensor, "n neurons"], count: int, generators: Sequence[torch.Generator]
) -> Bool[Tensor, "n neurons"]:
    """`count` neurons of each row, without replacement, in proportion to the weights; all if there are no more."""
    neurons = weights.shape[1]
    uniform = torch.stack([_uniform(neurons, one) for one in generators])
    arrival = torch.where(weights > 0, -torch.log1p(-uniform) / weights, torch.inf)
    first = arrival.topk(min(count, neurons), largest=False)
    return torch.zeros(weights.shape, dtype=torch.bool).scatter_(1, first.indices, first.values.isfinite())


def _uniform(count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    dtype = torch.float64 if has_float64(generator.device) else torch.float32
    return exact(torch.rand(count, generator=generator, dtype=dtype, device=generator.device)).cpu()
