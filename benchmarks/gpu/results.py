"""The JSON file of a run. It grows part by part and is whole at any moment, whatever is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.cases import Case
from xrnn.backends.cupy.selftest import is_transient


def read(path: Path) -> dict[str, Any]:
    """What is there so far."""
    if not path.exists():
        return {}
    return json.loads(path.read_text())


def put(path: Path, **entries: Any) -> None:
    """Add or replace entries; a part's process and the run's own write one after the other."""
    machine.write({**read(path), **entries}, path)


def case_by_case(
    path: Path,
    name: str,
    about: dict[str, Any],
    cases: Sequence[Case],
    seconds: float,
    measure: Callable[[Case], list[dict[str, Any]]],
) -> dict[str, Any]:
    """The cells of all cases that fit into `seconds`, as entry `name`, written after each case.

    A case that would probably not end in time is dropped, with those after it, and so is one that has no memory; one
    that fails says why.
    """
    end = time.monotonic() + seconds
    found: dict[str, Any] = {**about, "cells": [], "dropped": [], "failed": {}}
    slowest = 0.0
    for number, case in enumerate(cases, 1):
        start = time.monotonic()
        if start + 1.5 * slowest > end:
            found["dropped"] += [other.name for other in cases[number - 1 :]]
            print(f"no time for {', '.join(found['dropped'])}", flush=True)
            break
        try:
            found["cells"] += (cells := measure(case))
            # Another library's result may be off, or missing; one of ours may not.
            if wrong := [f"{who}: {why}" for c in cells for who, why in c["wrong"].items() if who in c["candidates"]]:
                found["failed"][case.name] = "; ".join(wrong)
        except Exception as error:  # the other cases still have something to say
            why = f"{type(error).__name__}: {error}"
            if is_transient(error):
                found["dropped"].append(case.name)
            else:
                found["failed"][case.name] = why
            print(f"{case.name}: {why}", flush=True)
        slowest = max(slowest, time.monotonic() - start)
        put(path, **{name: found})
        print(f"{number:3}/{len(cases)}  {case.name:24} {time.monotonic() - start:5.1f} s", flush=True)
    put(path, **{name: found})
    return found
