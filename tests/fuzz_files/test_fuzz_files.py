"""Random damaged and forged files of each kind give their content, or a refusal of one line.

None takes more memory than its size. A damaged file with a digest gives the original content or a refusal.
`XRNN_FUZZ_FILES=10000 pytest tests/fuzz_files` reads that number of files of each kind; `-k onnx` only ONNX models. A
file that fails is kept, and its name is printed.
"""

from __future__ import annotations

import importlib
import os
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz_files import xrnn_files
from tests.safetensors_bytes import little_memory

FILES = int(os.environ.get("XRNN_FUZZ_FILES", 75))


def read(subject: Any, path: Path) -> Any:
    """The content of a file, or None if it is refused."""
    with warnings.catch_warnings(), little_memory(path, subject.allowance):
        warnings.simplefilter("ignore")  # of NaN
        try:
            return subject.read(path)
        except subject.Refusal as error:
            refusal = str(error)
    assert refusal.isprintable()  # one line, without what a terminal obeys
    return None


def outcomes(subject: Any, folder: Path) -> Counter[str]:
    """Check random files → the count of each outcome."""
    counts: Counter[str] = Counter()
    (folder / "whole").write_bytes(subject.whole(random.Random(0)))
    subject.read(folder / "whole")  # so that imports of the first read are not measured
    for i in range(FILES):
        rng, path = random.Random(f"0 {i}"), folder / str(i)
        way, content, original = subject.draw(rng)
        path.write_bytes(content)
        try:
            loaded = read(subject, path)
            if loaded is not None and original is not None:
                (folder / "original").write_bytes(original)
                (text, arrays), (want_text, want) = loaded, subject.read(folder / "original")
                assert (text, arrays.keys()) == (want_text, want.keys())
                for name, array in want.items():
                    np.testing.assert_array_equal(arrays[name], array, strict=True)
        except BaseException as error:
            error.add_note(f"kept: {path}")
            raise
        counts[f"{way} and {'refused' if loaded is None else 'read'}"] += 1
        path.unlink()
    return counts


@pytest.mark.parametrize("kind", xrnn_files.KINDS)
def test_files_are_read_as_written_or_refused(tmp_path: Path, kind: str) -> None:
    found = outcomes(xrnn_files.KINDS[kind], tmp_path)
    assert found["damaged and refused"] > 0.46 * FILES
    assert found["forged and refused"] > 0.2 * FILES
    assert found["forged and read"] > 0  # harmless changes, such as another weight


@pytest.mark.needs("onnx", "onnx")
def test_foreign_files_are_read_or_refused(tmp_path: Path) -> None:
    found = outcomes(importlib.import_module("tests.fuzz_files.foreign").ONNX, tmp_path)
    assert found["changed and refused"] > 0.5 * FILES
    assert found["changed and read"] > 0
