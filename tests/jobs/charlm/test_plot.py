"""The picture is drawn, or its absence is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from xrnn.jobs.charlm.errors import OutputError
from xrnn.jobs.charlm.plot import check_picture, plot_losses


@pytest.mark.parametrize(("name", "start"), [("loss.png", b"\x89PNG"), ("loss.svg", b"<?xml"), ("loss.pdf", b"%PDF")])
@pytest.mark.parametrize("steps", [1, 300])
def test_a_picture_is_written(tmp_path: Path, name: str, start: bytes, steps: int) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    assert plot_losses(tmp_path / name, [8.0] * steps, 2.0, 2.5)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_without_matplotlib_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plot_losses(tmp_path / "loss.png", [8.0], 2.0, 2.5)
    assert not (tmp_path / "loss.png").exists()


def test_a_name_that_no_picture_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error:
        check_picture(tmp_path / "loss.txt")
    assert str(error.value) == (
        f"--plot is {tmp_path / 'loss.txt'}: expected a name that ends in .png, .svg, .pdf; add one of them"
    )
    with pytest.raises(OutputError, match="expected an existing folder that may be written to"):
        check_picture(tmp_path / "nowhere" / "loss.png")
