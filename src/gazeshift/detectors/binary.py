"""A network that tells clean from attacked pixels (Ding et al. 2022, section 4.7)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazeshift.detectors._answers import FromAnswers
from gazeshift.detectors._two_classes import cropped, fresh_detector
from gazeshift.errors import BoundsError, ModelError, SettingsError
from gazeshift.precision import exact
from gazeshift.records import DetectorInput
from gazeshift.seeds import generator_for

__all__ = ["Binary"]

PIECE = 64


@dataclass(frozen=True, kw_only=True)
class Binary(FromAnswers):
    """Suspicion = logit of "attacked" minus logit of "clean", of a network trained from nothing on the pixels alone.

    The classifier's own answer and gaze play no part. The paper trains a ResNet-50 at 224 pixels for 30 epochs on
    50,000 images; the defaults are what two cores can train. With a few hundred images it learns little. Both classes
    count the same in the loss, however many images each has; Adam, and the last epoch is kept.

    Args:
        network: its architecture, as models are named; it must end in a linear layer.
        side: of the centre crop that it sees, in pixels. Not resized: that would smooth away what is to be seen.
        epochs: times that each image is seen.
        batch_size: largest number of images in a step.
        learning_rate: of Adam.
        seed: of the weights to begin with, the order of images and dropout.
        device: to train and to judge on; ``auto`` is a GPU if there is one.
        weights: learned: the network's tensors by name, of its own types.

    Raises:
        BoundsError: a number out of range.
    """

    network: str = "torchvision:resnet18"
    side: int = 64
    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.side, self.epochs, self.batch_size) < 1 or not 0 < self.learning_rate < math.inf:
            raise BoundsError(
                "binary needs a side, epochs and a batch_size of at least 1 and a learning_rate above 0, got "
                f"{self.side}, {self.epochs}, {self.batch_size} and {self.learning_rate:g}."
            )

    def measure(self, seen: DetectorInput) -> Float[Tensor, "n f"]:
        """The number of channels, then the pixels of the centre crop, channel by channel; a smaller image's square."""
        images = seen.own.images
        pixels = exact(cropped(images, min(self.side, *images.shape[2:])).flatten(1)).cpu()
        return torch.cat([torch.full((len(images), 1), images.shape[1], dtype=pixels.dtype), pixels], 1)

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:
        """With a trained network.

        Raises:
            SettingsError: no adversarial images, or no clean ones.
            ModelError: the network cannot be built, does not end in a linear layer, does not take the images'
                channels, or its loss is not finite.
        """
        if attacked is None or not len(attacked) or not len(benign):
            raise SettingsError(
                "binary learns to tell clean from adversarial images and needs both: give it adversarial sets too."
            )
        with torch.inference_mode(mode=False), torch.enable_grad():  # whatever holds where `fit` is called
            images = _images(torch.cat([benign, attacked]))
            network = fresh_detector(self.network, self.seed, self.device, images.shape[1])
            share = torch.tensor([1 / len(benign), 1 / len(attacked)])
            labels = torch.tensor([0] * len(benign) + [1] * len(attacked))
            self._train(network, images, labels, nn.CrossEntropyLoss(share))
        weights = {name: one.detach().cpu().clone() for name, one in network.state_dict().items()}
        return replace(self, weights=weights)

    def score(self, measured: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        """Suspicion per image: above 0 the network takes it for attacked.

        Raises:
            SettingsError: nothing was learned.
        """
        place, pieces = next(self.trained.parameters()).device, [torch.empty(0, 2)]
        with torch.no_grad():
            pieces += [self.trained(_images(one).to(place)).cpu() for one in torch.split(measured, PIECE) if len(one)]
        logits = exact(torch.cat(pieces))
        return logits[:, 1] - logits[:, 0]

    @cached_property
    def trained(self) -> nn.Module:
        """The network with the learned weights, for images in [0, 1].

        Raises:
            SettingsError: nothing was learned.
        """
        if self.weights is None:
            raise SettingsError("binary has not learned yet: fit it to clean and adversarial images first.")
        network = fresh_detector(self.network, self.seed, self.device, len(self.weights["mean"]))
        network.load_state_dict(dict(self.weights))
        return network.eval()

    def _train(self, network: nn.Module, images: Tensor, labels: Tensor, loss: nn.Module) -> None:
        """Train the network in place."""
        place = next(network.train().parameters()).device
        loss, optimizer = loss.to(place), torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        with torch.random.fork_rng([place] if place.type == "cuda" else []):
            torch.manual_seed(generator_for(self.seed, "dropout").initial_seed() % 2**63)
            for chosen in self._steps(len(images)):
                optimizer.zero_grad()
                value: Tensor = loss(network(images[chosen].to(place)), labels[chosen].to(place))
                if not value.isfinite():
                    raise ModelError(f"the loss is {value.item()}. Lower the learning rate ({self.learning_rate:g}).")
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def _steps(self, count: int) -> Iterator[Tensor]:
        """Places of the images of each step, in an order drawn anew for every epoch; steps of nearly the same size."""
        steps = math.ceil(count / self.batch_size)
        for epoch in range(self.epochs):
            order = torch.randperm(count, generator=generator_for(self.seed, "order", str(epoch)))
            yield from torch.tensor_split(order, steps)


def _images(measured: Float[Tensor, "n f"]) -> Float[Tensor, "n channels s s"]:
    """Pixels as they were before they were laid in a row.

    Raises:
        SettingsError: these are no pixels.
    """
    channels = int(measured[0, 0])
    side = math.isqrt((measured.shape[1] - 1) // max(1, channels))
    if channels < 1 or channels * side**2 != measured.shape[1] - 1:
        raise SettingsError(
            f"binary measures a number of channels and the pixels of a square, got {measured.shape[1]} numbers that "
            f"begin with {float(measured[0, 0]):g}. Did an older gazeshift measure them? Begin in an empty folder."
        )
    return measured[:, 1:].reshape(-1, channels, side, side).float()
