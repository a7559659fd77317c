"""Small networks whose every layer is known, and a capture that owes nothing to the package's own trace."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gazeshift.models import Classifier, select, trace

SIZE = 16
CLASSES = 6
Call = tuple[str, int]  # a module's name, and which of its calls in one pass


class Plain(nn.Module):
    """Three convolutions with batch norm and ReLU, average pooling and one linear layer: CAM is defined at the last.

    Args:
        how: the ReLU as a ``module``, an ``in-place`` module, a ``function``, a ``method`` with keyword arguments, or
            an ``in-place method`` or ``in-place call`` of a module whose result nobody takes. The weights have the
            same names throughout.
    """

    def __init__(self, how: str = "module") -> None:
        super().__init__()
        sizes = [(3, 6), (6, 8), (8, 10)]
        self.convs = nn.ModuleList(nn.Conv2d(one, two, 3, padding=1) for one, two in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(two) for _, two in sizes)
        self.relus = nn.ModuleList(nn.ReLU(inplace=how in ("in-place", "in-place call")) for _ in sizes)
        self.head = nn.Linear(10, CLASSES)
        self.how = how

    def activated(self, maps: Tensor, index: int) -> Tensor:
        if self.how == "function":
            return functional.relu(maps)
        if self.how == "method":
            return torch.clamp(input=maps, min=0)
        if self.how == "in-place method":
            maps.relu_()
            return maps
        taken = self.relus[index](maps)
        return maps if self.how == "in-place call" else taken

    def forward(self, images: Tensor) -> Tensor:
        maps = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            maps = self.activated(norm(conv(maps)), index)
            maps = functional.max_pool2d(maps, 2) if index == 0 else maps
        return self.head(maps.mean((2, 3)))


class Bottleneck(nn.Module):
    """As torchvision's: one ReLU module called twice, and the last norm's output overwritten by ``+=``."""

    def __init__(self, channels: int, *, inplace: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, maps: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(maps)))
        out = self.bn2(self.conv2(out))
        out += maps
        return self.relu(out)


class Residual(nn.Module):
    """A stem, two bottlenecks, and a head with a hidden layer, so that CAM is defined nowhere."""

    def __init__(self, *, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=inplace))
        self.blocks = nn.Sequential(Bottleneck(8, inplace=inplace), Bottleneck(8, inplace=inplace))
        self.pool, self.hidden, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(32, 12), nn.Linear(12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem(images))
        return self.head(torch.tanh(self.hidden(self.pool(maps).flatten(1))))


class Linear(nn.Module):
    """Convolutions without activations, so that channels sum to less than nothing: Grad-CAM++'s poles are possible."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(torch.sin(3 * self.first(images)))
        return self.head(torch.sin(maps).amax((2, 3)))


class Shared(nn.Module):
    """One convolution and one ReLU, three calls each, and a ReLU on a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.conv, self.relu = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.widen(images)
        for _ in range(3):
            maps = self.relu(self.conv(maps)) + 0.1 * maps
        return self.head(torch.tanh(maps).mean((2, 3)))


class Rebuilt(nn.Module):
    """Two convolutions with every way to write an activation, and the second one's result overwritten if wanted."""

    def __init__(self, how: str = "in place", *, overwrite: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6, CLASSES)
        self.how, self.overwrite = how, overwrite

    def activated(self, maps: Tensor) -> Tensor:
        if self.overwrite:  # no network can overwrite what a ReLU made and still have gradients; a clamp's it can
            taken = maps.clamp(min=0) if self.how == "out of place" else maps.clamp_(min=0)
        elif self.how == "keyword":
            taken = functional.relu(input=maps, inplace=True)
        else:
            taken = functional.relu(maps, inplace=self.how != "out of place")
        return maps if self.how == "not taken" else taken

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activated(self.first(images))
        maps = self.activated(functional.dropout(self.norm(self.second(maps)), training=False))
        if self.overwrite:
            maps *= 2
        return self.head(torch.sin(maps).mean((2, 3)))


class Branches(nn.Module):
    """Two convolutions side by side, one whose result no class sees, and one cut off from the classes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.left, self.right, self.aside = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(4))
        self.after, self.head = nn.Conv2d(8, 4, 3, padding=1), nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        cut = torch.sin(self.before(images)).detach()[:, :3]
        both = torch.cat([torch.sin(self.left(images + cut)), torch.sin(self.right(images))], 1)
        self.unused = self.aside(images).mean().item()
        return self.head(torch.sin(self.after(both)).amax((2, 3)))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network in eval mode with the weights of a seed, its batch norms as if trained; the global state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
    return network


def classifier_of(network: nn.Module, **settings: Any) -> Classifier:
    """A classifier that does not normalise."""
    return Classifier(network, name="tested", **settings)


def raw(classifier: Classifier, images: Tensor, layers: str = "*", **settings: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Activations and gradients of layers as the package's trace shows them."""
    chosen = select(classifier.layers(tuple(images.shape[2:])), layers, "tested")
    return trace(classifier, images, chosen, lambda _layer, *seen: tuple(map(torch.clone, seen)), **settings)[2]


def images_of(n: int = 4, size: int = SIZE, seed: int = 1) -> Tensor:
    """Smooth random images, different from each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((n, 3, 6, 6), generator=generator)
    return functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def captured(
    network: nn.Module, images: Tensor, classes: Sequence[int], calls: Sequence[Call]
) -> Mapping[Call, tuple[np.ndarray, np.ndarray]]:
    """Activations and gradients of module outputs in float64: nothing in place, one image at a time, plain hooks."""
    exact = copy.deepcopy(network).double().eval()
    for module in exact.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    pieces = [
        _captured_one(exact, image[None], int(index), calls) for image, index in zip(images, classes, strict=True)
    ]
    return {call: tuple(np.concatenate([piece[call][side] for piece in pieces]) for side in (0, 1)) for call in calls}


def _captured_one(
    network: nn.Module, image: Tensor, index: int, calls: Sequence[Call]
) -> Mapping[Call, tuple[np.ndarray, np.ndarray]]:
    outputs: dict[Call, Tensor] = {}
    count: dict[str, int] = {}

    def hook_for(name: str) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            count[name] = count.get(name, 0) + 1
            outputs[name, count[name]] = output
            return output.clone()  # what the network writes into is another tensor

        return hook

    handles = [
        network.get_submodule(name).register_forward_hook(hook_for(name)) for name in {name for name, _ in calls}
    ]
    logits = network(image.double().requires_grad_())
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(logits[0, index], [outputs[call] for call in calls])
    return {
        call: (outputs[call].detach().numpy(), gradient.numpy())
        for call, gradient in zip(calls, gradients, strict=True)
    }


def hooks_on(module: nn.Module) -> int:
    """How many hooks of any kind a module and its parts carry."""
    kinds = [name for name in vars(nn.Module()) if name.endswith("_hooks")]
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)
