#!/usr/bin/env python3
"""Change xrnn in one small way after the other, and list the changes that no test notices: `make mutants`.

Arguments name modules, as in `xrnn/gradcheck.py`; without any, all of xrnn/ and the Python of backends/, for hours. A
module's tests are those with its stem, or else those of its folder. cosmic-ray (extra `mutants`) changes the file where
it lies and puts it back, so the checkout must have no changes of its own there.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30.0  # of one run of a module's tests, over which a mutant counts as noticed


def modules() -> list[str]:
    found = [*(ROOT / "xrnn").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    files = {path.relative_to(ROOT).as_posix() for path in found if path.name != "__init__.py"}
    return sorted(file for file in files if not file.startswith("xrnn/backends"))


def tests_of(module: str) -> str:
    path = Path(module)
    folder = Path("tests", *path.parent.parts[path.parts[0] == "xrnn" :])
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    by_stem = folder / f"test_{path.stem}.py"
    return str(by_stem if (ROOT / by_stem).exists() else folder)


def survivors(module: str, folder: Path) -> tuple[int, list[str]]:
    """How many changes there are, and those that its tests did not notice, as diffs."""
    config, session = folder / "config.toml", folder / "session.sqlite"
    session.unlink(missing_ok=True)
    command = shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests_of(module)])
    lines = [
        "[cosmic-ray]",
        f"module-path = {json.dumps(module)}",
        f"timeout = {SECONDS}",
        "excluded-modules = []",
        f"test-command = {json.dumps(command)}",
        "[cosmic-ray.distributor]",
        'name = "local"',
    ]
    config.write_text("\n".join(lines))
    for step in (["baseline", config], ["init", config, session], ["exec", config, session]):
        subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *map(str, step)], cwd=ROOT, check=True)
    dump = [sys.executable, "-m", "cosmic_ray.cli", "dump", str(session)]
    printed = subprocess.run(dump, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    results = [json.loads(line)[1] for line in printed.splitlines()]
    return len(results), [result["diff"] for result in results if result and result["test_outcome"] == "survived"]


def main() -> None:
    chosen = sys.argv[1:] or modules()
    changed = subprocess.run(["git", "diff", "--name-only", "--", *chosen], cwd=ROOT, check=True, capture_output=True)
    if changed.stdout:
        sys.exit(f"changed and not committed: {changed.stdout.decode().split()}: commit it first, or put it aside")
    for module in chosen:
        with tempfile.TemporaryDirectory(prefix="xrnn-mutants-") as folder:
            count, alive = survivors(module, Path(folder))
        print(f"{module}: {count - len(alive)} of {count} changes noticed by {tests_of(module)}", *alive, sep="\n")


if __name__ == "__main__":
    main()
