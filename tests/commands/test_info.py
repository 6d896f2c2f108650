"""`xrnn info`: the configuration, and the forms of operations. test_convert.py describes files."""

from __future__ import annotations

import pytest

from tests.commands.runs import Capture, failed
from xrnn.commands.main import main
from xrnn.info import config

pytestmark = pytest.mark.usefixtures("workdir")


def printed(capsys: Capture, *options: str) -> str:
    assert main(["info", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_configuration(capsys: Capture) -> None:
    assert printed(capsys) == config() + "\n"


def test_the_forms_on_the_selected_backend(capsys: Capture) -> None:
    assert "forms at T=4, N=3, D=2, H=5, float64:" in printed(capsys, "--explain", "4", "3", "2", "5", "--cell", "LSTM")
    largest = str(10**18)  # whose product has more than 64 bits
    assert f"T={largest}" in printed(capsys, "--explain", *[largest] * 4)


def test_refusals(capsys: Capture) -> None:
    words = "--cell: unknown cell 'x': expected one of rnn, lstm, gru, min-gru, min-lstm"
    assert words in failed(capsys, "info", "--explain", "1", "1", "1", "1", "--cell", "x")
    for given in ("--cell lstm", "model.onnx --cell lstm"):
        assert "got --cell without --explain; add --explain T N D H" in failed(capsys, "info", *given.split())
    for sizes in ("0 1 1 1", "1 -1 1 1", f"1 {2**70} 1 1"):
        words = f"--explain got {sizes}: expected T N D H, each from 1 to 10^18"
        assert words in failed(capsys, "info", "--explain", *sizes.split())
