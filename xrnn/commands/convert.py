"""`xrnn convert` and `xrnn info FILE`: models in files of any format that xrnn reads or writes."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from xrnn.backend import Backend
from xrnn.commands.options import new_path, path, selected, with_options
from xrnn.commands.terminal import to_stderr
from xrnn.exchange.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from xrnn.exchange.description import UnknownCellError
from xrnn.exchange.files import load, save
from xrnn.exchange.model import ExportedLayers, Model, host, is_int8, is_recurrent, model_of, named_leaves, unflattened
from xrnn.files import FileError, check_output, check_writable, holds_arrays, printable, same_file
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.linear import Linear
from xrnn.layers.quantized import quantize
from xrnn.ops.cells.rnn import NONLINEARITIES
from xrnn.select import use_backend
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import DataError, ModelError, OutputError, SettingsError, file_errors
from xrnn.series.files import kind_in
from xrnn.series.labelled.base import KINDS
from xrnn.series.scale import Scale

_READ: Final = (".onnx", ".keras", ".pt", ".safetensors")
WANTED: Final = "a file of xrnn; name one that xrnn.save, xrnn.save_checkpoint or a command wrote"
_WRITE: Final = (".onnx", ".keras", ".pt", ".safetensors", ".c")


@dataclass(kw_only=True)
class StateDictOptions:
    """How to read a .pt file.

    prefix         for .pt: the prefix of the module's keys
    nonlinearity   for .pt: the nonlinearity of an RNN
    """

    prefix: str = ""
    nonlinearity: str = "tanh"


@dataclass(kw_only=True)
class ConvertOptions(StateDictOptions):
    """How to convert.

    name           for .c: prefix of its functions; by default from OUT
    lengths        for .onnx: add an input for the lengths of the rows
    states         for .onnx: add inputs and outputs for the states
    int8           for .c and .safetensors: quantize the recurrent layers to int8
    overwrite      replace OUT if it exists
    """

    name: str = ""
    lengths: bool = False
    states: bool = False
    int8: bool = False
    overwrite: bool = False


@with_options
def convert(
    source: Annotated[
        Path, typer.Argument(parser=path, metavar="IN", help="A .onnx, .keras, .pt or .safetensors file.")
    ],
    target: Annotated[
        Path, typer.Argument(parser=new_path, metavar="OUT", help="A .onnx, .keras, .pt, .safetensors or .c file.")
    ],
    *,
    how: ConvertOptions,
) -> None:
    """Convert a model to another format.

    .safetensors files are those of xrnn.save, xrnn.save_checkpoint, `xrnn classify` and `regress`. .pt files hold the
    state dict of an RNN, LSTM or GRU. A model of `classify` or `regress` that is written to .onnx or .c scales its
    input itself.
    """
    name = how.name or target.stem
    if target.suffix not in _WRITE:
        raise SettingsError(f"OUT is {printable(str(target))}: expected a name with {', '.join(_WRITE)}")
    if (how.lengths or how.states) and target.suffix != ".onnx":
        raise SettingsError(f"got --lengths or --states for {target.suffix}: expected .onnx; leave them out")
    if how.int8 and target.suffix not in (".c", ".safetensors"):
        raise SettingsError(f"got --int8 for {target.suffix}: expected .c or .safetensors; leave it out")
    if target.suffix == ".c" and not any(each.isascii() and each.isalnum() for each in name):
        raise SettingsError(
            f"the name {printable(name)} has no ASCII letter or digit: expected one, because functions "
            "in C get this name; give another by --name"
        )
    expected = "expected an existing folder with write permission; name another"
    with file_errors(OutputError, "write", target, expected):
        check_writable(target)
        check_output(target, lambda _: how.overwrite, "exists: expected a new name; add --overwrite to replace it")
    if same_file(source, target):
        raise OutputError(f"{target} is the file that is converted: expected another one; name another")
    read, facts = read_layers(source, how, selected("numpy").backend)
    if not named_leaves(read):
        raise DataError(f"{printable(str(source))} has no layers: expected at least one to convert; name another file")
    if isinstance(read, Model) and "model" in facts:
        _check_series(source, read, facts, target.suffix)
    if how.int8:
        read = _guarded(lambda: _quantized(read))
    # A file of xrnn keeps names and Stacks. Other formats hold a chain of layers.
    keeps = target.suffix == ".safetensors" and not isinstance(read, Model | list)
    given = read if keeps else _model(source, read)
    with file_errors(OutputError, "write", target, "the old file is unchanged"):
        _guarded(lambda: _write(given, target, name, how))
    layers = [layer for _, layer in named_leaves(given)]
    count = sum(param.size for layer in layers for param in layer.named_params.values())
    titles = ", ".join(layer.title for layer in layers)
    print(f"{printable(str(source))} → {printable(str(target))}: {titles}; {count:,} parameters")


def _model(source: Path, layers: ExportedLayers) -> Model:
    """The layers of a file as a chain.   Raises DataError, which names the file."""
    try:
        return model_of(layers, quantized=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"{printable(str(source))}: {error}") from error


def _guarded(run: Callable[[], Any]) -> Any:
    """The result of `run`. Warnings are printed; errors of the converters become a DataError."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            result = run()
        except ModelError:
            raise
        except (ValueError, TypeError, ImportError) as error:
            raise DataError(str(error)) from error
    for warning in caught:
        if any(words in str(warning.message) for words in ("NaN", "left out")):
            to_stderr(f"warning: {warning.message}")
    return result


