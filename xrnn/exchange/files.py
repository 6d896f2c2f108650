"""Save layers to safetensors files and load them. A file holds arrays and a description, and no code."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, overload

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.exchange.description import (
    Description,
    MakeCell,
    UnknownCellError,
    canonical,
    put_together,
    take_apart,
)
from xrnn.files import ArrayFile, FileError, arrays_content, format_in, open_arrays, parse_object, quoted, write_own
from xrnn.groups import HasParameters
from xrnn.layers.network import Network
from xrnn.messages import kind_of
from xrnn.typing import Array, HostArray

L = TypeVar("L")
Cells: TypeAlias = Mapping[str, MakeCell] | None

_WANTED: Final = "a layer; name a file that xrnn.save wrote"
_FORMAT: Final = "xrnn layer"
_VERSION: Final = "1"
_LONGEST: Final = 2**16  # characters of a description, enough for about 500 layers


def save(path: str | os.PathLike[str], layer: HasParameters, *, overwrite: bool = False) -> None:
    """Write a layer to a file that `load` reads: its arrays, its kind and its options.

    layer       a recurrent layer, such as RNN, LSTM, GRU or Recurrent, Mamba, Mamba2, MLSTM, Bidirectional, Stack,
                Linear, Embedding, LayerNorm or Dropout, on any backend, a quantized layer, or a Network of layers.
                The file keeps the seed of a Dropout and its count of forward calls, so that its masks continue. Of a
                cell of your own it keeps the name and the attributes, which must be numbers and strings.
    overwrite   replace any file at `path`. By default, only an empty file or one that `save` wrote is replaced

    The file is a safetensors file. It is written under a temporary name and renamed, so that `path` is at any time the
    old file or the complete new one.

    Raises TypeError for other layers; ValueError if there are too many layers or they are nested too deep;
    FileExistsError for a file that it may not replace, and OSError if the file cannot be written. After any of these
    errors, the old file is unchanged.

    >>> save("gru.safetensors", GRU.init(3, 8, rng=0))
    """
    description, arrays = take_apart(layer)
    content = described_content("layer", canonical(description), arrays, _LONGEST, "save it in parts")
    write_own(path, content, "xrnn.save", lambda file: format_in(file) == _FORMAT, overwrite=overwrite)


@overload
def load(
    path: str | os.PathLike[str], kind: type[L], *, cells: Cells = None, backend: str | Backend | None = None
) -> L: ...
@overload
def load(
    path: str | os.PathLike[str], kind: None = None, *, cells: Cells = None, backend: str | Backend | None = None
) -> Any: ...
def load(
    path: str | os.PathLike[str], kind: Any = None, *, cells: Cells = None, backend: str | Backend | None = None
) -> Any:
    """The layer in a file that `save` wrote, on the selected backend or on `backend`.

    kind      the class of the layer, such as GRU, or your subclass of Network; None for any layer. Type checkers then
              know the result
    cells     for cells of your own: a dict from the cell's name to its class. The class is called with the saved
              attributes as keyword arguments

    Nothing that the file names is imported. Loading takes twice the file's size in memory: for the parameters and for
    their gradients. A quantized layer has no gradients, and needs the NumPy backend. Warns if a parameter holds NaN or
    infinity.

    Raises ValueError if the file cannot be read, is damaged or of another kind, holds a layer of another `kind`, if its
    arrays do not fit the layer that it describes, or if `cells` can't make its cell; TypeError if `cells` is not a
    dict.

    >>> save("lstm.safetensors", LSTM.init(3, 8, rng=0))
    >>> load("lstm.safetensors", LSTM)
    LSTM(3 → 8, 384 parameters, float32, numpy)
    """
    check_cells(cells)
    target = get_backend(backend)
    with open_arrays(Path(path), _WANTED) as file:
        arrays = read_arrays(file, "layer", "F32", "F64", "I8")
    warn_of_nan(file.name, arrays)
    with described_by(file, "layer"):
        description = parse_description(file, "layer", _LONGEST)
        moved = {name: target.parameter(arrays.pop(name)) for name in [*arrays]}  # both would take twice the memory
        layer = put_together(description, moved, cells)
    if kind is None or isinstance(layer, kind):
        return layer
    if isinstance(layer, Network) and issubclass(kind, Network):
        try:
            return kind(**layer)
        except (TypeError, ValueError) as error:
            raise FileError(f"{file.name} holds no {kind.__name__}: {error}") from error
    raise FileError(f"{file.name} holds a {kind_of(layer)}: expected a {kind.__name__}; name another file")


# ---- files with a description: the metadata hold it under the name of the kind, "layer" or "checkpoint" ----


def described_content(kind: str, text: str, arrays: Mapping[str, Array], longest: int, remedy: str) -> bytes:
    """The content of a file with this description and these arrays.   Raises ValueError for a longer description."""
    if len(text) > longest:
        raise ValueError(
            f"the description of {kind} has {len(text):,} characters: expected at most {longest:,}; {remedy}"
        )
    on_host = {name: to_numpy(array) for name, array in arrays.items()}
    return arrays_content(on_host, {"format": f"xrnn {kind}", "version": _VERSION, kind: text})


def read_arrays(file: ArrayFile, kind: str, *dtypes: str) -> dict[str, HostArray]:
    """The arrays of a file of this kind, if their dtypes are allowed.   Raises FileError."""
    file.check_format(f"xrnn {kind}", _VERSION)
    file.check_dtypes(*dtypes)
    return file.read()


def parse_description(file: ArrayFile, kind: str, longest: int) -> Description:
    """Raises ValueError if the description is longer, or no JSON object."""
    text = file.metadata.get(kind, "")
    if len(text) > longest:
        raise ValueError(f"{len(text):,} characters: expected at most {longest:,}")
    return parse_object(text)


@contextlib.contextmanager
def described_by(file: ArrayFile, kind: str) -> Iterator[None]:
    """In the block, errors about a description become FileErrors, which name the file."""
    try:
        yield
    except UnknownCellError as error:
        raise FileError(f"{file.name} {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FileError(
            f"{file.name} describes no {kind} that fits its arrays ({quoted(str(error))}): expected {file.wanted}"
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
