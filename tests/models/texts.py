"""Small texts and sizes, for short runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xrnn.models.corpus import Corpus, load_corpus
from xrnn.models.text import TextSettings

TINY = TextSettings(hidden=12, layers=2, seq_len=7, batch=3, lr=0.01)
TINY_OPTIONS = ["--hidden", "12", "--layers", "2", "--seq-len", "7", "--batch", "3", "--lr", "0.01"]


def write_text(path: Path, size: int = 4000, seed: int = 0) -> Path:
    """A file of words, `size` bytes long."""
    words = np.random.default_rng(seed).choice(["def", "return", "if", "x", "=", "(y)", "\n"], size)
    path.write_bytes(" ".join(words).encode()[:size])
    return path


def small_corpus(folder: Path) -> Corpus:
    return load_corpus([write_text(folder / "text.txt")])
