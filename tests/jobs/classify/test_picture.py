"""The picture is drawn, whatever the labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xrnn.jobs.classify.evaluate import Confusion
from xrnn.jobs.classify.picture import confusion_picture
from xrnn.jobs.picture import is_own_picture

Figure = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[plot]'").Figure


def shown(labels: list[str], true: list[int], taken: list[int]) -> Any:
    """The axes of the confusion matrix."""
    figure = Figure()
    confusion = Confusion.of(np.array(true), np.array(taken), len(labels))
    confusion_picture([1.0, 0.5], labels, confusion).draw(figure)
    losses, matrix = figure.axes
    assert len(losses.get_lines()) == 1
    return matrix


def test_what_a_picture_shows() -> None:
    axes = shown(["a", "b$" + "x" * 14, "c" * 17], [0, 0, 0, 1, 1], [0, 0, 1, 1, 0])
    np.testing.assert_allclose(
        axes.get_images()[0].get_array(), np.array([[2 / 3, 1 / 3, 0], [0.5, 0.5, 0], [0.0, 0, 0]])
    )
    assert axes.get_images()[0].get_clim() == (0, 1)
    names = ["a", "b\\$" + "x" * 14, "c" * 16 + "…"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {90}
    numbers = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert numbers == {(0, 0): ("2", "white"), (1, 0): ("1", "black"), (0, 1): ("1", "black"), (1, 1): ("1", "black")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("taken for", "label")
    assert axes.get_title() == "accuracy 0.600 (3 of 5)"


@pytest.mark.parametrize("count", [2, 20, 21])
def test_numbers_where_there_is_room(count: int) -> None:
    axes = shown([str(i) for i in range(count)], list(range(count)), list(range(count)))
    assert len(axes.texts) == (count if count <= 20 else 0)
    if count <= 20:
        assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {0}


@pytest.mark.parametrize(
    "labels", [["a", "猫"], ["$x^{$", "\x1b[2J" + "y" * 100, "\\frac"], [str(i) for i in range(30)]], ids=len
)
def test_a_picture_is_written_and_known_again(labels: list[str]) -> None:
    count = len(labels)
    confusion = Confusion.of(np.arange(count), np.arange(count)[::-1].copy(), count)
    content = confusion_picture([1.0, 0.5], labels, confusion).content(Path("p.svg"))
    assert content
    assert is_own_picture(content)
