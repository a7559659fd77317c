"""What adversarial sets do to a classifier, and whether it can be mended or taught: Ding et al. 2022."""

from gazeshift.studies.ding2022.settings import Ding2022

__all__ = ["Ding2022"]
