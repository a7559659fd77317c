"""Attack on attention."""

from gazeshift.attacks.aoa.attack import Aoa

__all__ = ["Aoa"]
