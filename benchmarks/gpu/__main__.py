"""Everything that needs a GPU, within its time: `python -m benchmarks.gpu`, what `make gpu-check` runs.

Each part runs in its own process, so that a hang ends this part alone. The most valuable parts run first. The results
are one JSON file, which grows part by part, with the log beside it, and at the end a page.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from benchmarks import machine
from benchmarks.gpu import results
from benchmarks.gpu.part import Log, Part, run
from benchmarks.gpu.report import lines as report_lines
from benchmarks.gpu.report import page
from xrnn.backends.cupy.choice import DEVICES
from xrnn.backends.cupy.launch import variants

ROOT: Final = Path(__file__).parents[2]
# Warnings are no errors here: a warning of a newer library must not hide the result of a test.
PYTEST: Final = ("-m", "pytest", "-q", "-o", "filterwarnings=default", "-p", "no:cacheprovider")
MINUTES: Final = 9.0
_ENVIRONMENT: Final = {
    "XRNN_REQUIRE_GPU": "1",
    "XRNN_FUSED": "1",
    "CUPY_TF32": "0",  # the products beside the kernels, too, are to be float32
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # the sources stay as they are
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # no others than the tests ask for
}
_UNFINISHED: Final = "begun, and ended with the run"
# The outcome of a part and of the run; the index is the exit status. "incomplete": a tool or the time was missing.
State: TypeAlias = Literal["agrees", "disagrees", "incomplete"]
STATES: Final[tuple[State, ...]] = ("agrees", "disagrees", "incomplete")
# The most variants that each sanitizer runs, within its time. The first ones differ most from each other.
_SANITIZERS: Final = {"memcheck": 1000, "racecheck": 24, "synccheck": 12}


def parts(out: Path, rehearse: bool = False) -> list[Part]:
    """In the order of their value; those that measure add an entry of their name to `out`."""
    own = (sys.executable, "-m")
    file = str(out)
    tiny = ("--rehearse", "--rounds", "1") if rehearse else ()
    timed = (file, "--seconds", "{seconds}")
    variants = (*own, "benchmarks.gpu.variants", *timed, "--few")
    most = 4 if rehearse else 1000
    device_tests = (sys.executable, *PYTEST, "-m", "gpu", "tests/cuda/test_device.py", "-k", "resident or hang")
    suite = (sys.executable, *PYTEST, "tests/ops/test_affine.py" if rehearse else "tests")
    return [
        Part("device", (*own, "benchmarks.gpu.device", file), 5, 60),
        Part("compile", (*variants, str(most), "--compile"), 20, 60),
        # In a rehearsal, the emulator compiles with g++.
        Part("residency", device_tests, 10, 180 if rehearse else 60, ("pytest", "autograd")),
        Part("variants", (*variants, str(most)), 20, 60),
        Part("costs", (*own, "benchmarks.gpu.costs", file, *tiny[:1]), 10, 30),
        Part("forms", (*own, "benchmarks.gpu.forms", *timed, *tiny), 20, 210),
        *(
            Part(tool, (*_sanitizer(tool), *variants, str(min(few, most)), "--sanitized", tool), 60, 150)
            for tool, few in _SANITIZERS.items()
        ),
        Part("tests", suite, 60, 600, ("pytest",)),
    ]


def _sanitizer(tool: str) -> tuple[str, ...]:
    """Of xrnn's kernels only. An error that CUDA returns is an exception in Python already."""
    names = dict.fromkeys(variant.name for variant in variants())
    kernels = tuple(word for name in names for word in ("--kernel-name", f"kns={name}"))
    return ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no", *kernels)


def check(everything: Sequence[Part], only: Sequence[str], seconds: float, out: Path, log: Log, **more: str) -> None:
    """Run one part after the other while time is left. The outcome of each is in the file `out`."""
    end = time.monotonic() + seconds
    stretch = max(1.0, seconds / (60 * MINUTES))
    outcomes: dict[str, Any] = {}

    def note(name: str, outcome: Mapping[str, Any]) -> None:
        outcomes[name] = outcome
        whole = [name for name, outcome in outcomes.items() if outcome["state"] != "incomplete"]
        results.put(out, parts=outcomes, complete=whole == [part.name for part in everything])

    for part in everything:
        if only and part.name not in only:
            continue
        left = end - time.monotonic()
        if left < part.at_least:
            note(part.name, {"outcome": f"left out: {left:.0f} s were left", "state": "incomplete"})
            continue
        note(part.name, {"outcome": _UNFINISHED, "state": "incomplete"})
        note(part.name, outcome := perform(part, min(left, stretch * part.at_most), log, more))
        log.say(f"== {part.name}: {outcome['outcome']}")
        if part.name == "device" and outcome["state"] != "agrees":
            break


