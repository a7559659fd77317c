"""EfficientNet-Lite1 with its ImageNet weights, from a package: no network needed."""

from gazeshift.models._classifier import Classifier
from gazeshift.models._efficientnet_lite import lite

__all__ = ["efficientnet_lite1"]


def efficientnet_lite1(weights: str | None = None) -> Classifier:
    """EfficientNet-Lite1 (240 px), trained on ImageNet; for transfer."""
    return lite(1, crop=240, weights=weights)
