"""`xrnn info`: the selected backend and the forms of its operations, or what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from xrnn.backend import Backend
from xrnn.commands.convert import WANTED, read_layers
from xrnn.commands.options import BackendOption, path, selected
from xrnn.exchange.model import named_leaves
from xrnn.files import holds_arrays, printable
from xrnn.info import config, explain_sizes, explained
from xrnn.series import Forecaster
from xrnn.series.errors import SettingsError
from xrnn.series.files import kind_in

_MAX_SIZE: Final = 10**18  # the sum of two sizes then fits 64 bits


def info(
    file: Annotated[
        Path | None,
        typer.Argument(parser=path, metavar="FILE", help="A .onnx or .safetensors file to describe."),
    ] = None,
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
    """Print which backend is selected and why, and the form that each operation takes.

    With FILE, print what it holds.
    """
    if explain is None and cell != "rnn":
        raise SettingsError("got --cell without --explain: expected both; add --explain T N D H")
    if file is not None:
        if explain is not None:
            raise SettingsError("got both FILE and --explain: expected one of them; leave one out")
        for name, value in _description(file, selected("numpy").backend).items():
            shown = f"{value:,}" if isinstance(value, int) else value
            print(f"{name}: {printable(', '.join(map(str, value)) if isinstance(value, list) else str(shown))}")
        return
    if explain is None:
        print(config(selected(backend)))
        return
    if cell not in explained():
        raise SettingsError(f"--cell: unknown cell {cell!r}: expected one of {', '.join(explained())}")
    if not 1 <= min(explain) <= max(explain) <= _MAX_SIZE:
        raise SettingsError(f"--explain got {' '.join(map(str, explain))}: expected T N D H, each from 1 to 10^18")
    print(explain_sizes(*explain, selected(backend).backend, cell))


def _description(source: Path, backend: Backend) -> dict[str, Any]:
    """What a file holds: its kind, its layers, and for a command's checkpoint, what the command stored."""
    if holds_arrays(source) and kind_in(source, WANTED) == Forecaster.job:
        return _of_forecaster(source)
    read, facts = read_layers(source, backend)
    layers = [layer for _, layer in named_leaves(read)]
    return {
        "file": printable(str(source)),
        **facts,
        "layers": [printable(repr(layer)) for layer in layers],
        "parameters": sum(param.size for layer in layers for param in layer.named_params.values()),
    }


def _of_forecaster(source: Path) -> dict[str, Any]:
    forecaster = Forecaster.load(source)
    facts, smoothing = forecaster.facts_, forecaster.smoothing_
    return {
        "file": printable(str(source)),
        "kind": f"checkpoint of `{Forecaster.writer}`",
        **{name: getattr(facts, name) for name in ("context", "horizon", "season", "known")},
        "calendar": facts.calendar or "none",
        "logarithms": "yes" if facts.log else "no",
        "exponential smoothing": f"{smoothing:.0%}",
        "linear part": f"{1 - smoothing:.0%}",
        "recurrent part": "yes" if forecaster.recurrent_.any() else "no",
    }
