"""A recurrent layer from the state dict of a PyTorch module, and state dicts from layers, in .pt files."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xrnn.backend import Backend
from xrnn.exchange.model import model_of, unflattened
from xrnn.exchange.torch import from_torch, import_torch, to_torch
from xrnn.files import FileError, printable, quoted, read_regular, write_own

_WANTED: Final = "a state dict; write one by torch.save(module.state_dict(), path)"
_MODES: Final = {1: "RNN", 3: "GRU", 4: "LSTM"}  # by the number of gates
_FIRST: Final = "weight_ih_l0"


def read_state(path: Path, prefix: str = "", nonlinearity: str = "tanh", backend: str | Backend | None = None) -> Any:
    """The layer of a torch.nn.RNN, LSTM or GRU whose state dict is in a .pt file.

    prefix         the beginning of the keys: "encoder.rnn."
    nonlinearity   of an RNN, which the file does not say

    The file is read with `weights_only=True`. Warns of entries that do not belong to the module. Raises FileError
    for other files; ImportError without PyTorch.
    """
    torch, name = import_torch("a .pt file"), printable(str(path))
    content = read_regular(path, f"can't read {name}", _WANTED)
    state = _loaded(torch, content, name)
    others = [quoted(key) for key in state if not key.startswith(prefix)]
    mine = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    # A tensor may repeat one stored element (stride 0).
    tensors = [value for value in mine.values() if isinstance(value, torch.Tensor)]
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors) > len(content):
        raise FileError(f"{name} has tensors that are larger than the file: expected {_WANTED}")
    weight: Any = mine.get(_FIRST)
    if weight is None:
        found = sorted(quoted(key.removesuffix(_FIRST)) for key in state if key.endswith(_FIRST))
        remedy = f"use --prefix {' or '.join(found[:4])}" if found else "name the state dict of an RNN, LSTM or GRU"
        raise FileError(f"{name} has no '{quoted(prefix)}{_FIRST}': expected a recurrent module; {remedy}")
    recurrent: Any = mine.get("weight_hh_l0")
    if not all(getattr(each, "ndim", 0) == 2 and each.numel() for each in (weight, recurrent)):
        raise FileError(
            f"{name} has weights that are no matrices: expected those of an RNN, LSTM or GRU; use another copy"
        )
    (rows, D), H = weight.shape, recurrent.shape[1]
    if rows % H or rows // H not in _MODES:
        raise FileError(f"{name} has {_FIRST} of shape {tuple(weight.shape)}: expected 1, 3 or 4 times {H} rows")
    kind = _MODES[rows // H]
    depth = len([key for key in mine if re.fullmatch(r"weight_ih_l\d+", key)])
    options = {"bidirectional": f"{_FIRST}_reverse" in mine, "bias": "bias_ih_l0" in mine}
    more = {"nonlinearity": nonlinearity} if kind == "RNN" else {}
    # On the device meta, no memory is allocated for the sizes that the file claims; `load_state_dict` checks them.
    try:
        module = getattr(torch.nn, kind)(D, H, depth, **options, **more, dtype=weight.dtype, device="meta")
        module.load_state_dict(mine, assign=True)
        layer = from_torch(module, backend=backend)
    except (RuntimeError, TypeError, ValueError) as error:
        got = quoted(textwrap.shorten(str(error), 200, placeholder=" …"))
        raise FileError(f"{name} holds no {kind} of {depth} layers ({got}): expected {_WANTED}") from error
    if others:
        shown = ", ".join([*others[:8], f"{len(others) - 8} more"] if len(others) > 8 else others)
        warnings.warn(f"left out of {name}: {shown}; convert these modules by xrnn.from_torch", stacklevel=2)
    return layer


def _loaded(torch: Any, content: bytes, name: str) -> Mapping[str, Any]:
    try:
        # A compressed archive may be far larger than the file; torch.save does not compress.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.endswith("/constants.pkl") for entry in archive.namelist()):
                raise ValueError("it holds TorchScript")
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise ValueError("compressed data")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or forged file: zipfile and PyTorch raise errors of any kind
        got = quoted(textwrap.shorten(str(error), 80, placeholder=" …"))
        if "GLOBAL" in str(error):
            got = "it holds a whole model, or other Python objects"
        raise FileError(f"{name} can't be loaded with weights_only=True ({got}): expected {_WANTED}") from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise FileError(f"{name} holds a {type(state).__name__}: expected {_WANTED}")
    return state


def write_state(layers: Any, path: Path, *, overwrite: bool) -> None:
    """Write the state dict of a layer; for several, that of a torch.nn.Sequential: `0.weight`, `1.weight_ih_l0`.

    The file has no mark: an existing one is replaced only with `overwrite`.
    """
    torch = import_torch("a .pt file")
    made = unflattened(model_of(layers).layers)
    modules = made if isinstance(made, list) else [made]
    states = [to_torch(layer).state_dict() for layer in modules]
    prefixes = [f"{i}." for i in range(len(states))] if len(states) > 1 else [""]
    whole = {
        f"{prefix}{key}": value for prefix, state in zip(prefixes, states, strict=True) for key, value in state.items()
    }
    content = io.BytesIO()
    torch.save(whole, content)
    write_own(path, content.getvalue(), "xrnn", lambda _: False, overwrite=overwrite)
