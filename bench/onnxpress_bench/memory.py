"""Peak memory of this process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["peak_memory_bytes"]


def peak_memory_bytes() -> int:
    """The most physical memory that this process ever held, in bytes.

    On Linux from /proc: the peak that getrusage reports there starts from that of the process that forked this one.
    """
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match.group(1)) * 1_024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
