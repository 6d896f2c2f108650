"""Running a change's tests: in a fork of a process that has imported everything, so that a trial takes what they take.

A change inside functions is put into the functions that are there. One of what runs at import (a constant, a default
argument, a class) needs a fork of a process that has imported the libraries but not xrnn.

Time counts in seconds of the processor, or in rounds of waiting: one that is stopped and continued loses nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import pytest

from mutation.changes import Change
from mutation.inside import sitecustomize
from mutation.reach import arguments
from mutation.swap import Functions, NotInFunctionsError

NOT_NOTICED: Final = "not noticed"
NOT_REACHED: Final = "not reached"
NO_PROGRAM: Final = "no program"
OUT_OF_TIME: Final = "noticed: out of time"
_SECONDS: Final = 10.0  # of the processor, in addition to ten times what the tests take unchanged
_IDLE: Final = 300  # rounds of waiting in which the trial has used no processor: it hangs
_ROUND: Final = 0.1  # seconds
_FILES: Final = 8  # of tests that a new import of everything imports: most of its time
_REMEMBERED: Final = 12  # tests that noticed something
_MEMORY: Final = 6 << 30  # bytes in addition to what is taken at the fork
_KERNELS: Final = f"xrnn-cuda-emulator-{os.getuid()}"  # in the temporary folder, by their content: g++ takes seconds
_LIBRARIES: Final = ("numpy", "safetensors.numpy", "typer", "rich.progress", "hypothesis", "autograd", "mpmath")


@dataclass(frozen=True)
class Trial:
    """A change, and the tests to run on it, by their names.

    seconds       what these tests take together, unchanged
    before_tests  whether the changed code runs already while the tests are imported and collected
    """

    change: Change
    tests: list[str]
    seconds: float
    before_tests: bool


Report = Callable[[Change, str], None]


class _Recent:
    """The tests that noticed the last changes: they come first, since they are likely to notice the next one."""

    def __init__(self) -> None:
        self._tests: list[str] = []

    def first(self, tests: list[str]) -> list[str]:
        rank = {test: number for number, test in enumerate(reversed(self._tests))}
        return sorted(tests, key=lambda test: rank.get(test, len(rank)))

    def add(self, test: str) -> None:
        self._tests = [*(each for each in self._tests if each != test), test][-_REMEMBERED:]


def run(root: Path, trials: list[Trial], report: Report) -> None:
    """Call `report` with each change and the test that noticed it, or with one of the words above."""
    for trial in trials:
        if not trial.tests:
            report(trial.change, NOT_REACHED)
    trials = [trial for trial in trials if trial.tests]
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="xrnn-mutants-") as folder:
        done = Path(folder, "done")
        inside = [trial for trial in trials if not trial.before_tests]
        if inside:
            pid = os.fork()
            if not pid:
                _in_functions(root, inside, done, Path(folder), report)
            if os.waitpid(pid, 0)[1]:
                sys.exit("the process that holds the tests ended with an error: see above")
        tried = set(done.read_text(encoding="utf-8").splitlines()) if done.exists() else set()
        recent = _Recent()
        for trial in trials:
            if trial.change.key not in tried:
                test = partial(_import_and_test, root, trial, recent)
                verdict = _verdict(trial, test, Path(folder))
                report(trial.change, verdict)
                recent.add(verdict)


def _in_functions(root: Path, trials: list[Trial], done: Path, folder: Path, report: Report) -> NoReturn:
    """In a process of its own: import everything, then try each change that is inside functions."""
    wanted = {test for trial in trials for test in trial.tests}
    files = sorted({test.partition("::")[0] for test in wanted})

    class Plugin(_Quick):
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            items = {item.nodeid: item for item in session.items if item.nodeid in wanted}
            for trial in trials:  # what a test would import late
                name = trial.change.module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                with contextlib.suppress(Exception):
                    importlib.import_module(name if name.startswith("xrnn") else f"xrnn.{name}")
            functions, recent = Functions(), _Recent()
            with done.open("a", encoding="utf-8") as tried:
                for trial in trials:
                    change = trial.change
                    before = (root / change.module).read_text(encoding="utf-8")
                    after = change.applied(before)

                    def test(out: Path, trial: Trial = trial, before: str = before, after: str = after) -> None:
                        functions.change(str(root / trial.change.module), before, after)
                        _announce(root, trial, after, out)
                        _run_items([items[name] for name in recent.first(trial.tests) if name in items], out)

                    with contextlib.suppress(NotInFunctionsError):
                        verdict = _verdict(trial, test, folder)
                        report(change, verdict)
                        recent.add(verdict)
                        tried.write(f"{change.key}\n")
                        tried.flush()
            return True

    os.chdir(root)
    code = pytest.main([*arguments(), *files], plugins=[Plugin()])
    sys.stdout.flush()
    os._exit(0 if code in (0, 5) else 1)


def _import_and_test(root: Path, trial: Trial, recent: _Recent, out: Path) -> None:
    """In a fork: import the changed module, the tests of a few files, the nearest ones, and run those."""
    after = trial.change.applied((root / trial.change.module).read_text(encoding="utf-8"))
    sitecustomize.change(str(root / trial.change.module), after)
    _announce(root, trial, after, out)
    os.chdir(root)

    class Plugin(_Quick):
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            items = {item.nodeid: item for item in session.items}
            _run_items([items[name] for name in recent.first(trial.tests) if name in items], out)
            return True

    files = list(dict.fromkeys(test.partition("::")[0] for test in trial.tests))[:_FILES]
    code = pytest.main([*arguments(), *files], plugins=[Plugin()])
    if code not in (0, 5) and not out.exists():
        out.write_text("noticed: the tests can't be imported", encoding="utf-8")


class _Quick:
    """Plugin: hypothesis looks for no smaller example."""

    def pytest_collection(self, session: pytest.Session) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings(), phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")


class _Reports:
    """Plugin: whether a test has failed. One that is left out now, and was not before, has failed too."""

    def __init__(self) -> None:
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed or report.skipped


def _run_items(items: list[pytest.Item], out: Path) -> None:
    """Write the first test that fails to `out`."""
    if not items:
        return
    reports, plugins = _Reports(), items[0].config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(reports)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        if reports.failed:
            out.write_text(item.nodeid, encoding="utf-8")
            return


def _announce(root: Path, trial: Trial, after: str, out: Path) -> None:
    """To the processes that tests start: run the changed module."""
    source = out.with_suffix(".source")
    source.write_text(after, encoding="utf-8")
    os.environ |= {"MUTANTS_FILE": str(root / trial.change.module), "MUTANTS_SOURCE": str(source)}


def _verdict(trial: Trial, test: Callable[[Path], None], folder: Path) -> str:
    """Run `test` in a fork. It writes to the path that it gets which test failed, and nothing where none did."""
    own = Path(tempfile.mkdtemp(prefix="trial-", dir=folder))
    out = own / "verdict"
    kernels = Path(tempfile.gettempdir(), _KERNELS)
    kernels.mkdir(exist_ok=True)
    (own / _KERNELS).symlink_to(kernels)
    pid = os.fork()
    if not pid:
        _in_fork(trial, test, out)
    status = _wait(pid)
    words = out.read_text(encoding="utf-8") if out.exists() else ""
    shutil.rmtree(own, ignore_errors=True)
    if words == NotInFunctionsError.__name__:
        raise NotInFunctionsError
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        return OUT_OF_TIME
    if words:
        return words
    return NOT_NOTICED if status == 0 else f"noticed: the tests ended with {status}"


def _in_fork(trial: Trial, test: Callable[[Path], None], out: Path) -> NoReturn:
    status = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.environ["TMPDIR"] = tempfile.tempdir = str(out.parent)
        seconds = int(sum(os.times()[:2]) + 10 * trial.seconds + _SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        test(out)
        status = 0
    except NotInFunctionsError:
        out.write_text(NotInFunctionsError.__name__, encoding="utf-8")
    except SyntaxError:
        out.write_text(NO_PROGRAM, encoding="utf-8")
    except BaseException as error:
        out.write_text(f"noticed: {type(error).__name__} outside of the tests", encoding="utf-8")
    finally:
        os._exit(status)


def _wait(pid: int) -> int | None:
    """The status that the process ends with; None where it hung and was killed."""
    used, idle = 0, 0
    pause = 0.002
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(pause)
        pause = min(_ROUND, pause * 1.5)
        now = sum(map(_used, _tree(pid)))
        idle, used = (idle + 1, used) if now == used else (0, now)
        if idle > _IDLE:
            for each in reversed(_tree(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None


def _tree(pid: int) -> list[int]:
    """The process and what it has started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _used(pid: int) -> int:
    """The time of the processor that it has taken, and those that it has waited for, in ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))