# ---- reading ----


def read_layers(source: Path, how: StateDictOptions, backend: Backend) -> tuple[ExportedLayers, dict[str, Any]]:
    """The layers in a file, and facts about it. A file of xrnn may have any suffix: `--out` names it freely."""
    if how.nonlinearity not in NONLINEARITIES:
        raise SettingsError(f"--nonlinearity is {how.nonlinearity}: expected {' or '.join(NONLINEARITIES)}")
    suffix = ".safetensors" if source.suffix not in _READ and holds_arrays(source) else source.suffix
    if suffix not in _READ:
        raise SettingsError(f"{printable(str(source))} has another suffix: expected {', '.join(_READ)}")
    if how.prefix and suffix != ".pt":
        raise SettingsError(f"got --prefix for {suffix}: expected a .pt file; leave --prefix out")
    layers, facts = _guarded(lambda: _read(source, suffix, how, backend))
    return layers, facts


def _read(source: Path, suffix: str, how: StateDictOptions, backend: Backend) -> tuple[ExportedLayers, dict[str, Any]]:
    if suffix == ".onnx":
        from xrnn.exchange.onnx_read import from_onnx

        return from_onnx(source, backend=backend), {"kind": "ONNX model"}
    if suffix == ".keras":
        from xrnn.exchange.keras_file import read_keras

        return read_keras(source, backend), {"kind": "Keras model"}
    if suffix == ".pt":
        from xrnn.exchange.torch_state import read_state

        return read_state(source, how.prefix, how.nonlinearity, backend), {"kind": "PyTorch state dict"}
    name = kind_in(source, WANTED)
    if name == Forecaster.job:
        raise DataError(
            f"{printable(str(source))} is a forecaster, which scales each series by itself: expected a model of `xrnn "
            "classify` or `regress`; use xrnn.load_checkpoint for its layers"
        )
    if name == "xrnn layer":
        with _without_cells(source, "load"):
            return load(source, backend=backend), {"kind": "layer of xrnn.save"}
    kind = next((each for each in (Classifier, Regressor) if each.job == name), None)
    if kind is None:
        with _without_cells(source, "load_checkpoint"):
            checkpoint = load_checkpoint(source, backend=backend)
        facts = {"kind": "checkpoint of xrnn.save_checkpoint", "names": list(checkpoint.layers)}
        facts |= {"extra": list(checkpoint.extra)} if checkpoint.extra else {}
        if (optimizer := checkpoint.optimizer) is not None:
            several = optimizer if isinstance(optimizer, dict) else {"": optimizer}
            counts = {
                name: f"{type(each).__name__} (updates: {int(each.state['count']):,})" for name, each in several.items()
            }
            facts["optimizer"] = [f"{name}: {count}" if name else count for name, count in counts.items()]
        return checkpoint, facts
    with use_backend(backend):
        return _of_series(kind.load(source), backend)


@contextlib.contextmanager
def _without_cells(source: Path, function: str) -> Iterator[None]:
    """Replace the remedy of an unknown cell: a command takes no `cells`.   function: the one that does"""
    try:
        yield
    except FileError as error:
        if not isinstance(unknown := error.__cause__, UnknownCellError):
            raise
        raise DataError(
            f"{printable(str(source))} holds the cell '{unknown.cell}', which xrnn does not have: commands read "
            f"built-in cells only; load the file in Python, by xrnn.{function}(…, cells={{'{unknown.cell}': …}})"
        ) from error


