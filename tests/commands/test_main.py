"""The entry point: how the command starts, in any environment."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import xrnn
from tests.commands.runs import CLASSIFY, REGRESS, Capture, updates_in
from tests.fresh import DEFAULT_SIGNALS, STANDIN_AS_CUPY, XRNN, run_python
from tests.needs_kernels import NEEDS_KERNELS
from xrnn.commands.main import main

COMMAND = [sys.executable, "-c", XRNN]
POSIX = pytest.mark.skipif(os.name != "posix", reason="shells and signals are POSIX's")
pytestmark = pytest.mark.usefixtures("blank_pictures")


def test_it_runs_on_another_backend(folder: Path) -> None:
    command = [sys.executable, "-c", STANDIN_AS_CUPY + XRNN, *CLASSIFY.words("--out", "device", epochs=3)]
    environment = os.environ | {"XRNN_BACKEND": "cupy", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy: " in done.stdout
    assert CLASSIFY("--out", "numpy", epochs=3) == 0
    on_device, on_numpy = (safetensors.numpy.load_file(name) for name in ("device", "numpy"))
    for name, array in on_numpy.items():
        np.testing.assert_allclose(on_device[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


# ---- descriptors, signals, environment ----


@POSIX
@pytest.mark.parametrize("stream", [1, 2])
def test_a_run_needs_no_open_output(folder: Path, stream: int) -> None:
    command = shlex.join([*COMMAND, *REGRESS.words(epochs=2)])
    process = subprocess.run(["sh", "-c", f"{command} {stream}>&-"], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert updates_in("regression.safetensors") == 6


@POSIX
def test_an_error_is_never_printed_to_stdout(workdir: Path) -> None:
    process = subprocess.run(
        ["sh", "-c", f"{shlex.join([*COMMAND, 'predict', 'gone', 'x.csv'])} 2>&-"], capture_output=True
    )
    assert (process.returncode, process.stdout) == (1, b"")


@POSIX
@pytest.mark.parametrize("module", ["numpy", "typer", "xrnn.commands.labelled"])
def test_an_interrupt_of_the_imports_gets_one_line(module: str) -> None:
    code = f"""
import os, sys
{DEFAULT_SIGNALS}
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from xrnn_command import main
sys.exit(main())
"""
    process = run_python(code)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.parametrize(
    ("name", "value"), [("XRNN_FUSED", "2"), pytest.param("XRNN_ISA", "abacus", marks=NEEDS_KERNELS)]
)
def test_an_invalid_environment_variable_gets_one_line(name: str, value: str) -> None:
    environment = {**os.environ, "XRNN_BACKEND": "numpy", name: value}
    done = subprocess.run([*COMMAND, "info"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: {name}\b.*\b{value}\b.*: expected .*\n", done.stderr), done.stderr


def test_the_installed_command_and_the_package_run_main() -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts["xrnn"].split(":")
    code = f"import sys; from {module} import {name}; sys.argv[1:] = ['--version']; sys.exit({name}())"
    assert run_python(code).stdout == f"xrnn {xrnn.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "xrnn", "fly"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'fly'" in done.stderr


def test_the_package_does_not_import_the_command_line_nor_commands_large_libraries() -> None:
    code = """
import sys, xrnn
print({"typer", "rich", "safetensors", "matplotlib", "cupy"} & {*sys.modules})
import xrnn.commands.main
print({"sklearn", "scipy", "matplotlib", "onnx", "torch", "keras"} & {*sys.modules})
"""
    assert run_python(code).stdout.split() == ["set()"] * 2


# ---- arguments ----


def test_without_a_command_the_help_is_printed(capsys: Capture) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert all(f"\n  {name} " in out for name in ("classify", "regress", "forecast", "predict", "convert", "info"))
