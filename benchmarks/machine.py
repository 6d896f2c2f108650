"""What a result must say about where it comes from."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any


def describe(threads: int) -> dict[str, str | int]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


def pin(threads: int) -> None:
    """Keep this process and its children on `threads` of the cores: some libraries count cores and nothing else."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 on")
    return int(text)


def amount(text: str) -> float:
    """The type of an option that measures something, such as minutes."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an option that lists some of these names."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}, with commas between them"
            )
        return chosen

    return names


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every command takes."""
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=positive, default=threads, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder (default: %(default)s)")


def write(results: Mapping[str, Any], path: Path) -> Path:
    """As JSON, renamed when complete: an interrupted run leaves the file before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(aside, path)
    return path


def _cpu() -> str:
    """The model, and the widest vector instructions it has."""
    try:
        lines = dict(
            line.split(":", 1)
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    level = next((name for name in ("avx512f", "avx2") if name in facts.get("flags", "").split()), platform.machine())
    return f"{facts.get('model name', platform.machine())} ({level})"
