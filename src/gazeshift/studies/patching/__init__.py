"""Which layers and channels cause an attack's success: activation patching."""

from gazeshift.studies.patching.settings import Patching

__all__ = ["Patching"]
