"""`xrnn convert` and `xrnn info FILE`: models in files of any format that xrnn reads or writes."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from xrnn.backend import Backend
from xrnn.commands.options import Option, OptionsOf, new_path, path, selected, values_of, with_options
from xrnn.commands.terminal import Terminal
from xrnn.exchange.checkpoint import load_checkpoint, save_checkpoint
from xrnn.exchange.description import UnknownCellError
from xrnn.exchange.files import load, save
from xrnn.exchange.model import Model, host, is_int8, is_recurrent, model_of, unflattened
from xrnn.files import FileError, check_output, check_writable, holds_arrays, printable, same_file
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.linear import Linear
from xrnn.layers.quantized import quantize
from xrnn.ops.cells.rnn import NONLINEARITIES
from xrnn.select import use_backend
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import DataError, ModelError, OutputError, SettingsError, file_errors
from xrnn.series.files import kind_in
from xrnn.series.scale import Scale

_READ: Final = (".onnx", ".keras", ".pt", ".safetensors")
WANTED: Final = "a file of xrnn; name one that xrnn.save, xrnn.save_checkpoint or a command wrote"
_WRITE: Final = (".onnx", ".keras", ".pt", ".safetensors", ".c")


_OPTIONS: Final = (
    Option("lengths", bool, "For .onnx: add an input for the lengths of the rows."),
    Option("states", bool, "For .onnx: add inputs and outputs for the states."),
    Option("int8", bool, "For .c and .safetensors: quantize the recurrent layers to int8."),
    Option("overwrite", bool, "Replace OUT if it exists."),
)
PrefixOption = Annotated[
    str, typer.Option(metavar="TEXT", help="For .pt: the prefix of the module's keys.", show_default=False)
]
NonlinearityOption = Annotated[str, typer.Option(metavar="tanh|relu", help="For .pt: the nonlinearity of an RNN.")]


@with_options
def convert(
    source: Annotated[
        Path, typer.Argument(parser=path, metavar="IN", help="A .onnx, .keras, .pt or .safetensors file.")
    ],
    target: Annotated[
        Path, typer.Argument(parser=new_path, metavar="OUT", help="A .onnx, .keras, .pt, .safetensors or .c file.")
    ],
    *,
    prefix: PrefixOption = "",
    nonlinearity: NonlinearityOption = "tanh",
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="For .c: prefix of its functions. Default: from OUT.", show_default=False),
    ] = "",
    options: Annotated[dict[str, Any], OptionsOf(_OPTIONS)],
) -> None:
    """Convert a model to another format.

    .safetensors files are those of xrnn.save, xrnn.save_checkpoint, `xrnn classify` and `regress`. .pt files hold the
    state dict of an RNN, LSTM or GRU. A model of `classify` or `regress` that is written to .onnx or .c scales its
    input itself.
    """
    how, backend = values_of(_OPTIONS, options), selected("numpy").backend
    if target.suffix not in _WRITE:
        raise SettingsError(f"OUT is {printable(str(target))}: expected a name with {', '.join(_WRITE)}")
    if nonlinearity not in NONLINEARITIES:
        raise SettingsError(f"--nonlinearity is {nonlinearity}: expected {' or '.join(NONLINEARITIES)}")
    if (how.lengths or how.states) and target.suffix != ".onnx":
        raise SettingsError(f"got --lengths or --states for {target.suffix}: expected .onnx; leave them out")
    if how.int8 and target.suffix not in (".c", ".safetensors"):
        raise SettingsError(f"got --int8 for {target.suffix}: expected .c or .safetensors; leave it out")
    if target.suffix == ".c" and not any(each.isascii() and each.isalnum() for each in name or target.stem):
        raise SettingsError(
            f"the name {printable(name or target.stem)} has no ASCII letter or digit: expected one, because functions "
            "in C get this name; give another by --name"
        )
    expected = "expected an existing folder with write permission; name another"
    with file_errors(OutputError, "write", target, expected):
        check_writable(target)
        check_output(target, lambda _: how.overwrite, "exists: expected a new name; add --overwrite to replace it")
    if same_file(source, target):
        raise OutputError(f"{target} is the file that is converted: expected another one; name another")
    model, facts = read_model(source, prefix, nonlinearity, backend)
    if not model.layers:
        raise DataError(f"{printable(str(source))} has no layers: expected at least one to convert; name another file")
    if model.scale is not None:
        _check_series(source, model, facts, target.suffix)
    if how.int8:
        model = _guarded(lambda: _quantized(model))
    with file_errors(OutputError, "write", target, "the old file is unchanged"):
        _guarded(lambda: _write(model, target, name or target.stem, how))
    count = sum(param.size for layer in model.layers for param in layer.named_params.values())
    titles = ", ".join(layer.title for layer in model.layers)
    print(f"{printable(str(source))} → {printable(str(target))}: {titles}; {count:,} parameters")


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
        if sys.stderr is not None and any(words in str(warning.message) for words in ("NaN", "left out")):
            Terminal(sys.stderr).say(f"warning: {warning.message}")
    return result


# ---- reading ----


def read_model(source: Path, prefix: str, nonlinearity: str, backend: Backend) -> tuple[Model, dict[str, Any]]:
    """The model in a file, and facts about it. A file of xrnn may have any suffix: `--out` names it freely."""
    suffix = ".safetensors" if source.suffix not in _READ and holds_arrays(source) else source.suffix
    if suffix not in _READ:
        raise SettingsError(f"{printable(str(source))} has another suffix: expected {', '.join(_READ)}")
    if prefix and suffix != ".pt":
        raise SettingsError(f"got --prefix for {suffix}: expected a .pt file; leave --prefix out")
    model, facts = _guarded(lambda: _read(source, suffix, prefix, nonlinearity, backend))
    return model, facts


def _read(source: Path, suffix: str, prefix: str, nonlinearity: str, backend: Backend) -> tuple[Model, dict[str, Any]]:
    if suffix == ".onnx":
        from xrnn.exchange.onnx_read import from_onnx

        return model_of(from_onnx(source, backend=backend)), {"kind": "ONNX model"}
    if suffix == ".keras":
        from xrnn.exchange.keras_file import read_keras

        return model_of(read_keras(source, backend)), {"kind": "Keras model"}
    if suffix == ".pt":
        from xrnn.exchange.torch_state import read_state

        return model_of(read_state(source, prefix, nonlinearity, backend)), {"kind": "PyTorch state dict"}
    name = kind_in(source, WANTED)
    if name == Forecaster.job:
        raise DataError(
            f"{printable(str(source))} is a forecaster, which scales each series by itself: expected a model of `xrnn "
            "classify` or `regress`; use xrnn.load_checkpoint for its layers"
        )
    if name == "xrnn layer":
        with _without_cells(source, "load"):
            return model_of(load(source, backend=backend), quantized=True), {"kind": "layer of xrnn.save"}
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
        return model_of(checkpoint, quantized=True) if checkpoint.layers else Model(()), facts
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
    layers, p = list(estimator.layers_.values()), estimator.check_params()
    labels = tuple(map(str, getattr(estimator, "classes_", ())))
    if not labels:  # the model predicts standardised numbers
        W, b = map(host, layers[-1].params)
        mean, deviation = estimator.target_mean_, estimator.target_deviation_
        scaled = W * deviation, b * deviation + mean
        layers[-1] = Linear(*(backend.asarray(np.asarray(each, W.dtype)) for each in scaled))
    of_channels = Scale(*estimator.scale_)
    scale = of_channels.mean, of_channels.divisor
    model = Model(model_of(layers).layers, scale, p.mask, mean=True, softmax=bool(labels), labels=labels)
    facts: dict[str, Any] = {
        "kind": f"checkpoint of `{estimator.writer}`",
        "model": p.model,
        "updates": len(estimator.losses_),
        "channels": estimator.channels_,
        # A step of the converted model is a patch: its steps, each with the values of all channels, then the changes.
        "steps in a patch": estimator.patch_,
        "scaling": estimator.scaling_,
        "members": p.members,
    }
    return model, facts | ({"labels": list(labels)} if labels else {})


# ---- writing ----


def _check_series(source: Path, model: Model, facts: dict[str, Any], suffix: str) -> None:
    """Raises DataError if the format can't hold a model of series."""
    if facts["model"] == "convolutions":
        raise DataError(
            f"{printable(str(source))} holds random convolutions, which no other format has: expected a model trained "
            "with --model recurrent; train one, or use `xrnn predict`"
        )
    both_ways = any(type(layer) is Bidirectional for layer in model.layers)
    shared = ["with --scaling shared"] * (facts["scaling"] == "each")
    patches = ["with --patch 1"] * (facts["steps in a patch"] > 1)
    needed = {
        ".c": shared + ["with --one-way"] * both_ways,
        ".onnx": shared + patches + ["without --mask"] * model.mask,
    }
    if suffix not in needed:
        raise DataError(
            f"{printable(str(source))} scales its input and takes a mean over time, which {suffix} can't hold: "
            "expected .c or .onnx; convert to one of them"
        )
    if needed[suffix]:
        others = "".join(f", or convert to {each}" for each, of in needed.items() if not of)
        raise DataError(
            f"{printable(str(source))} can't be converted to {suffix}: expected a model trained "
            f"{', '.join(needed[suffix])}; train one{others}"
        )


