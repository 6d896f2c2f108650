"""A rank that fails, is killed or stopped, in a run of real MPI."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.parallel.launch import NEEDS_MPI, command, environment, mpiexec
from tests.thin import thin

pytestmark = [NEEDS_MPI, pytest.mark.skipif(os.name != "posix", reason="needs signals")]

# Each rank writes its process id into a file, and then averages without end.
_LOOP = """
import os, sys, time
import numpy as np
from xrnn.parallel import world
comm = world()
with open(f"rank{comm.rank}.tmp", "w") as file:
    file.write(str(os.getpid()))
os.rename(f"rank{comm.rank}.tmp", f"rank{comm.rank}")
count = np.zeros(1)
while True:
    count += 1
    comm.mean([count])
    time.sleep(0.005)
    if comm.rank == 0:
        with open("count.tmp", "w") as file:
            file.write(str(int(count[0])))
        os.rename("count.tmp", "count")
"""


class Run:
    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command(2, "-c", _LOOP),
            env=environment(**variables),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pids = [int(self.read(f"rank{rank}")) for rank in range(2)]
        self.read("count")

    def read(self, name: str) -> str:
        while not (self.folder / name).exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)
        return (self.folder / name).read_text()

    def ends(self) -> str:
        """Wait for the end of all ranks, with a status other than 0 → the output."""
        output: str = self.process.communicate(timeout=300)[0]
        assert self.process.returncode != 0
        while any(map(_runs, self.pids)):
            time.sleep(0.01)
        return output


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("rank", "number"), thin([0, 1], [signal.SIGKILL, signal.SIGTERM]))
def test_killed_rank_ends_all(tmp_path: Path, rank: int, number: int) -> None:
    run = Run(tmp_path)
    os.kill(run.pids[rank], number)
    run.ends()


def test_a_stopped_rank_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    os.kill(run.pids[1], signal.SIGSTOP)
    time.sleep(0.5)
    before = run.read("count")
    time.sleep(0.5)
    assert run.read("count") == before
    os.kill(run.pids[1], signal.SIGCONT)
    while run.read("count") == before:
        assert run.process.poll() is None
        time.sleep(0.01)
    run.process.terminate()
    run.process.communicate()


@pytest.mark.proof
def test_a_stopped_rank_ends_all_after_the_timeout(tmp_path: Path) -> None:
    run = Run(tmp_path, XRNN_PARALLEL_TIMEOUT="3")
    while float(run.read("count")) < 20:  # the first calls of `mean` also compare the sizes, by other messages
        time.sleep(0.01)
    os.kill(run.pids[1], signal.SIGSTOP)
    assert "error: rank 0 waited 3 s for the other ranks in mean (XRNN_PARALLEL_TIMEOUT)" in run.ends()


@pytest.mark.parametrize("runner", [(), ("-m", "mpi4py")])
def test_an_exception_in_one_rank_ends_all(runner: tuple[str, ...]) -> None:
    done = mpiexec(3, *runner, "-c", _EXCEPTION)
    assert done.returncode == 1
    assert done.stderr.count("OSError: disk full") == 1


_EXCEPTION = """
import numpy as np
from xrnn.parallel import world
comm = world()
comm.mean([np.ones(2)])
if comm.rank == 1:
    raise OSError("disk full")
comm.mean([np.ones(2)])
"""


_CALLS = """
import os, sys
import numpy as np
from xrnn.parallel import world
comm = world()
x, y = np.ones(2), np.ones(1000)
reduce, other = comm.reducer([x]), comm.reducer([y])
for _ in range(3):
    reduce([x])
    comm.mean([x])
if comm.rank == {rank}:
    {first}
else:
    {second}
comm.barrier()
"""
_END = "the end of its script"
_REDUCER = "reducer 1 (1 arrays with 2 numbers)"


@pytest.mark.parametrize(
    ("rank", "first", "second", "names"),
    [
        (1, "sys.exit(0)", "reduce([x])", [_END, _REDUCER]),
        (0, "reduce([x])", "other([y])", [_REDUCER, "reducer 2 (1 arrays with 1,000 numbers)"]),
        *(
            pytest.param(*case, marks=pytest.mark.proof)
            for case in (
                (0, "os._exit(0)", "reduce([x])", [_END, _REDUCER]),
                (1, "os._exit(0)", "comm.mean([x])", [_END, "mean"]),
                (0, "pass", "comm.mean([x])", ["barrier", "mean"]),
                (1, "reduce([x])", "comm.mean([x])", [_REDUCER, "mean"]),
                (1, "pass", "reduce([x])", ["barrier", _REDUCER]),
            )
        ),
    ],
)
def test_ranks_that_make_different_calls_end_with_an_error(
    rank: int, first: str, second: str, names: list[str]
) -> None:
    done = mpiexec(3, "-c", _CALLS.format(rank=rank, first=first, second=second))
    assert done.returncode == 1
    found = re.findall(r"rror: .*rank \d has reached (.+), rank \d has reached (.+): expected the same", done.stderr)
    assert {tuple(sorted(each)) for each in found} == {tuple(sorted(names))}  # the order: which ranks arrive first


def test_ranks_may_end_at_different_times() -> None:
    code = """
import os, sys, time
import numpy as np
from xrnn.parallel import world
comm = world()
comm.mean([np.ones(2)])
if comm.rank == 0:
    time.sleep(1.5)  # while the others wait at their end
    sys.exit(print("last"))
"""
    done = mpiexec(3, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "last\n", "")


def test_a_forked_child_ends_alone() -> None:
    code = """
import os
import numpy as np
from xrnn.parallel import world
comm = world()
if not (child := os.fork()):
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
comm.mean([np.ones(2)])
"""
    done = mpiexec(2, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
