"""The CPU quota of a process, from the cgroup files of hosts and of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrnn.backends.numpy import kernels
from xrnn.backends.numpy.quota import cpu_quota

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"
# In a container without a cgroup namespace: the group's own folder is mounted as the root.
V1_OF_A_CONTAINER = V1.replace("0:30 /", "0:30 /docker/4f2a")
NO_CGROUP = "21 24 0:20 / /proc rw,nosuid - proc proc rw"


def machine(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A root folder with these contents of /proc, and these files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        pytest.param("0::/", V2, {"cpu.max": "200000 100000"}, 2, id="v2, a container's own root"),
        pytest.param("0::/a/b", V2, {"a/b/cpu.max": "max 100000"}, None, id="v2, no quota"),
        pytest.param("0::/a/b", V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "30000 10000"}, 3, id="v2, above"),
        pytest.param("0::/a/b", V2, {"a/b/cpu.max": "400000 100000", "a/cpu.max": "600000 100000"}, 4, id="v2, least"),
        pytest.param("0::/../../host", V2, {"cpu.max": "500000 100000"}, 5, id="v2, outside the namespace's root"),
        pytest.param("0::/", V2, {"cpu.max": "290000 100000"}, 2, id="rounded down"),
        pytest.param("0::/", V2, {"cpu.max": "20000 100000"}, 1, id="at least one"),
        pytest.param("0::/", V2, {"cpu.max": "nonsense"}, None, id="v2, another content"),
        pytest.param("0::/", V2, {}, None, id="v2, the host's root has no such file"),
        pytest.param("4:cpu,cpuacct:/pod/c", V1, v1("cpu,cpuacct/pod/c", 300_000), 3, id="v1"),
        pytest.param("4:cpu,cpuacct:/pod/c", V1, v1("cpu,cpuacct/pod", 50_000, 10_000), 5, id="v1, above"),
        pytest.param("4:cpu,cpuacct:/pod/c", V1, v1("cpu,cpuacct/pod/c", -1), None, id="v1, no quota"),
        pytest.param(
            "4:cpu,cpuacct:/docker/4f2a", V1_OF_A_CONTAINER, v1("cpu,cpuacct", 200_000), 2, id="v1, a container"
        ),
        pytest.param(
            "1:cpuset:/x\n0::/a", V1.replace("cpu,cpuacct", "cpuset") + "\n" + V2, {"a/cpu.max": "7 1"}, 7, id="both"
        ),
        pytest.param("0::/", NO_CGROUP + "\n" + V2, {"cpu.max": "200000 100000"}, 2, id="after other file systems"),
        pytest.param("0::/", V2, {"cpu.max": "200000 100000 5"}, None, id="v2, more than two words"),
        pytest.param(
            "4:cpu,cpuacct:/other", V1_OF_A_CONTAINER, v1("cpu,cpuacct", 200_000), 2, id="v1, outside the mounted group"
        ),
        pytest.param("", NO_CGROUP, {}, None, id="no cgroups"),
    ],
)
def test_quota(tmp_path: Path, groups: str, mounts: str, files: dict[str, str], expected: int | None) -> None:
    assert cpu_quota(machine(tmp_path, groups, mounts, files)) == expected


def test_no_quota_on_another_system(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


def test_this_machine_is_read_without_an_error() -> None:
    quota = cpu_quota()
    assert quota is None or quota >= 1


def test_a_quota_above_the_number_of_cpus_has_no_effect() -> None:
    try:
        kernels.set_quota(None)
        cpus = kernels.thread_cap()
        kernels.set_quota(cpus + 1)
        assert kernels.thread_cap() == cpus
    finally:
        kernels.set_quota(cpu_quota())
