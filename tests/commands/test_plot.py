"""The picture of a run: its content, and how a run recognizes it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn.commands.pictures import check_format, is_own_picture, loss_curve
from xrnn.models.errors import OutputError

LEVELS = {"held out": 2.0, "held out, zlib level 9": 2.5}


@pytest.mark.parametrize(
    ("name", "start"),
    [("loss.png", b"\x89PNG"), ("loss.PNG", b"\x89PNG"), ("loss.svg", b"<?xml"), ("loss.pdf", b"%PDF")],
)
@pytest.mark.parametrize("steps", [1, 300])
def test_an_own_picture_is_recognized(tmp_path: Path, name: str, start: bytes, steps: int) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    path = tmp_path / name
    check_format(path)
    content = loss_curve([8.0] * steps, "bits per character", LEVELS).content(path)
    assert content
    assert content.startswith(start)
    assert is_own_picture(content)


@pytest.mark.parametrize(("steps", "window"), [(1, 1), (99, 1), (100, 2), (300, 6)])
def test_the_picture_shows_the_losses_and_their_average(steps: int, window: int) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[plot]'").Figure()
    losses = list(np.random.default_rng(0).uniform(1, 8, steps))
    loss_curve(losses, "bits per character", LEVELS).draw(figure)
    (axes,) = figure.axes
    (each, *means, ours, zlib) = axes.get_lines()
    assert_array_equal(each.get_xydata(), np.transpose([np.arange(1, steps + 1), losses]))
    assert len(means) == (window > 1)
    for mean in means:
        averages = [np.mean(losses[end - window : end]) for end in range(window, steps + 1)]
        assert_allclose(mean.get_xydata(), np.transpose([np.arange(window, steps + 1), averages]))
    assert (ours.get_ydata()[0], zlib.get_ydata()[0]) == (2.0, 2.5)
    assert ours.get_linestyle() != zlib.get_linestyle()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "each step",
        *(f"mean of {window} steps" for _ in means),
        "held out: 2.000",
        "held out, zlib level 9: 2.500",
    ]
    assert (axes.get_xlim(), axes.get_ylim()[0]) == ((1, max(2, steps)), 0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "bits per character")


@pytest.mark.parametrize("name", ["theirs.png", "theirs.svg", "theirs.pdf"])
def test_a_foreign_picture_is_not_recognized(tmp_path: Path, name: str) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[plot]'").Figure()
    figure.add_subplot().set_title("xrnn")
    figure.savefig(tmp_path / name)
    assert not is_own_picture((tmp_path / name).read_bytes())


def test_the_source_code_of_pictures_is_no_picture() -> None:
    assert not is_own_picture(Path(sys.modules["xrnn.commands.pictures"].__file__ or "").read_bytes())


def test_without_matplotlib_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert loss_curve([8.0], "bits per character", LEVELS).content(tmp_path / "loss.png") is None


def test_a_name_that_no_picture_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error:
        check_format(tmp_path / "loss.txt")
    assert str(error.value) == (
        f"--plot is {tmp_path / 'loss.txt'}: expected a name that ends in .png, .svg, .pdf; add one of them"
    )
