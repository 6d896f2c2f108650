"""`xrnn convert`: between the files of any format that xrnn reads or writes."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

import xrnn
from xrnn.arrays.select import get_backend, use_backend
from xrnn.commands.options import argument, with_options
from xrnn.commands.output import check_outputs, to_stderr
from xrnn.commands.predict import ESTIMATORS
from xrnn.exchange.checkpoint import Checkpoint
from xrnn.exchange.model import Model, host, is_int8, is_recurrent, model_of, named_leaves
from xrnn.files import printable
from xrnn.layers.linear import Linear
from xrnn.layers.quantized import quantize
from xrnn.series import Forecaster, Regressor
from xrnn.series.errors import DataError, ModelError, SettingsError, file_errors
from xrnn.series.estimator import Estimator, kind_in
from xrnn.series.labelled.estimators import LAST
from xrnn.series.scale import Scale

_WRITE: Final = (".onnx", ".safetensors", ".c")
_WANTED: Final = "a file of xrnn; name one that xrnn.save, xrnn.save_checkpoint or a command wrote"


@dataclass(kw_only=True)
class ConvertOptions:
    """How to convert.

    lengths     for .onnx: add an input for the lengths of the rows
    states      for .onnx: add inputs and outputs for the states
    last        for .c files of `classify` and `regress`: number of last rows that an output is about; by default, as
                many as a series of the training has
    int8        for .c and .safetensors: quantize the recurrent layers to int8
    overwrite   replace OUT if it exists
    """

    lengths: bool = False
    states: bool = False
    last: int | None = None
    int8: bool = False
    overwrite: bool = False


@with_options
def convert(
    source: Annotated[Path, argument("IN", "A .onnx or .safetensors file.")],
    target: Annotated[Path, argument("OUT", "A .onnx, .safetensors or .c file.")],
    *,
    how: ConvertOptions,
) -> None:
    """Convert a model to another format.

    .safetensors files are those of xrnn.save, xrnn.save_checkpoint, `xrnn classify` and `regress`. The functions
    in a .c file have its name. A model of `classify` or `regress` in .onnx or .c scales its input itself.
    """
    if target.suffix not in _WRITE:
        raise SettingsError(f"OUT is {printable(str(target))}; its name must end in {', '.join(_WRITE)}")
    suffixes_of = {"lengths": [".onnx"], "states": [".onnx"], "last": [".c"], "int8": [".c", ".safetensors"]}
    for option, suffixes in suffixes_of.items():
        if getattr(how, option) not in (None, False) and target.suffix not in suffixes:
            raise SettingsError(
                f"got --{option} for {target.suffix}, but it is for {' and '.join(suffixes)}; leave it out"
            )
    check_outputs([target], [source], overwrite=how.overwrite)
    with converting(), use_backend("numpy"):
        read = read_file(source)
        if isinstance(read, Estimator):
            read = _model_of_series(source, read, target.suffix, how.last)
        elif how.last is not None:
            raise SettingsError(f"got --last for {source}, which is no model of `classify` or `regress`; leave it out")
        if not named_leaves(read):
            raise DataError(f"{source} has no layers to convert; name another file")
        if how.int8:
            read = _quantized(read)
        with file_errors(ModelError, "write", target, "the old file is unchanged"):
            _write(read, target, how)
    layers = [layer for _, layer in named_leaves(read)]
    count = sum(param.size for layer in layers for param in layer.named_params.values())
    titles = ", ".join(layer.title for layer in layers)
    print(f"{printable(str(source))} → {printable(str(target))}: {titles}; {count:,} parameters")


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """Raise errors of the converters as DataError, and print their warnings of NaN in weights."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        except (ValueError, TypeError, ImportError) as error:
            raise error if isinstance(error, ModelError) else DataError(str(error)) from error
    for warning in caught:
        to_stderr(f"warning: {warning.message}")


def read_file(source: Path) -> Any:
    """The content of a file: a layer, a list of layers, a Checkpoint or an estimator."""
    if source.suffix == ".onnx":
        return xrnn.from_onnx(source)
    kind = kind_in(source, _WANTED)  # of a file of xrnn, which may have any suffix
    if kind in ESTIMATORS:
        return ESTIMATORS[kind].load(source)
    return xrnn.load(source) if kind == "xrnn layer" else xrnn.load_checkpoint(source)


