"""Freed memory is kept by the process for its next step, where glibc hands it out.

A step on a processor asks for gigabytes and frees them again. Pieces above 32 MB glibc takes from the system one by one
and gives back at once, and of the rest it keeps little; the system then clears every page anew. See mallopt(3).
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # from malloc.h
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
USUAL = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own thresholds, which rise with what is freed, come to rest."""
_now = {"keeps": False}


def can_keep() -> bool:
    """Whether memory is handed out by glibc here."""
    return _glibc() is not None


def keep_freed(keep: bool = True) -> bool:
    """Whether the process holds on from now on to the most it has had; with ``False`` it gives back what it frees.

    A process that never kept anything is left as it is.
    """
    glibc = _glibc()
    if glibc is not None and keep != _now["keeps"]:
        told = {glibc.mallopt(*each) for each in (KEEPING if keep else USUAL).items()}
        _now["keeps"] = keep and 0 not in told
        if not keep:
            glibc.malloc_trim(0)
    return _now["keeps"]


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # another system
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
