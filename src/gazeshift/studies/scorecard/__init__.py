"""What detectors are worth: attacks, benign changes and unseen attacks, with intervals."""

from gazeshift.studies.scorecard.settings import Scorecard

__all__ = ["Scorecard"]
