"""The file of a fitted estimator: one of `xrnn.save_checkpoint`, whose `extra` holds

job      the kind of the estimator: "xrnn series classifier"
params   the parameters of the constructor, by name
learnt   the attributes that `fit` has learnt, by name, without arrays
arrays   the others: the losses, the scale of the channels, the linear part of a forecaster
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from xrnn.exchange.checkpoint import checkpoint_content, describe_all, peek, read_checkpoint
from xrnn.exchange.description import canonical
from xrnn.files import ArrayFile, FileError, open_arrays, quoted
from xrnn.select import get_backend, to_numpy
from xrnn.series.errors import CheckpointError, SettingsError
from xrnn.series.plan import LinearPlan, Plan
from xrnn.typing import HostArray, Shape

_MAX_LOSS: Final = 1e39  # above the largest float32
_MIN_LOSS: Final = -1e-5  # rounding can bring the loss of a perfect prediction below 0


class Content(NamedTuple):
    """The content of a file, by name."""

    params: dict[str, Any]
    learnt: dict[str, Any]
    arrays: dict[str, HostArray]
    layers: Mapping[str, Any]


def content_of(job: str, content: Content) -> bytes:
    """The bytes of the file."""
    extra = {"job": job, "params": content.params, "learnt": content.learnt, "arrays": content.arrays}
    return checkpoint_content(content.layers, None, extra)


class Reader:
    """Reads a file, and refuses content that no `fit` of the kind can produce.

    remedy   for errors: "name a file that …"
    """

    def __init__(self, path: Path, job: str, remedy: str) -> None:
        """Raises CheckpointError if the file can't be read, is damaged, or of another kind."""
        self._remedy, wanted = remedy, f"a checkpoint; {remedy}"
        try:
            with open_arrays(path, wanted) as file:
                self.name = file.name
                if (kind := _kind_in(file)) != job:
                    got = f"format {quoted(kind)}" if kind else "no format of xrnn"
                    raise FileError(f"{file.name} has {got}: expected {wanted}")
                checkpoint = read_checkpoint(file, get_backend())
        except FileError as error:
            raise CheckpointError(str(error)) from error
        extra = checkpoint.extra
        for part in ("params", "learnt", "arrays"):
            if not isinstance(extra.get(part), dict):
                self.refuse(f"has invalid {part} (a {type(extra.get(part)).__name__}: expected an object)")
        if checkpoint.optimizer is not None:
            self.refuse("holds an optimizer: expected layers only")
        self.content = Content(extra["params"], extra["learnt"], extra["arrays"], dict(checkpoint.layers))

    def refuse(self, problem: str) -> NoReturn:
        """Raises CheckpointError."""
        raise CheckpointError(f"{self.name} {problem}; {self._remedy}")

    def invalid(self, part: str, error: SettingsError) -> NoReturn:
        """Raises CheckpointError for a part, "params" or "learnt"."""
        raise CheckpointError(f"{self.name} has invalid {part} ({quoted(str(error))}); {self._remedy}") from error

    def check(self, plan: Plan | LinearPlan | None, shapes: Mapping[str, Shape]) -> None:
        """Compare the layers with the plan, and the arrays with their shapes; -1 is any size.

        Raises CheckpointError.
        """
        saved: dict[str, Any] = {}
        arrays = self.content.arrays
        described = canonical(describe_all(self.content.layers, None, saved))
        if described != canonical(describe_all(plan.example() if plan else {}, None, {})):
            self.refuse("holds other layers than its parameters describe: expected those")
        for (key, each), shape in zip(saved.items(), itertools.cycle(plan.shapes if plan else []), strict=False):
            if (each.shape, each.dtype.name) != (shape, "float32"):
                self.refuse(f"holds {key} as {each.dtype} {each.shape}: expected float32 {shape} by its parameters")
        if odd := sorted(shapes.keys() ^ arrays.keys()):
            has = "lacks" if odd[0] in shapes else "has"
            self.refuse(f"{has} an array {quoted(odd[0])}: expected {', '.join(shapes)}")
        for key, shape in shapes.items():
            found = arrays[key]
            fits = isinstance(found, np.ndarray) and found.dtype == "float64" and found.ndim == len(shape)
            if not fits or any(expected not in (-1, size) for expected, size in zip(shape, found.shape, strict=True)):
                got = f"{getattr(found, 'dtype', '')} {np.shape(found)}"
                self.refuse(f"holds {key} as {got}: expected float64 {shape}, as its parameters describe")
        for key, array in ({key: to_numpy(array) for key, array in saved.items()} | arrays).items():
            if not np.isfinite(array).all():
                self.refuse(f"holds {key} with NaN or infinity: expected finite numbers")
        if "losses" in shapes and not ((arrays["losses"] >= _MIN_LOSS) & (arrays["losses"] <= _MAX_LOSS)).all():
            self.refuse(f"holds losses out of range: expected 0 to {_MAX_LOSS:g}")


def kind_in(path: Path, wanted: str) -> str:
    """The kind of the estimator in the checkpoint at `path`, according to its header; for another file, its format.

    Raises CheckpointError if the file can't be read; `wanted` is the expected content and the remedy.
    """
    try:
        with open_arrays(path, wanted) as file:
            return _kind_in(file)
    except FileError as error:
        raise CheckpointError(str(error)) from error


def _kind_in(file: ArrayFile) -> str:
    return str(peek(file, "job") or file.metadata.get("format", ""))
