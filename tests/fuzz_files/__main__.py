"""`python -m tests.fuzz_files [--seed 0] [--files 10000]`: reads random files of each kind.

A file must give its content or a refusal of one line, and take no more memory than its size. A damaged file must give
the original content or a refusal. A file that fails this check is kept, and its name is printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import little_memory
from tests.fuzz_files import checkpoints, layers
from tests.fuzz_files.damage import change, damaged
from tests.fuzz_files.models import KINDS

SUBJECTS: dict[str, Any] = {**KINDS, "checkpoints": checkpoints, "layers": layers}
ALLOWANCE = 200_000  # bytes: for headers of any kind, as Python objects


def check(subject: Any, path: Path) -> Any:
    """The content of `path`, or None if it is refused.   Raises AssertionError for a refusal of more than one line."""
    with little_memory(path, ALLOWANCE):
        try:
            return subject.load(path)
        except subject.Refusal as error:
            if not str(error).isprintable():
                raise AssertionError(f"more than one line, or what a terminal obeys: {error!r}") from error
            return None


def run(subject: Any, folder: Path, seed: int, files: int) -> Counter[str]:
    """Check `files` files in `folder` → the count of each outcome. A file that fails the check stays there."""
    outcomes: Counter[str] = Counter()
    # So that imports of the first read are not measured.
    subject.load(subject.whole(random.Random(0)).write(folder / "whole"))
    (folder / "whole").unlink()
    for i in range(files):
        rng, path = random.Random(f"{seed} {i}"), folder / f"{seed}-{i}.safetensors"
        forgery = subject.whole(rng)
        forged = rng.random() < 0.4
        if forged:
            change(forgery, rng)
        content = forgery.to_bytes()
        path.write_bytes(content if forged else damaged(content, rng))
        loaded = check(subject, path)
        if loaded is not None and not forged:
            path.write_bytes(content)
            assert_equal(loaded, subject.load(path))
        outcomes[f"{'forged' if forged else 'damaged'} and {'refused' if loaded is None else 'read'}"] += 1
        path.unlink()
    return outcomes


def assert_equal(got: tuple[str, dict[str, Any]], want: tuple[str, dict[str, Any]]) -> None:
    assert got[0] == want[0]
    assert got[1].keys() == want[1].keys()
    for name, array in want[1].items():
        np.testing.assert_array_equal(got[1][name], array, strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_files", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    for name, subject in SUBJECTS.items():
        folder = Path(tempfile.mkdtemp(prefix=f"xrnn-fuzz-{name}-"))
        try:
            print(f"{name}: {dict(sorted(run(subject, folder, options.seed, options.files).items()))}")
        except BaseException:
            print(f"kept: {folder}", file=sys.stderr)
            raise
        folder.rmdir()


if __name__ == "__main__":
    main()
