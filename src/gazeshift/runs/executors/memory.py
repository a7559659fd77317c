"""How the process keeps its memory between two passes."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of malloc.h
LARGEST, SMALLEST = 2**31 - 1, 2**30  # bytes


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks rather than hand each back to the system, which then zeroes it page by page.

    A layer's activations for a batch are larger than the 32 MB from which on it does so. Measured on EfficientNet-Lite0
    with 8 images on one core: 1.25 times as fast for 2 % more memory (`python -m bench allocator`). Other systems'
    allocators are left alone. It is for programs of ours: a library must not decide this for its host.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, SMALLEST)
        mallopt(TRIM_THRESHOLD, LARGEST)