def _quantized(model: Model) -> Model:
    """The model with its recurrent layers quantized.   Raises TypeError, ValueError."""

    def quantized(layer: Any) -> Any:
        for part in getattr(layer, "layers", [layer]):
            if part.heads is not None:
                raise ValueError(
                    f"--int8 got a {part.title} with {part.heads} heads, which --heads and --members give it: expected "
                    "one matrix Wh; leave out --int8, or train with one head and one member"
                )
        return quantize(layer)

    layers = [quantized(layer) if is_recurrent(layer) and not is_int8(layer) else layer for layer in model.layers]
    if all(new is old for new, old in zip(layers, model.layers, strict=True)):
        raise ValueError("the model has no layer to quantize: --int8 expects a recurrent one; leave out --int8")
    return replace(model, layers=tuple(layers))


def _write(model: Model, target: Path, name: str, options: Any) -> None:
    overwrite = options.overwrite
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
    if model.softmax:
        raise DataError(
            f"the model ends in a softmax, which {target.suffix} can't hold: expected .onnx, .c or .keras; or remove "
            "the activation of its last layer in Keras"
        )
    if target.suffix == ".pt":
        from xrnn.exchange.torch_state import write_state

        return write_state(model, target, overwrite=overwrite)
    layers = unflattened(model.layers)
    if isinstance(layers, list):
        return save_checkpoint(target, {str(i): layer for i, layer in enumerate(layers)}, overwrite=overwrite)
    return save(target, layers, overwrite=overwrite)
