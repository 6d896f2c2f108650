"""A snapshot of a training run, and its file: one of `xrnn.save_checkpoint`, whose `extra` holds

job           the kind of model: "xrnn series classifier"
settings      of the training, by name
facts         the properties of the data that the model depends on
fingerprint   of the data
arrays        the losses and other arrays of the kind, by name
upto          the requested length of the training in epochs or steps; absent for the default length
feature_names the names of the columns of the DataFrame that an estimator was fitted to; absent if there are none
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import numpy as np

from xrnn.backend import Backend
from xrnn.exchange.checkpoint import (
    Checkpoint,
    checkpoint_content,
    describe_all,
    make_checkpoint,
    peek,
    read_checkpoint,
)
from xrnn.exchange.description import canonical
from xrnn.files import ArrayFile, FileError, open_arrays, quoted
from xrnn.models.errors import CheckpointError, SettingsError
from xrnn.models.plan import Plan
from xrnn.models.settings import Settings, are_strings, check_object
from xrnn.optim import Adam
from xrnn.select import get_backend, to_numpy
from xrnn.typing import Array, HostArray, Shape

_MAX_LOSS: Final = 1e39  # above the largest float32
_MIN_LOSS: Final = -1e-5  # rounding can bring the loss of a perfect prediction below 0

S = TypeVar("S", bound=Settings)


Spec: TypeAlias = tuple[Shape, str]  # the shape and the dtype of an array


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Generic[S]):
    """The state of a run. Layers and optimizer are those of the trainer: the next update changes them.

    layers      the model's, by name; with early stopping, those of the best epoch too, as `best.NAME`
    optimizer   of the model's layers; its number of updates is the step of the run
    arrays      on the host: `losses`, one per update, and other arrays of the kind
    facts       a dataclass of the properties of the data that the model depends on; None if there are none
    upto        the requested length of the training, in epochs or steps; None for the default length
    feature_names   the columns of the DataFrame that an estimator was fitted to; None if they have no names
    """

    settings: S
    fingerprint: str  # of the data
    layers: dict[str, Any]
    optimizer: Adam
    arrays: dict[str, HostArray]
    facts: Any = None
    upto: int | None = None
    feature_names: tuple[str, ...] | None = None

    @property
    def step(self) -> int:
        return self.optimizer.steps

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and pickles, which are portable: the arrays are stored on the host."""
        saved: dict[str, Array] = {}
        description = describe_all(self.layers, self.optimizer, saved)
        on_host = {name: to_numpy(array) for name, array in saved.items()}
        others = {each.name: getattr(self, each.name) for each in fields(self)}
        del others["layers"], others["optimizer"]
        return _unpickled, (description, on_host, others)


