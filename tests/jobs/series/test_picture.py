"""The picture is drawn, whatever the labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xrnn.files import replace_file
from xrnn.jobs.picture import is_own_picture
from xrnn.jobs.series.evaluate import Confusion
from xrnn.jobs.series.picture import plot_confusion

pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")


@pytest.mark.parametrize(
    "labels", [["a", "猫"], ["$x^{$", "\x1b[2J" + "y" * 100, "\\frac"], [str(i) for i in range(30)]], ids=len
)
def test_a_picture_is_written_and_known_again(tmp_path: Path, labels: list[str]) -> None:
    count = len(labels)
    confusion = Confusion.of(np.arange(count), np.arange(count)[::-1].copy(), count)
    assert plot_confusion(tmp_path / "p.svg", [1.0, 0.5], labels, confusion, replace_file)
    assert is_own_picture(tmp_path / "p.svg")
