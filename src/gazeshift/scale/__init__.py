"""Long runs on several processes of one machine, or on a Ray cluster: the same cells, the same rows."""

from gazeshift.scale._job import Job
from gazeshift.scale._run import run
from gazeshift.scale._settings import Scale

__all__ = ["Job", "Scale", "run"]