def _model_of_series(source: Path, estimator: Any, suffix: str, last: int | None) -> Model:
    """The layers of a Classifier or a Regressor, with its scale.

    last   number of last rows that an output of a C program is about; None: as many as a series of the training has

    Raises DataError if the format can't hold the model, SettingsError for an invalid `last`.
    """
    if isinstance(estimator, Forecaster):
        raise DataError(f"{source} is a forecaster, which has no layers to convert; run `xrnn predict` to forecast")
    if suffix == ".safetensors":
        raise DataError(
            f"{source} scales its input and takes a mean over time, which layers in .safetensors can't hold; "
            "convert it to .c or .onnx"
        )
    needed = {
        "--model recurrent": estimator.model_ != "recurrent",
        "--scaling shared": vars(estimator).get("scaling_") == "each",
        "--one-way": suffix == ".c" and not estimator.one_way,
        "--patch 1": suffix == ".onnx" and vars(estimator).get("patch_", 1) > 1,
        "--window 0": suffix == ".onnx" and estimator.window_ > 0,
    }
    if any(needed.values()):
        options = ", ".join(option for option, is_needed in needed.items() if is_needed)
        raise DataError(f"{source} can't be converted to {suffix}; train a model with {options}")
    layers = list(estimator.layers_.values())
    scale = Scale(*estimator.scale_)
    if isinstance(estimator, Regressor):  # the model predicts standardised numbers
        W, b = map(host, layers[-1].params)
        mean, deviation = estimator.target_mean_, estimator.target_deviation_
        scaled = W * deviation, b * deviation + mean
        layers[-1] = Linear(*(get_backend().asarray(np.asarray(array, W.dtype)) for array in scaled))
    labels = tuple(map(str, getattr(estimator, "classes_", ())))
    rows = estimator.steps_ if last is None else last
    LAST.check("last", rows)
    window = estimator.window_
    if window and rows >= 2 * window:
        got = f"{source} answers by the mean over windows of {window:,} rows, which a .c file can't hold"
        raise DataError(f"{got}; give --last {window} for the answer of the last window")
    rows = min(rows, window or rows)
    # A step of the converted model is a patch: its steps, each with the values of all channels, then the changes.
    D, patch = estimator.channels_, estimator.patch_
    return Model(
        model_of(layers).layers,
        (scale.mean, scale.deviation),
        mean=True,
        last=-(-rows // patch),
        changes=range(D, 2 * D) if patch > 1 else range(0),
        softmax=bool(labels),
        labels=labels,
    )


def _quantized(layers: Any) -> Any:
    """A copy with quantized recurrent layers, and without an optimizer.   Raises TypeError, ValueError."""
    parts = [part for _, layer in named_leaves(layers) for part in getattr(layer, "layers", [layer])]
    quantized = {id(part): quantize(part) for part in parts if is_recurrent(part) and not is_int8(part)}
    if not quantized:
        raise ValueError("the model has no layer to quantize: --int8 expects a recurrent one; leave out --int8")
    given = replace(layers, optimizer=None) if isinstance(layers, Checkpoint) else layers
    return copy.deepcopy(given, quantized)


def _write(model: Any, target: Path, options: ConvertOptions) -> None:
    overwrite = options.overwrite
    if target.suffix == ".c":
        xrnn.to_c(model, target, target.stem, overwrite=overwrite)
    elif target.suffix == ".onnx":
        xrnn.to_onnx(model, target, lengths=options.lengths, states=options.states, overwrite=overwrite)
    elif isinstance(model, Checkpoint):
        xrnn.save_checkpoint(target, model.layers, optimizer=model.optimizer, extra=model.extra, overwrite=overwrite)
    elif isinstance(model, list):
        xrnn.save_checkpoint(target, {str(i): layer for i, layer in enumerate(model)}, overwrite=overwrite)
    else:
        xrnn.save(target, model, overwrite=overwrite)
