"""The pictures of a run: their content, for any labels, and their format."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn.commands.pictures import Picture, _draw_losses, confusion_picture


def new_figure() -> Any:
    return pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'").Figure()


def of_losses(losses: list[float]) -> Picture:
    return Picture((7, 4.2), lambda figure: _draw_losses(figure.add_subplot(), losses, "nats"))


@pytest.mark.parametrize(
    ("name", "start"),
    [("loss.png", b"\x89PNG"), ("loss.PNG", b"\x89PNG"), ("loss.svg", b"<?xml"), ("loss.pdf", b"%PDF")],
)
def test_the_format_is_that_of_the_name(tmp_path: Path, name: str, start: bytes) -> None:
    new_figure()
    path = tmp_path / name
    content = of_losses([8.0] * 300).content(path)
    assert content
    assert content.startswith(start)


@pytest.mark.parametrize(("steps", "window"), [(1, 1), (99, 1), (100, 2), (300, 6)])
def test_the_picture_shows_the_losses_and_their_average(steps: int, window: int) -> None:
    figure = new_figure()
    losses = list(np.random.default_rng(0).uniform(1, 8, steps))
    of_losses(losses).draw(figure)
    (axes,) = figure.axes
    (each, *means) = axes.get_lines()
    assert_array_equal(each.get_xydata(), np.transpose([np.arange(1, steps + 1), losses]))
    assert len(means) == (window > 1)
    for mean in means:
        averages = [np.mean(losses[end - window : end]) for end in range(window, steps + 1)]
        assert_allclose(mean.get_xydata(), np.transpose([np.arange(window, steps + 1), averages]))
    labels = ["each update", *(f"mean of {window} updates" for _ in means)]
    assert [line.get_label() for line in axes.get_lines()] == labels
    assert (axes.get_xlim(), axes.get_ylim()[0]) == ((1, max(2, steps)), 0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update (each uses one batch)", "nats")


# ---- classify ----


def picture(labels: list[str], true: list[int], predicted: list[int], validation: list[float] | None = None) -> Picture:
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (true, predicted), 1)
    estimator = SimpleNamespace(losses_=[1.0, 0.5, 0.4, 0.3], validation_losses_=validation or [])
    return confusion_picture(estimator, labels, counts)


def shown(*arguments: Any) -> dict[str, Any]:
    """The axes by name: losses, matrix, pairs and <colorbar>."""
    figure = new_figure()
    picture(*arguments).draw(figure)
    return {each.get_label(): each for each in figure.axes}


def test_the_confusion_matrix_has_names_counts_and_a_colour_bar() -> None:
    shown_axes = shown(["a", "b$" + "x" * 14, "c" * 17], [0, 0, 0, 1, 1], [0, 0, 1, 1, 0])
    axes = shown_axes["matrix"]
    assert [line.get_label() for line in shown_axes["losses"].get_lines()] == [
        "each update",
        "1.10: all labels equally likely",
    ]
    assert_allclose(axes.get_images()[0].get_array(), np.array([[2 / 3, 1 / 3, 0], [0.5, 0.5, 0], [0.0, 0, 0]]))
    assert axes.get_images()[0].get_clim() == (0, 1)
    names = ["a", "b\\$" + "x" * 14, "c" * 16 + "…"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {90}
    numbers = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert numbers == {(0, 0): ("2", "white"), (1, 0): ("1", "black"), (0, 1): ("1", "black"), (1, 1): ("1", "black")}
    pairs, recalls = shown_axes["pairs"].texts
    assert pairs.get_text() == f"most confused:\n1 × a predicted as {names[1]}\n1 × {names[1]} predicted as a"
    assert recalls.get_text() == f"lowest recall:\n0.50 of {names[1]} (1 of 2)\n0.67 of a (2 of 3)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "accuracy 0.600 (3 of 5)"
    assert shown_axes["<colorbar>"].get_ylabel() == "share of the row"


def test_early_stopping_adds_the_validation_loss() -> None:
    losses = shown(["a", "b"], [0, 1], [0, 1], [0.7, 0.6])["losses"]
    _, validation, best, _ = losses.get_lines()
    assert_array_equal(validation.get_xydata(), [[2, 0.7], [4, 0.6]])
    assert list(best.get_xdata()) == [4, 4]
    assert [text.get_text() for text in losses.get_legend().get_texts()][:3] == [
        "each update",
        "validation",
        "best epoch: 2",
    ]


@pytest.mark.parametrize(("count", "counts", "names"), [(2, 2, 2), (30, 30, 30), (31, 0, 31), (60, 0, 60), (61, 0, 0)])
def test_counts_up_to_30_labels_and_names_up_to_60(count: int, counts: int, names: int) -> None:
    labels = [f"l{i}" if count > 2 else str(i) for i in range(count)]
    axes = shown(labels, list(range(count)), list(range(count)))["matrix"]
    assert len(axes.texts) == counts
    assert sum(tick.get_text() in labels for tick in axes.get_yticklabels()) == names


def test_it_names_the_five_most_confused_pairs() -> None:
    true = [label for label in range(6) for _ in range(label)]
    pairs, _ = shown([*"abcdefg"], true, [6] * len(true))["pairs"].texts
    assert pairs.get_text().splitlines() == [
        "most confused:",
        *(f"{count} × {'abcdef'[count]} predicted as g" for count in (5, 4, 3, 2, 1)),
    ]


@pytest.mark.parametrize(
    "labels", [["a", "猫"], ["$x^{$", "\x1b[2J" + "y" * 100, "\\frac"], [str(i) for i in range(30)]], ids=len
)
def test_it_is_drawn_for_any_labels(labels: list[str]) -> None:
    new_figure()
    count = len(labels)
    content = picture(labels, [*range(count)], [*range(count)][::-1]).content(Path("p.svg"))
    assert content is not None
    assert content.startswith(b"<?xml")
