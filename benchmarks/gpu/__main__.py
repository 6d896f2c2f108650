"""Everything that needs a GPU, within its time: `python -m benchmarks.gpu`, what `make gpu-check` runs.

Tests, sanitizers, the costs that the selection rests on, and the benchmark, each in a process of its own, so that one
that hangs takes nothing with it. What came of them is one JSON file and pictures.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.gpu.budget import Budget, Part, run
from benchmarks.gpu.report import draw
from benchmarks.gpu.report import lines as report_lines

# Where tests run on every backend. Those that need a package which isn't here are left out, with a note.
TESTS: Final = ("tests/cuda", "tests/ops", "tests/layers", "tests/test_losses.py", "tests/test_optim.py")
TESTS_AFTER: Final = ("tests/test_gradcheck.py", "tests/test_training_step.py", "tests/test_bad_input.py")
_OPTIONAL: Final = ("hypothesis", "mpmath", "typer", "rich", "safetensors")
_PYTEST: Final = (sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider")
_ENVIRONMENT: Final = {
    "XRNN_REQUIRE_GPU": "1",
    "XRNN_FUSED": "1",
    "CUPY_TF32": "0",  # the products beside the kernels, too, are to be float32
    "PYTHONUNBUFFERED": "1",
}


def parts(folder: Path) -> list[Part]:
    """In their order; those that measure leave NAME.json in `folder`."""
    own = (sys.executable, "-m")
    found = [
        Part("device", (*own, "benchmarks.gpu.device", str(folder / "device.json")), 5, 60),
        Part("residency", (*_PYTEST, "tests/cuda/test_device.py", "-k", "resident or hang"), 10, 60),
        Part("tests", (*_PYTEST, *ignored(), *TESTS, *TESTS_AFTER), 30, 150),
        Part("costs", (*own, "benchmarks.gpu.costs", str(folder / "costs.json")), 10, 40),
        Part("forms", (*own, "benchmarks.gpu.forms", str(folder / "forms.json"), "--seconds", "{seconds}"), 30, 210),
    ]
    sanitizer = shutil.which("compute-sanitizer") or "compute-sanitizer"
    for tool in ("memcheck", "racecheck", "synccheck"):
        command = (sanitizer, "--tool", tool, "--error-exitcode", "9", *own, "benchmarks.gpu.small")
        found.append(Part(tool, command, 15, 60))
    return found


def ignored() -> list[str]:
    """Pytest's options that leave out the test modules which import what is not installed."""
    missing = [name for name in _OPTIONAL if importlib.util.find_spec(name) is None]
    modules = [path for root in (*TESTS, *TESTS_AFTER) for path in sorted([Path(root), *Path(root).rglob("*.py")])]
    return [
        f"--ignore={path}"
        for path in modules
        if path.suffix == ".py" and any(f"\nfrom {name} " in path.read_text() for name in missing)
    ]


def check(seconds: float, folder: Path, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run the parts → what came of each, with what those that measure have written; `complete` if all have run."""
    budget = Budget(seconds)
    results: dict[str, Any] = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "parts": {}}
    everything = parts(folder)
    left = [part for part in everything if not only or part.name in only]
    while left:
        part = left.pop(0)
        results["parts"][part.name] = outcome = perform(part, budget.grant(part, left))
        print(f"== {part.name}: {outcome['outcome']}", flush=True)
        if (path := folder / f"{part.name}.json").exists():
            results[part.name] = json.loads(path.read_text())
        if part.name == "device" and outcome["outcome"] != "passed":
            break
    results["complete"] = [name for name, part in results["parts"].items() if part["ran"]] == [
        part.name for part in everything
    ]
    return results


def perform(part: Part, seconds: float, environment: Mapping[str, str] = _ENVIRONMENT) -> dict[str, Any]:
    """→ its outcome in words, the seconds it took, whether it ran, and whether that is a failure of the run."""
    why = f"dropped: less than {part.at_least:.0f} s were left" if not seconds else ""
    if shutil.which(part.command[0]) is None:
        why = f"not run: {part.command[0]} is not here; it comes with the CUDA toolkit"
    if why:  # what hasn't run has shown nothing
        return {"outcome": why, "ran": False, "failed": part.must_pass}
    command = [word.replace("{seconds}", f"{seconds:.0f}") for word in part.command]
    print(f"\n== {part.name} ({seconds:.0f} s at most): {' '.join(command)}", flush=True)
    status, took = run(command, seconds, {**os.environ, **environment})
    words = "passed" if status == 0 else f"failed with exit status {status}"
    if status is None:
        words = f"stopped after {took:.0f} s, its limit"
    return {"outcome": words, "seconds": round(took, 1), "ran": True, "failed": part.must_pass and status != 0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="everything that needs a GPU")
    parser.add_argument(
        "--minutes", type=float, default=8.5, help="what is left then is dropped (default: %(default)s)"
    )
    parser.add_argument(
        "--used", type=float, default=0, metavar="SECONDS", help="of these minutes, gone already (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PART,…", help="these parts, after the first one, device")
    options = parser.parse_args(arguments)
    names = [part.name for part in parts(Path())]
    only = [name for name in options.only.split(",") if name]
    if unknown := [name for name in only if name not in names]:
        parser.error(f"--only got {', '.join(unknown)}: expected some of {', '.join(names)}")
    try:  # before minutes of work, not after them
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.out).close()
    except OSError as error:
        parser.error(f"--out expected a folder that can be written, got {options.out}: {error.strerror}")

    with tempfile.TemporaryDirectory() as folder:
        results = check(60 * options.minutes - options.used, Path(folder), ["device", *only] if only else ())
    if "device" not in results:
        print("no GPU was measured: expected one that CuPy can use; see the message above, and `nvidia-smi`")
        return 1
    day, time = results["date"][:10], results["date"][11:19].replace(":", "")
    stem = f"{day}-{time}-gpu"  # a run of a few parts doesn't replace one of all
    written = [machine.write(results, options.out / f"{stem}.json"), *draw(results, options.out, stem)]
    print("\n".join(["", *report_lines(results), *(f"wrote {path}" for path in written)]))
    return int(any(part["failed"] for part in results["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
