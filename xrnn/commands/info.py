"""`xrnn info`: the selected backend and the forms of its operations, or what a file holds."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

import xrnn
from xrnn.backend import Backend
from xrnn.commands.convert import WANTED, StateDictOptions, read_layers
from xrnn.commands.options import BackendOption, path, selected, with_options
from xrnn.exchange.model import named_leaves
from xrnn.files import holds_arrays, printable
from xrnn.info import config, config_data, describe, explain_sizes, explained
from xrnn.parallel import World, world
from xrnn.select import use_backend
from xrnn.series import Forecaster
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.files import kind_in

_MAX_SIZE: Final = 10**18  # the sum of two sizes then fits 64 bits


@with_options
def info(
    file: Annotated[
        Path | None,
        typer.Argument(parser=path, metavar="FILE", help="A .onnx, .keras, .pt or .safetensors file to describe."),
    ] = None,
    *,
    how: StateDictOptions,
    explain: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="T N D H", help="Print the forms that compete at these sizes, and the chosen one."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=str.lower,
            help="With --explain: for this GPU, which need not be in this machine "
            "(t4, l4, 4060, 4090, 5090, a100, h100, h200, b200).",
        ),
    ] = None,
    cell: Annotated[
        str,
        typer.Option(metavar="NAME", parser=str.lower, help=f"With --explain: the cell ({', '.join(explained())})."),
    ] = "rnn",
    heads: Annotated[int, typer.Option(metavar="K", help="With --explain: the number of heads, a divisor of H.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    backend: BackendOption = None,
) -> None:
    """Print which backend is selected and why, and the form that each operation takes.

    With FILE, print what it holds.
    """
    if file is not None:
        if explain is not None:
            raise SettingsError("got both FILE and --explain: expected one of them; leave one out")
        described = _description(file, how, selected("numpy").backend)
        print(json.dumps(described) if as_json else "\n".join(_lines(described)))
        return
    if (device or cell != "rnn" or heads != 1) and (explain is None or as_json):
        raise SettingsError("--device, --cell and --heads expect --explain T N D H, without --json; leave them out")
    if cell not in explained():
        raise SettingsError(f"--cell: unknown cell {cell!r}: expected one of {', '.join(explained())}")
    of_cell = explained()[cell]
    if heads != 1 and (heads < 1 or (explain and explain[3] % heads) or of_cell.recurs or not of_cell.from_h):
        raise SettingsError(
            f"--heads is {heads}, with --cell {cell}: expected a divisor of H in --explain T N D H, and a cell whose "
            "recurrent term is h @ Wh; leave --heads out"
        )
    if explain is not None and not 1 <= min(explain) <= max(explain) <= _MAX_SIZE:
        raise SettingsError(f"--explain got {' '.join(map(str, explain))}: expected T N D H, each from 1 to 10^18")
    selection = None if device else selected(backend)
    if selection and as_json:
        shapes = dict(zip("TNDH", explain, strict=True)) if explain else None
        print(json.dumps({"version": xrnn.__version__} | config_data(selection, shapes)))
    elif explain is None:
        comm = world()
        ranks = rank_lines(comm, selection.backend) if selection and comm.size > 1 else []
        if comm.rank == 0:
            print("\n".join([config(selection), *ranks]))
    else:
        try:
            print(explain_sizes(*explain, device, selection, cell, heads))
        except ValueError as error:  # an unknown device, or a cell without a kernel
            raise SettingsError(f"--device: {error}") from error


def _description(source: Path, how: StateDictOptions, backend: Backend) -> dict[str, Any]:
    """What a file holds: its kind, its layers, and for a command's checkpoint, what the command stored."""
    if holds_arrays(source) and kind_in(source, WANTED) == Forecaster.job:
        with use_backend(backend):
            forecaster = Forecaster.load(source)
        layers: Sequence[Any] = list(forecaster.layers_.values())
        of = forecaster.facts_
        facts: dict[str, Any] = {
            "kind": f"checkpoint of `{Forecaster.writer}`",
            "updates": len(forecaster.losses_),
            **{name: getattr(of, name) for name in ("context", "horizon", "season", "known")},
            "calendar": of.calendar or "none",
            "logarithms": "yes" if of.log else "no",
        }
    else:
        try:
            read, facts = read_layers(source, how, backend)
        except DataError as error:
            if source.suffix != ".onnx":
                raise
            return _of_graph(source, error)
        layers = [layer for _, layer in named_leaves(read)]
    return {
        "file": printable(str(source)),
        **facts,
        "layers": [printable(repr(layer)) for layer in layers],
        "parameters": sum(param.size for layer in layers for param in layer.named_params.values()),
    }


def _of_graph(source: Path, error: DataError) -> dict[str, Any]:
    """What an ONNX model holds that `from_onnx` can't read.   error: its reason; raised if the file can't be read"""
    from xrnn.exchange.onnx_read import operators

    try:
        counts, elements = operators(source)
    except (ValueError, ImportError):
        raise error from None
    return {
        "file": printable(str(source)),
        "kind": "ONNX model",
        "operators": [f"{name} ({count})" for name, count in counts.items()],
        "parameters": elements,
        "no layers": str(error),
    }


def _lines(described: dict[str, Any]) -> Iterator[str]:
    """`name: value` for each entry."""
    for name, value in described.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        yield f"{name}: {printable(', '.join(map(str, value)) if isinstance(value, list) else str(shown))}"


def rank_lines(comm: World, backend: Backend) -> list[str]:
    """The table of `xrnn info`, in rank 0: the host, the device or the threads, and the CPUs of each rank."""
    facts = describe(backend)
    devices = [value for name, value in facts.items() if name.startswith("device ")]
    computes = devices[comm.local_rank % len(devices)] if devices else f"threads: {facts.get('threads', 'of BLAS')}"
    line = f"  {comm.rank}: {platform.node()}, {backend.name}, {computes}"
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
        line += f"; CPUs: {len(cpus)}, from {min(cpus)} to {max(cpus)}"
    parts = comm.gather(np.frombuffer(line.encode(), np.uint8))
    return [f"ranks: {comm.size}", *(part.tobytes().decode() for part in parts)]
