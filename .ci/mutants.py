#!/usr/bin/env python3
"""Change xrnn in one small way after the other, and list the changes that no test notices: `make mutants`.

Arguments name modules, as in `xrnn/gradcheck.py`; without any, all of xrnn/ and the Python of backends/. The changes
are cosmic-ray's, one for each token, drawn by `--seed`. First one run of all tests measures which of them reach which
line; then each change is tried on those that reach it, in a fork of a process that holds all of them: docs/mutants.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutation.changes import Change, changes_of
from mutation.choice import Reach
from mutation.trial import NO_PROGRAM, NOT_NOTICED, NOT_REACHED, run

ROOT = Path(__file__).resolve().parents[1]
_NOT_BY_QUICK = "not noticed by quick tests"  # so far: more are to be run
INSIDE = Path(__file__).with_name("mutation") / "inside"  # for the processes that tests start


def modules() -> list[str]:
    found = [*(ROOT / "xrnn").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    files = {path.relative_to(ROOT).as_posix() for path in found}
    return sorted(file for file in files if not file.startswith("xrnn/backends"))  # the link


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("modules", nargs="*", help="as in xrnn/gradcheck.py; all where none is named")
    options.add_argument("--seed", type=int, default=0, help="which changes are drawn")
    options.add_argument("--every", type=int, default=1, help="try one change of so many")
    options.add_argument("--seconds", type=float, nargs=2, default=(4.0, 30.0), help="of quick tests, and of more")
    options.add_argument("--out", type=Path, help="where verdicts are kept, for a run that goes on where one ended")
    chosen = options.parse_args()
    if unknown := set(chosen.modules) - set(modules()):
        options.error(
            f"no module {', '.join(sorted(unknown))}: expected paths of Python files, as in xrnn/gradcheck.py"
        )
    if chosen.every < 1:
        options.error(f"--every is {chosen.every}: expected a whole number of at least 1")
    out = chosen.out or Path(sys.prefix, "mutants", _fingerprint())
    out.mkdir(parents=True, exist_ok=True)

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    path = [str(INSIDE), str(INSIDE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    measured = out / "reach.json"
    if not measured.exists():
        subprocess.run([sys.executable, "-m", "mutation.reach", str(measured)], cwd=ROOT, check=True)
    reach = Reach.read(measured)

    verdicts = out / "verdicts.jsonl"  # also those of a run that was interrupted
    changes = [change for module in chosen.modules or modules() for change in changes_of(ROOT, module, chosen.seed)]
    changes = changes[:: chosen.every]

    def report(change: Change, verdict: str) -> None:
        with verdicts.open("a", encoding="utf-8") as file:
            file.write(json.dumps([change.key, verdict]) + "\n")

    def report_quick(change: Change, verdict: str) -> None:
        goes_on = verdict == NOT_NOTICED and trials[change.key][1].tests
        report(change, _NOT_BY_QUICK if goes_on else verdict)

    known = _read(verdicts)
    open_ones = [change for change in changes if known.get(change.key, _NOT_BY_QUICK) == _NOT_BY_QUICK]
    trials = {change.key: reach.trials(ROOT, change, chosen.seconds) for change in open_ones}
    run(ROOT, [trials[change.key][0] for change in open_ones if change.key not in known], report_quick)
    known = _read(verdicts)
    run(ROOT, [trials[change.key][1] for change in open_ones if known[change.key] == _NOT_BY_QUICK], report)
    _print(changes, _read(verdicts))


def _fingerprint() -> str:
    """Of the code and its tests: what was found out about others is of no use."""
    files = [path for name in ("xrnn", "backends", "tests") for path in sorted((ROOT / name).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _read(verdicts: Path) -> dict[str, str]:
    if not verdicts.exists():
        return {}
    return dict(json.loads(line) for line in verdicts.read_text(encoding="utf-8").splitlines())


def _print(changes: list[Change], verdicts: dict[str, str]) -> None:
    changes = [change for change in changes if verdicts[change.key] != NO_PROGRAM]
    total = Counter(change.module for change in changes)
    alive = [change for change in changes if verdicts[change.key] in (NOT_NOTICED, NOT_REACHED)]
    left = Counter(change.module for change in alive)
    for change in alive:
        before = (ROOT / change.module).read_text(encoding="utf-8")
        lines, after = before.splitlines(), change.applied(before).splitlines()
        at = change.line - 1
        print(f"{change.key}: {verdicts[change.key]}\n  - {lines[at].strip()}\n  + {after[at].strip()}")
    for module, count in total.items():
        print(f"{module}: {count - left[module]} of {count} changes noticed")
    print(f"all: {len(changes) - len(alive)} of {len(changes)} changes noticed")


if __name__ == "__main__":
    main()
