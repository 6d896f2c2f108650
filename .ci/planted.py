#!/usr/bin/env python3
"""Plants each defect of planted.toml in a copy of this checkout, and prints the first test that finds it.

It needs the packages of `make test`, and takes five minutes on two cores. The first run takes four minutes more: the
copy and its compiled kernels stay in build/planted. The exit status is 1 if a defect is not found or cannot be planted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
COPY, BUILD = (CHECKOUT / "build/planted" / name for name in ("xrnn", "kernels"))
ENDLESS: Final = 900  # seconds: all tests of the table take one minute


def run(*command: str | Path) -> None:
    if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def copy_checkout() -> None:
    """Copy the tracked files, with their times of change: only changed ones are compiled again. Compile all kernels."""
    shutil.rmtree(COPY, ignore_errors=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in files.split("\0"):
        if name and os.path.lexists(CHECKOUT / name):
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, COPY / name, follow_symlinks=False)
    # Python looks for an editable installation, which is the checkout, before it reads PYTHONPATH.
    (COPY / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'ScikitBuildRedirectingFinder']\n"
    )
    for sound in BUILD.rglob("*.sound"):  # of a run that was interrupted
        sound.replace(sound.with_suffix(""))
    options = {
        "XRNN_FOR_TESTS": "ON",
        "Python_EXECUTABLE": sys.executable,
        "CMAKE_PREFIX_PATH": sysconfig.get_path("purelib"),  # of nanobind
        "CMAKE_LIBRARY_OUTPUT_DIRECTORY": COPY / "backends/numpy",
    }
    run("cmake", "-G", "Ninja", "-S", COPY, "-B", BUILD, *(f"-D{name}={value}" for name, value in options.items()))
    run("cmake", "--build", BUILD)


@contextmanager
def planted(path: Path, text: str, replacement: str, compiles: str) -> Iterator[None]:
    """`compiles`: a part of the object's path. The file keeps its time of change: no other object is compiled."""
    code, times = path.read_text(encoding="utf-8"), path.stat()
    outputs = [file for file in BUILD.rglob("*.o") if compiles and compiles in str(file.relative_to(BUILD))]
    outputs += [*COPY.glob("backends/numpy/_kernels*.so")] if outputs else []

    def write(code: str) -> None:
        path.write_text(code, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    for file in outputs:
        file.rename(f"{file}.sound")
    write(code.replace(text, replacement))
    try:
        run("cmake", "--build", BUILD)
        yield
    finally:
        for file in outputs:
            Path(f"{file}.sound").replace(file)
        write(code)


def failing_test(tests: set[str]) -> str | None:
    """The first test that fails. The kernels run at the level baseline, which every CPU has and which compiles fast."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *sorted(tests)]
    environment = {**os.environ, "PYTHONPATH": str(COPY), "XRNN_ISA": "baseline"}
    try:
        done = subprocess.run(
            command, cwd=COPY, env=environment, capture_output=True, text=True, timeout=ENDLESS, check=False
        )
    except subprocess.TimeoutExpired:
        return "a test that does not end"
    if done.returncode <= 0:
        return f"a crash (signal {-done.returncode})" if done.returncode else None
    found = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode > 1 or not found:
        raise SystemExit(f"pytest ended with {done.returncode}\n{done.stdout[-5000:]}{done.stderr[-5000:]}")
    return found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="numbers of rows, such as 3,7; default: all")
    chosen = parser.parse_args().rows
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # cmake and ninja
    table = tomllib.loads((CHECKOUT / ".ci/planted.toml").read_text(encoding="utf-8"))
    every = enumerate(((compiles, *row) for compiles, rows in table.items() for row in rows), 1)
    rows = {number: row for number, row in every if not chosen or str(number) in chosen.split(",")}
    if not rows:
        parser.error(f"the table has no row {chosen}")
    began, missed = time.monotonic(), 0
    copy_checkout()
    if failing := failing_test({test for *_, tests in rows.values() for test in tests.split()}):
        raise SystemExit(f"{failing} fails without a defect")
    print(f"the tests pass without a defect: {time.monotonic() - began:.0f} s", flush=True)
    for number, (compiles, defect, file, text, replacement, tests) in rows.items():
        start, test = time.monotonic(), None
        if (count := (COPY / file).read_text(encoding="utf-8").count(text)) == 1:
            with planted(COPY / file, text, replacement, compiles):
                test = failing_test(set(tests.split()))
        missed += test is None
        outcome = f"found by {test}" if test else "NOT FOUND" if count == 1 else f"its text occurs {count} times"
        print(f"{number:2} {defect}: {outcome} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(rows) - missed} of {len(rows)} found: {time.monotonic() - began:.0f} s")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
