"""Layers in safetensors files, which hold arrays and a description, and no code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.files import FileError, open_arrays, parse_object, quoted, write_arrays
from xrnn.interop.description import MakeCell, UnknownCellError, canonical, put_together, take_apart
from xrnn.select import get_backend, kind_of, to_numpy
from xrnn.typing import HostArray

_FORMAT: Final = "xrnn layer"
_VERSION: Final = "1"
_WANTED: Final = "a layer; name a file that xrnn.save wrote"
_LONGEST: Final = 2**16  # characters of a description: some 500 layers


def save(path: str | os.PathLike[str], layer: Any) -> None:
    """Write a layer to a file that `load` reads: its arrays, its kind and its options.

    layer   RNN, LSTM, GRU, Recurrent, Bidirectional, Stack, Linear, Embedding, LayerNorm or Dropout, on any backend.
            The file keeps the seed and the step of a Dropout, so that its masks continue. It keeps a cell of your own
            as its name and the numbers and strings that it holds.

    The file is a safetensors file. It is written under another name and renamed: `path` holds the old file or the
    complete new one at any time.

    Raises TypeError for other layers; ValueError for more nested layers than a description holds; OSError if the file
    cannot be written; `path` then still holds the old file.
    """
    description, arrays = take_apart(layer)
    text = canonical(description)
    if len(text) > _LONGEST:
        raise ValueError(
            f"the description of layer has {len(text):,} characters: expected at most {_LONGEST:,}; save it in parts"
        )
    on_host = {name: to_numpy(array) for name, array in arrays.items()}
    write_arrays(Path(path), on_host, {"format": _FORMAT, "version": _VERSION, "layer": text})


def load(
    path: str | os.PathLike[str],
    *,
    cells: Mapping[str, MakeCell] | None = None,
    backend: str | Backend | None = None,
) -> Any:
    """The layer in a file that `save` wrote, on the selected backend or on `backend`.

    cells     for cells of your own: from the name to the class, which is called with the saved attributes, by name

    Nothing that the file names is imported. It takes the memory of the file's size, once for the parameters and once
    for their gradients. Warns if a parameter holds NaN or infinity.

    Raises ValueError if the file cannot be read, is damaged or of another kind, or holds other arrays than those of the
    layer that it describes, and if `cells` does not make its cell; TypeError if `cells` is not a dict.
    """
    check_cells(cells)
    target = get_backend(backend)
    with open_arrays(Path(path), _WANTED) as file:
        file.check_format(_FORMAT, _VERSION)
        file.check_dtypes("F32", "F64")
        arrays = file.read()
        text = file.metadata.get("layer", "")
    warn_of_nan(file.name, arrays)
    moved = {name: target.asarray(array) for name, array in arrays.items()}
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"{len(text):,} characters: expected at most {_LONGEST:,}")
        return put_together(parse_object(text), moved, cells)
    except UnknownCellError as error:
        raise FileError(f"{file.name} {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FileError(
            f"{file.name} describes no layer that fits its arrays ({quoted(str(error))}): expected {_WANTED}"
        ) from error


def check_cells(cells: Any) -> None:
    """Raises TypeError unless `cells` is a dict or None."""
    if not isinstance(cells, Mapping | None):
        raise TypeError(
            f"cells is a {kind_of(cells)}: expected a dict from the name of a cell to its class, as "
            "{'MyCell': MyCell}"
        )


def warn_of_nan(name: str, arrays: Mapping[str, HostArray]) -> None:
    for array_name, array in arrays.items():
        if not np.isfinite(array).all():
            warnings.warn(
                f"{name} holds {quoted(array_name)} with NaN or infinity: the layer computes NaN", stacklevel=3
            )
