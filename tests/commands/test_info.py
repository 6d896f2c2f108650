"""`xrnn info`: the configuration, and the forms that operations take here or on an absent GPU."""

from __future__ import annotations

import json
import platform
import re

import pytest

import xrnn
from tests.commands.runs import Capture, Patch, name_of
from tests.parallel.launch import NEEDS_MPI, mpiexec
from xrnn.commands.main import main
from xrnn.info import config

pytestmark = pytest.mark.usefixtures("workdir")
SMALL, ON_H100 = ["--explain", "4", "3", "2", "5"], ["--device", "H100"]


def printed(capsys: Capture, *options: str) -> str:
    assert main(["info", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_configuration(capsys: Capture) -> None:
    assert printed(capsys) == config() + "\n"
    result = json.loads(printed(capsys, "--json"))
    assert (result["version"], result["backend"]) == (xrnn.__version__, "numpy")
    assert result["decided_by"] == "XRNN_BACKEND=numpy"
    assert result["sizes"] == {"T": 50, "N": 16, "D": 64, "H": 256}


def test_the_forms_on_the_selected_backend(capsys: Capture) -> None:
    assert "H=6, heads=3, float32:" in printed(capsys, "--explain", "4", "3", "2", "6", "--heads", "3")
    assert "forms at T=4, N=3, D=2, H=5, float32:" in printed(capsys, *SMALL)
    result = json.loads(printed(capsys, "--json", *SMALL))
    assert result["sizes"] == {"T": 4, "N": 3, "D": 2, "H": 5}
    assert result["forms"]["float64"]["recurrence_forward"].keys() == {"form", "why"}


@pytest.mark.parametrize(
    ("cell", "heads"), [("rnn", ""), ("leak", ""), ("lstm", " heads=4"), ("gru", ""), ("min-gru", "")]
)
def test_the_forms_of_each_cell_on_an_absent_gpu(cell: str, heads: str, capsys: Capture) -> None:
    options = ["--cell", cell, *ON_H100, *(["--heads", heads[-1]] if heads else [])]
    lines = printed(capsys, "--explain", "100", "16", "512", "512", *options).splitlines()
    tail = f"T=100 N=16 D=512 H=512{heads}, on NVIDIA H100; times are predicted, not measured"
    titles = [f"{cell} {way}, {dtype}, {tail}" for dtype in ("float32", "float64") for way in ("forward", "backward")]
    assert [line for line in lines if "predicted" in line] == titles
    chosen = [line.split()[1] for line in lines if line.startswith("→")]
    others = {"min-gru": ["scan"] * 2, "lstm": ["one-block"] * 2, "gru": ["group", "group-partial"]}
    assert chosen[:2] == others.get(cell, ["group"] * 2)
    assert printed(capsys, *SMALL, "--cell", cell)


@pytest.mark.parametrize("size", ["3000000000", str(10**18)])
def test_sizes_beyond_64_bits_when_multiplied(size: str, capsys: Capture) -> None:
    for device in ([], ON_H100):
        assert f"T={size}" in printed(capsys, "--explain", *[size] * 4, *device)


@pytest.mark.parametrize("options", [[], SMALL, [*SMALL, *ON_H100]], ids=name_of)
def test_only_an_absent_gpu_needs_no_backend(options: list[str], capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "abacus")
    status = main(["info", *options])
    out, err = capsys.readouterr()
    needs_it = "--device" not in options
    assert (status, bool(out)) == ((1, False) if needs_it else (0, True))
    assert err.startswith("error: unknown backend 'abacus' (XRNN_BACKEND=abacus)") is needs_it


ALONE = "--device, --cell and --heads expect --explain T N D H, without --json; leave them out"
SIZES = "--explain got {}: expected T N D H, each from 1 to 10^18"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *((options, ALONE) for options in ("--device h100", "--cell lstm", "--heads 2")),
        *((f"--explain 1 1 1 4 --json {options}", ALONE) for options in ("--device h100", "--cell lstm", "--heads 2")),
        ("--explain 1 1 1 1 --device abacus", "--device: unknown device 'abacus': expected one of t4, l4, 4060, 4090,"),
        ("--explain 1 1 1 1 --cell x", "--cell: unknown cell 'x': expected one of rnn, lstm, gru, min-gru, min-lstm"),
        *((f"--explain 1 1 1 5 --heads {heads}", f"--heads is {heads}, with --cell rnn: expected") for heads in (0, 2)),
        ("--explain 1 1 1 4 --heads 2 --cell min-gru", "--heads is 2, with --cell min-gru: expected a divisor of H in"),
        *(
            (f"--explain {sizes}", SIZES.format(sizes))
            for sizes in ("0 1 1 1", "1 -1 1 1", f"1 1 1 {10**18 + 1}", f"1 {2**70} 1 1")
        ),
    ],
)
def test_refusals(options: str, message: str, capsys: Capture) -> None:
    assert main(["info", *options.split()]) != 0
    assert message in capsys.readouterr().err


@NEEDS_MPI
@pytest.mark.proof
def test_several_processes_print_one_table() -> None:
    done = mpiexec(3, "-m", "xrnn", "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("backend: numpy") == 1
    *_, count, first, second, third = done.stdout.splitlines()
    assert count == "ranks: 3"
    for rank, line in enumerate([first, second, third]):
        assert re.fullmatch(rf"  {rank}: {re.escape(platform.node())}, numpy, threads: .*; CPUs: \d+, from .*", line)
