"""EfficientNet-Lite2 with its ImageNet weights, from a package: no network needed."""

from gazeshift.models._classifier import Classifier
from gazeshift.models._efficientnet_lite import lite

__all__ = ["efficientnet_lite2"]


def efficientnet_lite2(weights: str | None = None) -> Classifier:
    """EfficientNet-Lite2 (260 px), trained on ImageNet; for transfer."""
    return lite(2, crop=260, weights=weights)