def _unpickled(description: dict[str, Any], saved: dict[str, HostArray], others: dict[str, Any]) -> Snapshot[Any]:
    """The snapshot of a pickle, on the selected backend."""
    # joblib may give views of its file, numpy.memmap, in place of arrays.
    plain = {name: np.array(array) for name, array in saved.items()}
    c = make_checkpoint(description | {"extra": {"dict": {}}}, plain, get_backend())
    return Snapshot(layers=dict(c.layers), optimizer=c.optimizer, **others)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """A kind of model. It writes and reads the files of the kind."""

    name: str  # `job` in the file: "xrnn forecaster"
    writer: str  # what writes the files, for errors: "xrnn forecast"
    settings: type[S]
    plan: Callable[[S, Any], Plan]  # (settings, facts) → the plan of the model; raises SettingsError
    arrays: Callable[[S, Any, int], dict[str, Spec]]  # (settings, facts, step) → the arrays of a snapshot
    facts: Callable[[Any], Any] | None = None  # parsed JSON → the facts; raises SettingsError

    def content(self, snapshot: Snapshot[S]) -> bytes:
        """The content of the file with `snapshot`."""
        extra: dict[str, Any] = {
            "job": self.name,
            "settings": asdict(snapshot.settings),
            "fingerprint": snapshot.fingerprint,
            "arrays": snapshot.arrays,
        }
        if self.facts:
            extra["facts"] = json.loads(json.dumps(asdict(snapshot.facts)))  # lists in place of tuples
        if snapshot.upto is not None:
            extra["upto"] = snapshot.upto
        if snapshot.feature_names is not None:
            extra["feature_names"] = list(snapshot.feature_names)
        return checkpoint_content(snapshot.layers, snapshot.optimizer, extra)

    def load(self, path: Path, backend: Backend | None = None) -> Snapshot[S]:
        """The snapshot in `path`, with its layers and its optimizer on `backend`; None for the selected one.

        Raises CheckpointError if the file can't be read, is truncated, altered, of another version or of another kind,
        or if its content does not fit its settings, facts and step.
        """
        try:
            with open_arrays(path, self._wanted) as file:
                return self._read(file, backend or get_backend())
        except FileError as error:
            raise CheckpointError(str(error)) from error

    def wrote(self, path: Path) -> bool:
        """Whether `path` is a file of this kind, according to its header."""
        try:
            return kind_in(path, self._wanted) == self.name
        except CheckpointError:
            return False

    @property
    def _remedy(self) -> str:
        return f"name a file that `{self.writer}` wrote"

    @property
    def _wanted(self) -> str:
        return f"a checkpoint; {self._remedy}"

    def _read(self, file: ArrayFile, backend: Backend) -> Snapshot[S]:
        if (kind := _kind_in(file)) != self.name:
            got = f"format {quoted(kind)}" if kind else "no format of xrnn"
            raise FileError(f"{file.name} has {got}: expected {self._wanted}")
        checkpoint = read_checkpoint(file, backend)
        extra = checkpoint.extra
        settings = self._parsed(file.name, "settings", extra, self._settings)
        facts = self._parsed(file.name, "facts", extra, self.facts) if self.facts else None
        plan = self._parsed(file.name, "facts", extra, lambda value: self.plan(settings, facts))
        upto = self._parsed(file.name, "upto", extra, _upto)
        names = self._parsed(file.name, "feature_names", extra, _feature_names)
        self._check(file.name, checkpoint, settings, facts, plan)
        fingerprint, arrays = str(extra.get("fingerprint", "")), extra["arrays"]
        layers, optimizer = dict(checkpoint.layers), checkpoint.optimizer
        return Snapshot(settings, fingerprint, layers, optimizer, arrays, facts, upto, names)

    def _settings(self, value: Any) -> S:
        if missing := {each.name for each in fields(self.settings)} - check_object(value).keys():
            raise SettingsError(f"{min(missing)} is missing: expected all settings")
        return self.settings.of(value)

    def _parsed(self, name: str, part: str, extra: Mapping[str, Any], parse: Callable[[Any], Any]) -> Any:
        try:
            return parse(extra.get(part))
        except SettingsError as error:
            raise CheckpointError(f"{name} has invalid {part} ({quoted(str(error))}); {self._remedy}") from error

    def _check(self, name: str, checkpoint: Checkpoint, settings: S, facts: Any, plan: Plan) -> None:
        """Reject content that no run of the kind can produce.   Raises CheckpointError."""

        def refuse(problem: str) -> NoReturn:
            raise CheckpointError(f"{name} {problem}; {self._remedy}")

        optimizer: Any = checkpoint.optimizer
        arrays: Any = checkpoint.extra.get("arrays")
        saved: dict[str, Array] = {}
        described = canonical(describe_all(checkpoint.layers, optimizer, saved))
        if not isinstance(optimizer, Adam) or described != canonical(_expected(settings, plan, optimizer)):
            refuse("holds other layers or another optimizer than its settings describe: expected those")
        params = [(key, param) for key, param in saved.items() if key.startswith("layers.")]
        for (key, param), shape in zip(params, itertools.cycle(plan.shapes), strict=False):
            if (param.shape, param.dtype.name) != (shape, "float32"):
                refuse(f"holds {key} as {param.dtype} {param.shape}: expected float32 {shape} by its settings")
        specs = self.arrays(settings, facts, optimizer.steps)
        if not isinstance(arrays, dict) or arrays.keys() != specs.keys():
            odd = min(specs.keys() ^ arrays.keys()) if isinstance(arrays, dict) else "losses"
            refuse(f"{'lacks' if odd in specs else 'has'} an array {quoted(odd)}: expected {', '.join(specs)}")
        for key, (shape, dtype) in specs.items():
            found = arrays[key]
            if not isinstance(found, np.ndarray) or (found.shape, found.dtype.name) != (shape, dtype):
                got = f"{getattr(found, 'dtype', '')} {np.shape(found)}"
                refuse(f"holds {key} as {got}: expected {dtype} {shape}, as its settings describe")
        for key, array in ({key: to_numpy(array) for key, array in saved.items()} | arrays).items():
            if not np.isfinite(array).all():
                refuse(f"holds {key} with NaN or infinity: expected finite numbers")
            if key.startswith("optimizer.0.v.") and (array < 0).any():
                refuse(f"holds a negative {key}: expected a mean of squares")
        if not ((arrays["losses"] >= _MIN_LOSS) & (arrays["losses"] <= _MAX_LOSS)).all():
            refuse(f"holds losses out of range: expected 0 to {_MAX_LOSS:g}")


def _expected(settings: Settings, plan: Plan, saved: Adam) -> dict[str, Any]:
    """The description of the layers and the optimizer that a run saves after as many updates as `saved`."""
    layers = plan.example(saved.steps)
    optimizer = settings.optimizer([layer for name, layer in layers.items() if not name.startswith("best.")])
    optimizer.steps, optimizer.lr = saved.steps, saved.lr
    return describe_all(layers, optimizer, {})


def _upto(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise SettingsError(f"{quoted(repr(value))}: expected a whole number of at least 1")
    return value


def _feature_names(value: Any) -> tuple[str, ...] | None:
    if value is not None and not are_strings(value):
        raise SettingsError("they are not a list of strings: expected one")
    return None if value is None else tuple(value)


def kind_in(path: Path, wanted: str) -> str:
    """The name of the kind of model in the checkpoint at `path`, according to its header; for another file, its format.

    Raises CheckpointError if the file can't be read; `wanted` is the expected content and the remedy.
    """
    try:
        with open_arrays(path, wanted) as file:
            return _kind_in(file)
    except FileError as error:
        raise CheckpointError(str(error)) from error


def _kind_in(file: ArrayFile) -> str:
    return str(peek(file, "job") or file.metadata.get("format", ""))
