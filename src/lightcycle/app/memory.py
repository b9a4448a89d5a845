"""Freed memory is kept by the process for its next step, where glibc hands it out.

A step on a processor asks for gigabytes and frees them again. glibc takes each large piece from the system and gives it
back at once, and the system clears every page anew: a fifth to a third of the step. See mallopt(3).
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from malloc.h
NEVER, NONE = -1, 0
USUAL_TRIM, USUAL_MMAPS = 128 * 1024, 65536


def keep_freed(keep: bool = True) -> bool:
    """Whether glibc was told: the process then holds on to the most it has had; with ``False``, it no longer does."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    mmaps, trim = (NONE, NEVER) if keep else (USUAL_MMAPS, USUAL_TRIM)
    return bool(mallopt(M_MMAP_MAX, mmaps) and mallopt(M_TRIM_THRESHOLD, trim))
