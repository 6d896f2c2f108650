"""`xrnn info`: the configuration, and the forms of operations. test_convert.py describes files."""

from __future__ import annotations

import pytest

from tests.commands.runs import Capture, Patch, failed
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
    assert "forms at T=4, N=3, D=2, H=5, float32:" in printed(capsys, "--explain", "4", "3", "2", "5")
    assert "H=6, heads=3, float64:" in printed(
        capsys, "--explain", "4", "3", "2", "6", "--heads", "3", "--cell", "LSTM"
    )
    largest = str(10**18)  # whose product has more than 64 bits
    assert f"T={largest}" in printed(capsys, "--explain", *[largest] * 4)


def test_refusals(capsys: Capture, monkeypatch: Patch) -> None:
    alone = "--cell and --heads expect --explain T N D H; leave them out"
    sizes = "--explain got {}: expected T N D H, each from 1 to 10^18"
    for options, words in (
        ("--cell lstm", alone),
        ("--heads 2", alone),
        ("--explain 1 1 1 1 --cell x", "--cell: unknown cell 'x': expected one of rnn, lstm, gru, min-gru, min-lstm"),
        ("--explain 1 1 1 5 --heads 2", "--heads is 2, with --cell rnn: expected a divisor of H in --explain T N D H"),
        ("--explain 1 1 1 5 --heads 0", "--heads is 0, with --cell rnn: expected"),
        ("--explain 1 1 1 4 --heads 2 --cell min-gru", "--heads is 2, with --cell min-gru: expected"),
        *((f"--explain {each}", sizes.format(each)) for each in ("0 1 1 1", "1 -1 1 1", f"1 {2**70} 1 1")),
    ):
        assert words in failed(capsys, "info", *options.split())