def perform(part: Part, seconds: float, log: Log, environment: Mapping[str, str]) -> dict[str, Any]:
    """→ its outcome in words, its state, and the seconds it took."""
    if shutil.which(part.command[0]) is None:
        return _left_out(f"{part.command[0]} is not here; it comes with the CUDA toolkit")
    if missing := [name for name in part.needs if importlib.util.find_spec(name) is None]:
        return _left_out(f"not installed: {', '.join(missing)}")
    command = [word.replace("{seconds}", f"{seconds:.0f}") for word in part.command]
    log.say("", f"== {part.name} ({seconds:.0f} s at most): {' '.join(command)}")
    status, took = run(command, seconds, {**os.environ, **_ENVIRONMENT, **environment}, ROOT, log)
    if status is None:
        words = f"stopped after {took:.0f} s, its limit"
        state = STATES[2]
    else:
        state = STATES[status if 0 <= status < len(STATES) else 1]
        words = {"agrees": "passed", "incomplete": "not all of it: the log says why"}.get(
            state, f"failed with exit status {status}"
        )
    return {"outcome": words, "state": state, "seconds": round(took, 1)}


def _left_out(why: str) -> dict[str, Any]:
    return {"outcome": f"left out: {why}", "state": "incomplete"}


def conclude(out: Path, log: Log) -> int:
    """Print and draw what there is; the last line is the state → the exit status."""
    found = results.read(out)
    if "device" not in found:
        log.say("no GPU was measured: expected one that CuPy can use; see the message above, and `nvidia-smi`")
        log.say("incomplete")
        return STATES.index("incomplete")
    out.with_suffix(".md").write_text(page(found))
    written = (out.with_suffix(".md"), out, out.with_suffix(".log"))
    log.say("", *report_lines(found), *(f"wrote {path}" for path in written))
    by_state = {state: [n for n, part in found["parts"].items() if part["state"] == state] for state in STATES}
    if missing := by_state["incomplete"]:
        log.say(f"incomplete parts: install what is missing, or give more --minutes with --only {','.join(missing)}")
    if failed := by_state["disagrees"]:
        log.say(f"failed: {', '.join(failed)}")
    state: State = "disagrees" if failed else "incomplete" if missing else "agrees"
    log.say(state)
    return STATES.index(state)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="everything that needs a GPU")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="leave out what takes longer (default: %(default)g)"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder (default: %(default)s)")
    names = machine.some_of([part.name for part in parts(Path())])
    parser.add_argument("--only", type=names, default=[], metavar="PART,…", help="these parts, after device, the first")
    parser.add_argument(
        "--rehearse",
        nargs="?",
        const="h100",
        choices=DEVICES,
        help="tiny sizes, without a GPU, on the tests' stand-in for CuPy as this GPU (default: %(const)s)",
    )
    options = parser.parse_args(arguments)
    folder = options.out.resolve()
    try:  # before minutes of work, not after them
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        parser.error(f"--out expected a folder that can be written, got {options.out}: {error.strerror}")

    now = datetime.datetime.now(datetime.UTC)
    out = folder / f"{now:%Y-%m-%d-%H%M%S}-gpu.json"  # a run of a few parts doesn't replace one of all
    log = Log(out.with_suffix(".log"))
    results.put(out, date=now.isoformat(timespec="seconds"), rehearsal=bool(options.rehearse), parts={}, complete=False)
    more = rehearsed(options.rehearse) if options.rehearse else {}
    with tempfile.TemporaryDirectory() as scratch, stoppable():
        more["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        try:
            everything = parts(out, bool(options.rehearse))
            check(everything, ["device", *options.only] if options.only else (), 60 * options.minutes, out, log, **more)
        finally:  # also of a run that is ended from outside
            status = conclude(out, log)
            log.close()
    return status


def rehearsed(device: str) -> dict[str, str]:
    """The environment in which `import cupy` finds the tests' stand-in as this GPU, with few multiprocessors."""
    folders = [str(ROOT / "tests" / "rehearsal"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {"REHEARSED": device, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within the block SIGTERM ends the run as Ctrl-C does: with a report, and no process left behind."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
