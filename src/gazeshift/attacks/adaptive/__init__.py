"""An attack by someone who knows the detector."""

from gazeshift.attacks.adaptive.attack import Adaptive

__all__ = ["Adaptive"]
