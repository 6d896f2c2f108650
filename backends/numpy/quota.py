"""How many CPUs' worth of time the cgroups of this process allow it: what a container's limit on CPUs becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

# A line of /proc/self/mountinfo → the part that is mounted, where, the kind of file system, its options.
_MOUNT: Final = re.compile(r"(?:\S+ ){3}(\S+) (\S+) .*?- (cgroup2?) \S+ (\S+)")


def cpu_quota(root: Path = Path("/")) -> int | None:
    """The CPU quota in whole CPUs, at least 1; None where there is none.

    Rounded down: with more threads than CPUs the scheduler stops all of them for the rest of each period, and a step
    of the recurrence that waits for one of them takes tens of milliseconds.
    """
    quotas = [quota for folder in _folders(root) if (quota := _quota(folder)) is not None]
    return max(1, int(min(quotas))) if quotas else None


def _folders(root: Path) -> Iterator[Path]:
    """The cgroups of this process that may hold a quota: its own, and all above it as far as they can be seen."""
    groups = {}  # the controllers, none in version 2 → the process's group
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
        # Within a container the group's path may be the host's, and the mount the container's own group.
        inside = group.relative_to(mounted) if group and group.is_relative_to(mounted) else PurePosixPath()
        folder = root / place.lstrip("/")
        yield from (folder / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """Microseconds of CPU time a period, over the microseconds of a period."""
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
    except OSError:  # another system, or a group that is not ours to read
        return []
