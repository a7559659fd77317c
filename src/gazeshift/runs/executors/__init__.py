"""Who computes the cells of a long run: this process, processes of this machine, or Ray. The rows are the same."""

from gazeshift.runs.executors.settings import Scale
from gazeshift.runs.executors.start import executor

__all__ = ["Scale", "executor"]
