"""Where classifiers look under attacks made for another one: Chakraborty et al. 2022."""

from gazeshift.studies.chakraborty2022.settings import Chakraborty2022

__all__ = ["Chakraborty2022"]