def _of_series(estimator: Any, backend: Backend) -> tuple[Model, dict[str, Any]]:
    """The model of a Classifier or a Regressor, with its scale, and facts about it."""
    layers, kind = list(estimator.layers_.values()), estimator.kind_
    labels, scale = tuple(map(str, getattr(estimator, "classes_", ()))), None
    if kind.converts:
        of_channels = Scale(*estimator.scale_)
        scale = of_channels.mean, of_channels.divisor
    if not labels:  # the model predicts standardised numbers
        W, b = map(host, layers[-1].params)
        mean, deviation = estimator.target_mean_, estimator.target_deviation_
        scaled = W * deviation, b * deviation + mean
        layers[-1] = Linear(*(backend.asarray(np.asarray(each, W.dtype)) for each in scaled))
    # A step of the converted model is a patch: its steps, each with the values of all channels, then the changes.
    model = Model(model_of(layers).layers, scale, mean=True, softmax=bool(labels), labels=labels)
    facts: dict[str, Any] = {
        "kind": f"checkpoint of `{estimator.writer}`",
        "model": kind.p.model,
        "updates": len(estimator.losses_),
        "channels": estimator.channels_,
        **{name.rstrip("_"): getattr(estimator, name) for name in kind.learnt},
    }
    return model, facts | ({"labels": list(labels)} if labels else {})


# ---- writing ----


def _check_series(source: Path, model: Model, facts: dict[str, Any], suffix: str) -> None:
    """Raises DataError if the format can't hold a model of series."""
    if not KINDS[facts["model"]].converts:
        raise DataError(
            f"{printable(str(source))} has --model {facts['model']}, which no other format can hold: expected a model "
            "trained with --model recurrent; train one, or use `xrnn predict`"
        )
    both_ways = any(type(layer) is Bidirectional for layer in model.layers)
    shared = ["with --scaling shared"] * (facts.get("scaling") == "each")
    patches = ["with --patch 1"] * (facts.get("patch", 1) > 1)
    needed = {
        ".c": shared + ["with --one-way"] * both_ways,
        ".onnx": shared + patches,
    }
    if suffix not in needed:
        raise DataError(
            f"{printable(str(source))} scales its input and takes a mean over time, which layers in {suffix} can't "
            "hold: expected .c or .onnx; convert to one of them"
        )
    if needed[suffix]:
        others = "".join(f", or convert to {each}" for each, of in needed.items() if not of)
        raise DataError(
            f"{printable(str(source))} can't be converted to {suffix}: expected a model trained "
            f"{', '.join(needed[suffix])}; train one{others}"
        )


def _quantized(layers: ExportedLayers) -> ExportedLayers:
    """A copy with quantized recurrent layers, and without an optimizer.   Raises TypeError, ValueError."""
    parts = [part for _, layer in named_leaves(layers) for part in getattr(layer, "layers", [layer])]
    recurrent = [part for part in parts if is_recurrent(part) and not is_int8(part)]
    for part in recurrent:
        if part.heads is not None:
            raise ValueError(
                f"--int8 got a {part.title} with {part.heads} heads: expected one matrix Wh; leave out --int8, or "
                "train with one head"
            )
    if not recurrent:
        raise ValueError("the model has no layer to quantize: --int8 expects a recurrent one; leave out --int8")
    given = replace(layers, optimizer=None) if isinstance(layers, Checkpoint) else layers
    return copy.deepcopy(given, {id(part): quantize(part) for part in recurrent})


def _write(model: Any, target: Path, name: str, options: ConvertOptions) -> None:
    overwrite = options.overwrite
    if isinstance(model, Checkpoint):
        return save_checkpoint(target, model.layers, optimizer=model.optimizer, extra=model.extra, overwrite=overwrite)
    if target.suffix == ".c":
        from xrnn.exchange.c import to_c

        return to_c(model, target, name, overwrite=overwrite)
    if target.suffix == ".onnx":
        from xrnn.exchange.onnx_write import to_onnx

        to_onnx(model, target, lengths=options.lengths, states=options.states, overwrite=overwrite)
        return None
    if target.suffix == ".keras":
        from xrnn.exchange.keras_file import write_keras

        return write_keras(model, target, overwrite=overwrite)
    if isinstance(model, Model) and model.softmax:
        raise DataError(
            f"the model ends in a softmax, which {target.suffix} can't hold: expected .onnx, .c or .keras; or remove "
            "the activation of its last layer in Keras"
        )
    if target.suffix == ".pt":
        from xrnn.exchange.torch_state import write_state

        return write_state(model, target, overwrite=overwrite)
    layers: Any = unflattened(model.layers) if isinstance(model, Model) else model
    if isinstance(layers, list):
        return save_checkpoint(target, {str(i): layer for i, layer in enumerate(layers)}, overwrite=overwrite)
    return save(target, layers, overwrite=overwrite)
