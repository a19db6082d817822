"""How many processor cores this process may use: the one place that asks.

That is what joblib's `cpu_count` counts, but also within the nested control groups of systemd and of
clusters, where joblib sees no quota, and without joblib, which segmenting needs for nothing else.
"""

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that the process may run on, and of those no more than its control group's quota allows, as a
    container's or a cluster's job has one; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = quota()
    return cores if found is None else max(1, min(cores, math.ceil(found)))


def quota() -> float | None:
    """The smallest quota of the process's control group and those around it, in cores; None without any."""
    return min((one for folder in _own_groups() if (one := _quota_of(folder)) is not None), default=None)


def _own_groups() -> list[Path]:
    """The folders that may state a quota, of both versions of control groups."""
    found = [_GROUPS, _GROUPS / "cpu", _GROUPS / "cpu,cpuacct"]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            group = _GROUPS / controllers / inside.lstrip("/")
            found += [group, *(above for above in group.parents if above.is_relative_to(_GROUPS))]
    return found


def _quota_of(group: Path) -> float | None:
    """In cores; None where none is set."""
    try:
        if (file := group / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # ValueError: cpu.max says "max"
        return None
