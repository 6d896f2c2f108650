"""`xrnn convert`: between the files of any format that xrnn reads or writes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from xrnn.backend import Backend
from xrnn.commands.options import path, selected, with_options
from xrnn.commands.outputs import check_outputs
from xrnn.commands.terminal import to_stderr
from xrnn.exchange.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from xrnn.exchange.files import load, save
from xrnn.exchange.model import ExportedLayers, Model, host, is_int8, is_recurrent, model_of, named_leaves, unflattened
from xrnn.files import holds_arrays, printable
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.linear import Linear
from xrnn.layers.quantized import quantize
from xrnn.select import use_backend
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import DataError, ModelError, OutputError, SettingsError, file_errors
from xrnn.series.files import kind_in
from xrnn.series.scale import Scale

_READ: Final = (".onnx", ".safetensors")
_WRITE: Final = (*_READ, ".c")
WANTED: Final = "a file of xrnn; name one that xrnn.save, xrnn.save_checkpoint or a command wrote"


@dataclass(kw_only=True)
class ConvertOptions:
    """How to convert.

    lengths     for .onnx: add an input for the lengths of the rows
    states      for .onnx: add inputs and outputs for the states
    int8        for .c and .safetensors: quantize the recurrent layers to int8
    overwrite   replace OUT if it exists
    """

    lengths: bool = False
    states: bool = False
    int8: bool = False
    overwrite: bool = False


@with_options
def convert(
    source: Annotated[Path, typer.Argument(parser=path, metavar="IN", help="A .onnx or .safetensors file.")],
    target: Annotated[Path, typer.Argument(parser=path, metavar="OUT", help="A .onnx, .safetensors or .c file.")],
    *,
    how: ConvertOptions,
) -> None:
    """Convert a model to another format.

    .safetensors files are those of xrnn.save, xrnn.save_checkpoint, `xrnn classify` and `regress`. Functions in C have
    the name of OUT. A model of `classify` or `regress` that is written to .onnx or .c scales its input itself.
    """
    if target.suffix not in _WRITE:
        raise SettingsError(f"OUT is {printable(str(target))}: expected a name with {', '.join(_WRITE)}")
    for option, suffixes in {"lengths": [".onnx"], "states": [".onnx"], "int8": [".c", ".safetensors"]}.items():
        if getattr(how, option) and target.suffix not in suffixes:
            raise SettingsError(f"got --{option} for {target.suffix}: expected {' or '.join(suffixes)}; leave it out")
    check_outputs([target], [source], overwrite=how.overwrite)
    read, facts = read_layers(source, selected("numpy").backend)
    if not named_leaves(read):
        raise DataError(f"{printable(str(source))} has no layers: expected at least one to convert; name another file")
    if isinstance(read, Model) and "model" in facts:
        _check_series(source, read, facts, target.suffix)
    if how.int8:
        read = _guarded(lambda: _quantized(read))
    # A file of xrnn keeps names and Stacks. Other formats hold a chain of layers.
    keeps = target.suffix == ".safetensors" and not isinstance(read, Model | list)
    given = read if keeps else _guarded(lambda: model_of(read, quantized=True))
    with file_errors(OutputError, "write", target, "the old file is unchanged"):
        _guarded(lambda: _write(given, target, how))
    layers = [layer for _, layer in named_leaves(given)]
    count = sum(param.size for layer in layers for param in layer.named_params.values())
    titles = ", ".join(layer.title for layer in layers)
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
        if "NaN" in str(warning.message):
            to_stderr(f"warning: {warning.message}")
    return result


# ---- reading ----


def read_layers(source: Path, backend: Backend) -> tuple[ExportedLayers, dict[str, Any]]:
    """The layers in a file, and facts about it. A file of xrnn may have any suffix: `--out` names it freely."""
    suffix = ".safetensors" if source.suffix not in _READ and holds_arrays(source) else source.suffix
    if suffix not in _READ:
        raise SettingsError(f"{printable(str(source))} has another suffix: expected {', '.join(_READ)}")
    layers, facts = _guarded(lambda: _read(source, suffix, backend))
    return layers, facts


def _read(source: Path, suffix: str, backend: Backend) -> tuple[ExportedLayers, dict[str, Any]]:
    if suffix == ".onnx":
        from xrnn.exchange.onnx_read import from_onnx

        return from_onnx(source, backend=backend), {"kind": "ONNX model"}
    name = kind_in(source, WANTED)
    if name == Forecaster.job:
        raise DataError(
            f"{printable(str(source))} is a forecaster, which has no layers: expected a model of `xrnn classify` or "
            "`regress`; run `xrnn predict` to forecast"
        )
    if name == "xrnn layer":
        return load(source, backend=backend), {"kind": "layer of xrnn.save"}
    kind = next((each for each in (Classifier, Regressor) if each.job == name), None)
    if kind is not None:
        with use_backend(backend):
            return _of_series(kind.load(source), backend)
    checkpoint = load_checkpoint(source, backend=backend)
    facts = {"kind": "checkpoint of xrnn.save_checkpoint", "names": list(checkpoint.layers)}
    facts |= {"extra": list(checkpoint.extra)} if checkpoint.extra else {}
    optimizer = checkpoint.optimizer
    several = optimizer if isinstance(optimizer, dict) else {} if optimizer is None else {"optimizer": optimizer}
    for name, each in several.items():
        facts[name] = f"{type(each).__name__} (updates: {int(each.state['count']):,})"
    return checkpoint, facts


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
    if suffix not in (".c", ".onnx"):
        raise DataError(
            f"{printable(str(source))} scales its input and takes a mean over time, which layers in {suffix} can't "
            "hold: expected .c or .onnx; convert to one of them"
        )
    options = {
        "--model recurrent": facts["model"] == "recurrent",
        "--scaling shared": facts.get("scaling") != "each",
        "--one-way": suffix == ".onnx" or not any(isinstance(each, Bidirectional) for _, each in named_leaves(model)),
        "--patch 1": suffix == ".c" or facts.get("patch", 1) == 1,
    }
    if needed := [option for option, given in options.items() if not given]:
        raise DataError(
            f"{printable(str(source))} can't be converted to {suffix}: expected a model trained with "
            f"{', '.join(needed)}; train one"
        )


def _quantized(layers: ExportedLayers) -> ExportedLayers:
    """A copy with quantized recurrent layers, and without an optimizer.   Raises TypeError, ValueError."""
    parts = [part for _, layer in named_leaves(layers) for part in getattr(layer, "layers", [layer])]
    quantized = {id(part): quantize(part) for part in parts if is_recurrent(part) and not is_int8(part)}
    if not quantized:
        raise ValueError("the model has no layer to quantize: --int8 expects a recurrent one; leave out --int8")
    given = replace(layers, optimizer=None) if isinstance(layers, Checkpoint) else layers
    return copy.deepcopy(given, quantized)


def _write(model: Any, target: Path, options: ConvertOptions) -> None:
    overwrite = options.overwrite
    if isinstance(model, Checkpoint):
        return save_checkpoint(target, model.layers, optimizer=model.optimizer, extra=model.extra, overwrite=overwrite)
    if target.suffix == ".c":
        from xrnn.exchange.c import to_c

        return to_c(model, target, target.stem, overwrite=overwrite)
    if target.suffix == ".onnx":
        from xrnn.exchange.onnx_write import to_onnx

        to_onnx(model, target, lengths=options.lengths, states=options.states, overwrite=overwrite)
        return None
    if isinstance(model, Model):
        model = unflattened(model.layers)
    if isinstance(model, list):
        return save_checkpoint(target, {str(i): layer for i, layer in enumerate(model)}, overwrite=overwrite)
    return save(target, model, overwrite=overwrite)
