"""How far an attack moves a classifier's gaze at every layer, against matched random noise (Renkhoff et al. 2022)."""

from gazeshift.studies.deviation.settings import Deviation

__all__ = ["Deviation"]
