"""Whether NoiseCAM's clusters or one layer's deviation give an attack away (Tan et al. 2023)."""

from gazeshift.studies.noisecam2023.settings import Noisecam2023

__all__ = ["Noisecam2023"]
