"""What all benchmarks share: the description of the machine, common options, and the files of results."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import xrnn
from benchmarks.cases import GATES, Case
from xrnn.backends.numpy import kernels
from xrnn.info import describe as describe_backend
from xrnn.optional import import_optional


def describe(threads: int) -> dict[str, str | int]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "l2_bytes": _l2_bytes(),
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


def pin(threads: int) -> None:
    """Restrict this process and its children to `threads` cores: only this limits the threads of some libraries."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def threadpools() -> Any:
    """The module threadpoolctl. Without it the program ends with one line."""
    try:
        return import_optional("threadpoolctl", "this benchmark", extra="bench")
    except ImportError as error:
        raise SystemExit(str(error)) from error


def positive(text: str) -> int:
    """Option type: a count."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def amount(text: str) -> float:
    """Option type: a quantity, such as minutes."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Option type: a list of names in `known`, separated by commas."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}, with commas between them"
            )
        return chosen

    return names


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that measures libraries."""
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=positive, default=threads, help="per library (default: %(default)s)")
    add_out(parser)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder (default: %(default)s)")


def cases_named(parser: argparse.ArgumentParser, cases: Sequence[Case], parts: str) -> list[Case]:
    """The cases of a cell in `parts` (with commas between them), and those whose name contains another part.

    Ends the program if there are none.
    """
    by_cell = {part: part in GATES for part in parts.split(",")}  # "lstm" is a part of the name of a minLSTM, too
    chosen = [case for case in cases if any(p == case.cell if of else p in case.name for p, of in by_cell.items())]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        parser.error(f"--cases is {parts}: expected parts of names, with commas between them: {names}")
    return chosen


def print_version() -> None:
    """Print which xrnn is measured, and whether it has its compiled kernels. Every command prints this line first."""
    where = f"xrnn {xrnn.__version__} in {Path(xrnn.__file__).parent}"
    if not kernels:
        print(f"{where}: NO compiled kernels, so this measures the slower plain forms. Remedy: pip install -e .")
    elif not xrnn.backend.fused_forms().enabled:
        print(f"{where}: XRNN_FUSED=0")
    else:
        facts = describe_backend(xrnn.get_backend("numpy"))
        print(f"{where}: compiled kernels, {facts['instruction set']}", flush=True)


def write(results: Mapping[str, Any], path: Path) -> Path:
    """Write results as JSON, one line for each measured case.

    The file is replaced only when the new one is complete, so an interrupted run leaves the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    entries = (f"{json.dumps(key)}: {_lines(value)}" for key, value in results.items())
    aside.write_text("{\n" + ",\n".join(entries) + "\n}\n")
    os.replace(aside, path)
    return path


def _lines(value: Any) -> str:
    """JSON of a value. A list of objects, and an object with nested values, get a line for each of their entries."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f" {json.dumps(item)}" for item in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
        entries = ((key, _lines(item) if isinstance(item, list) else json.dumps(item)) for key, item in value.items())
        return "{\n" + ",\n".join(f" {json.dumps(key)}: {text}" for key, text in entries) + "\n}"
    return json.dumps(value)


def read(path: Path) -> dict[str, Any]:
    """The results in a file that `write` wrote."""
    return json.loads(path.read_text())


def _l2_bytes() -> int:
    """The size of a core's second-level cache; 0 if Linux does not tell it."""
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            if (cache / "level").read_text().strip() == "2":
                return int((cache / "size").read_text().strip().removesuffix("K")) * 1024
    return 0


def _cpu() -> str:
    """The CPU's name, its widest vector instructions, and the matrix units (AMX) that it has."""
    try:
        lines = dict(
            line.split(":", 1)
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    flags = facts.get("flags", "").split()
    level = next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())
    units = ", ".join([level, *(name for name in flags if name.startswith("amx_"))])
    return f"{facts.get('model name', platform.machine())} ({units})"
