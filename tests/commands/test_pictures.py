"""The pictures of classify and regress: their content, for any labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn.commands.classify import draw_confusion
from xrnn.commands.output import Draw, drawn
from xrnn.commands.regress import draw_regression

matplotlib = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'")


def axes_of(draw: Draw) -> list[Any]:
    draw(figure := matplotlib.Figure())
    axes: list[Any] = figure.axes
    return axes


def confusion(labels: list[str], true: list[int], predicted: list[int]) -> Draw:
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (true, predicted), 1)
    return partial(draw_confusion, labels=labels, counts=counts)


def test_the_confusion_matrix_has_names_counts_and_a_colour_bar() -> None:
    axes, bar = axes_of(confusion(["a", "b$" + "x" * 14, "c" * 17], [0, 0, 0, 1, 1], [0, 0, 1, 1, 0]))
    assert_allclose(axes.get_images()[0].get_array(), np.array([[2 / 3, 1 / 3, 0], [0.5, 0.5, 0], [0.0, 0, 0]]))
    assert axes.get_images()[0].get_clim() == (0, 1)
    names = ["a", "b\\$" + "x" * 13, "c" * 16]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    numbers = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts if text.get_text()}
    assert numbers == {(0, 0): ("2", "white"), (1, 0): ("1", "black"), (0, 1): ("1", "black"), (1, 1): ("1", "black")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert (axes.get_title(), bar.get_ylabel()) == ("accuracy 0.600 (3 of 5)", "share of the row")


@pytest.mark.parametrize(("count", "shown"), [(30, 30), (31, 0)])
def test_names_and_counts_of_up_to_30_labels(count: int, shown: int) -> None:
    labels = [f"l{i}" for i in range(count)]
    axes, _ = axes_of(confusion(labels, list(range(count)), list(range(count))))
    assert sum(bool(text.get_text()) for text in axes.texts) == shown
    assert sum(tick.get_text() in labels for tick in axes.get_yticklabels()) == shown


def test_it_is_drawn_for_any_labels() -> None:
    for labels in (["a", "猫"], ["$x^{$", "\x1b[2J" + "y" * 100, "\\frac"]):
        content = drawn(confusion(labels, [*range(len(labels))], [*range(len(labels))][::-1]))
        assert content is not None
        assert content.startswith(b"\x89PNG")


def test_predicted_numbers_are_drawn_against_the_true_ones() -> None:
    numbers = {"targets": np.array([1.0, 2, 4]), "predicted": np.array([1.5, 2, 3])}
    (axes,) = axes_of(partial(draw_regression, **numbers))
    assert_array_equal(axes.collections[0].get_offsets(), [[1, 1.5], [2, 2], [4, 3]])
    assert_array_equal(axes.get_lines()[0].get_xydata(), [[1, 1], [4, 4]])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("true", "predicted", "mean absolute error 0.5")
