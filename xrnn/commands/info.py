"""`xrnn info`: the selected backend and the forms of its operations, or what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from xrnn.arrays.select import use_backend
from xrnn.commands.convert import converting, read_file
from xrnn.commands.options import BackendOption, argument, selected
from xrnn.exchange.checkpoint import Checkpoint
from xrnn.exchange.model import named_leaves
from xrnn.files import printable
from xrnn.info import config, explain_sizes, explained
from xrnn.series.errors import SettingsError
from xrnn.series.estimator import Estimator, learnt_in

_MAX_SIZE: Final = 10**18  # the sum of two sizes then fits 64 bits


def info(
    file: Annotated[Path | None, argument("FILE", "A .onnx or .safetensors file to describe.")] = None,
    *,
    explain: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="T N D H", help="Print the forms that compete at these sizes, and the chosen one."),
    ] = None,
    cell: Annotated[
        str,
        typer.Option(metavar="NAME", parser=str.lower, help=f"With --explain: the cell ({', '.join(explained())})."),
    ] = "rnn",
    backend: BackendOption = None,
) -> None:
    """Print the selected backend, why it was selected, and the form (implementation) of each operation.

    With FILE, print what the file holds.
    """
    if explain is None and cell != "rnn":
        raise SettingsError("got --cell without --explain; add --explain T N D H")
    if file is not None:
        if explain is not None:
            raise SettingsError("got both FILE and --explain; leave one out")
        print(_description(file))
        return
    if explain is None:
        print(config(selected(backend)))
        return
    if cell not in explained():
        raise SettingsError(f"--cell: unknown cell {cell!r}: expected one of {', '.join(explained())}")
    if not 1 <= min(explain) <= max(explain) <= _MAX_SIZE:
        raise SettingsError(f"--explain got {' '.join(map(str, explain))}: expected T N D H, each from 1 to 10^18")
    print(explain_sizes(*explain, selected(backend).backend, cell))


def _description(source: Path) -> str:
    """Lines: what a file holds, what an estimator has learnt, and the layers."""
    with converting(), use_backend("numpy"):
        read = read_file(source)
    about: dict[str, Any] = {"file": source, "kind": type(read).__name__}
    layers = read
    if isinstance(read, Estimator):
        about["kind"] = read
        layers = vars(read).get("layers_", {})
        learnt = {name.rstrip("_"): value for name, value in learnt_in(vars(read)).items() if name != "layers_"}
        about |= {name: value for name, value in learnt.items() if name == "classes" or not hasattr(value, "dtype")}
    elif isinstance(read, Checkpoint):
        about |= {"names": [*read.layers], "extra": [*read.extra]}
    leaves = [layer for _, layer in named_leaves(layers)]
    about |= {"layers": leaves, "weights": f"{sum(param.size for each in leaves for param in each.params):,}"}
    lines = [f"{name}: {value.tolist() if isinstance(value, np.ndarray) else value}" for name, value in about.items()]
    return printable("\n".join(lines), keep="\n")
