"""Long runs on several processes of one machine, or on a Ray cluster: the same cells, the same rows."""

from gazeshift.runs.executors.job import Job
from gazeshift.runs.executors.settings import Scale
from gazeshift.runs.executors.start import run

__all__ = ["Job", "Scale", "run"]
