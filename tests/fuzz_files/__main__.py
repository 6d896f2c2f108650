"""`python -m tests.fuzz_files [--seed 0] [--files 10000] [KIND …]`: reads random files of each kind; `onnx` and
`pt` only if they are named.

A file must give its content or a refusal of one line, and take no more memory than its size. A damaged file with a
digest must give the original content or a refusal. A file that fails this check is kept, and its name is printed.
"""

from __future__ import annotations

import argparse
import importlib
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
FOREIGN = ("onnx", "pt")  # need onnx and torch
ALLOWANCE = 200_000  # bytes: for headers of any kind, as Python objects


def subject_of(kind: str) -> Any:
    if kind not in FOREIGN:
        return SUBJECTS[kind]
    return importlib.import_module("tests.fuzz_files.foreign").KINDS[kind]


def draw(subject: Any, rng: random.Random) -> tuple[str, bytes, bytes | None]:
    """The way in which a file is wrong, its bytes, and the content that a reader may find; None for any."""
    if hasattr(subject, "draw"):
        return subject.draw(rng)  # type: ignore[no-any-return]
    forgery = subject.whole(rng)
    if rng.random() < 0.4:
        change(forgery, rng)
        return "forged", forgery.to_bytes(), None
    content = forgery.to_bytes()
    return "damaged", damaged(content, rng), content


def check(subject: Any, path: Path) -> Any:
    """The content of `path`, or None if it is refused.   Raises AssertionError for a refusal of more than one line."""
    with little_memory(path, getattr(subject, "allowance", ALLOWANCE)):
        try:
            return subject.load(path)
        except subject.Refusal as error:
            if not str(error).isprintable():
                raise AssertionError(f"more than one line, or what a terminal obeys: {error!r}") from error
            return None


def run(kind: str, folder: Path, seed: int, files: int) -> Counter[str]:
    """Check `files` files in `folder` → the count of each outcome. A file that fails the check stays there."""
    outcomes: Counter[str] = Counter()
    subject = subject_of(kind)
    whole = subject.whole(random.Random(0))
    (folder / "whole").write_bytes(whole if isinstance(whole, bytes) else whole.to_bytes())
    subject.load(folder / "whole")  # so that imports of the first read are not measured
    (folder / "whole").unlink()
    for i in range(files):
        rng, path = random.Random(f"{seed} {i}"), folder / f"{seed}-{i}.{kind}"
        way, content, original = draw(subject, rng)
        path.write_bytes(content)
        loaded = check(subject, path)
        if loaded is not None and original is not None:
            path.write_bytes(original)
            assert_equal(loaded, subject.load(path))
        outcomes[f"{way} and {'refused' if loaded is None else 'read'}"] += 1
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
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=list(SUBJECTS))
    options = parser.parse_args()
    for kind in options.kinds:
        folder = Path(tempfile.mkdtemp(prefix=f"xrnn-fuzz-{kind}-"))
        try:
            print(f"{kind}: {dict(sorted(run(kind, folder, options.seed, options.files).items()))}")
        except BaseException:
            print(f"kept: {folder}", file=sys.stderr)
            raise
        folder.rmdir()


if __name__ == "__main__":
    main()
