"""Whether attacks made on one model fool others."""

from gazeshift.studies.transfer.settings import Transfer

__all__ = ["Transfer"]
