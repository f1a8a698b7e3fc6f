"""Claims of a process on a file or folder, which end with the process, however that ends."""

from __future__ import annotations

__all__ = ["claim"]


def claim(handle: int) -> bool | None:
    """Claim an open file or folder; False if another process has it, None where nothing can be claimed."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - no such locks on this platform
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
