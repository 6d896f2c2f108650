"""The CPU quota of this process by its cgroups, such as the CPU limit of a container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

# A line of /proc/self/mountinfo → the mounted part, its mount point, the file system, its options.
_MOUNT: Final = re.compile(r"(?:\S+ ){3}(\S+) (\S+) .*?- (cgroup2?) \S+ (\S+)")


def cpu_quota(root: Path = Path("/")) -> int | None:
    """The CPU quota in CPUs, rounded down, at least 1; None without a quota.

    With more threads than CPUs the scheduler stops all threads for the rest of each period, and a step of the
    recurrence that waits for one of them takes tens of milliseconds.
    """
    quotas = [quota for folder in _folders(root) if (quota := _quota(folder)) is not None]
    return max(1, int(min(quotas))) if quotas else None


def _folders(root: Path) -> Iterator[Path]:
    """The folders of the cgroups that may hold a quota: the group of this process, and all visible groups above it."""
    groups = {}  # controllers (none in version 2) → the group of this process
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, path = line.partition(":")[2].partition(":")
        groups[controllers] = PurePosixPath(path)
    for line in _lines(root / "proc/self/mountinfo"):
        mount = _MOUNT.match(line)
        if not mount:
            continue
        mounted, place, kind, options = mount.groups()
        if kind == "cgroup2":
            group = groups.get("")
        elif "cpu" in options.split(","):
            group = next((path for names, path in groups.items() if "cpu" in names.split(",")), None)
        else:
            continue
        # In a container the path of the group may be that of the host, while the container's own group is mounted.
        inside = group.relative_to(mounted) if group and group.is_relative_to(mounted) else PurePosixPath()
        folder = root / place.lstrip("/")
        yield from (folder / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """CPU time of a period divided by the length of the period."""
    words = " ".join(_lines(folder / "cpu.max")).split()  # version 2: "200000 100000", "max 100000" for no quota
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]  # version 1: -1 for none
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return None
    quota, period = map(int, words)
    return quota / period


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # another operating system, or no permission
        return []
