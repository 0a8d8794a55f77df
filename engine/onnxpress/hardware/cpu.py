"""How many CPUs this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from onnxpress.system import kernel_file, thread_cpus

__all__ = ["available_cpus", "cpu_quota"]

_CGROUP: Final = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may use, at least 1: its affinity, cut to the container's quota where one is set."""
    affinity = len(thread_cpus() or ()) or os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return max(1, min(affinity, math.ceil(quota) if quota else affinity))


def cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """CPUs that the container's quota allows, None without one."""
    return _quota_v2(cgroup) or _quota_v1(cgroup)


def _quota_v2(cgroup: Path) -> float | None:
    try:
        quota, period = kernel_file(cgroup / "cpu.max").split()
        return None if quota == "max" else int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def _quota_v1(cgroup: Path) -> float | None:
    try:
        quota = int(kernel_file(cgroup / "cpu/cpu.cfs_quota_us"))
        return quota / int(kernel_file(cgroup / "cpu/cpu.cfs_period_us")) if quota > 0 else None
    except (ValueError, ZeroDivisionError):
        return None
