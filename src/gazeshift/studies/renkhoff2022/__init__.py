"""Where DLFuzz examples move a classifier's gaze, layer by layer (Renkhoff et al. 2022)."""

from gazeshift.studies.renkhoff2022.settings import Renkhoff2022

__all__ = ["Renkhoff2022"]
