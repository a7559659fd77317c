"""Processes that end with the one that began them."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl.h


def end_with_parent() -> None:
    """Have Linux kill this process when the one that began it is gone, in whatever it is busy with."""
    if sys.platform != "linux":
        return
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
