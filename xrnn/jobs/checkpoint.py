"""Checkpoints: a Snapshot in a safetensors file, checked against its own settings before its arrays are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np

from xrnn.files import ArrayFile, FileError, Spec, open_arrays, quoted, replace_file, write_arrays
from xrnn.jobs.errors import CheckpointError, OutputError, SettingsError
from xrnn.jobs.settings import Settings
from xrnn.typing import HostArray

_VERSION: Final = "1"
_MOST_LOSS: Final = 1e39  # the largest float32, in nats, comes to half of that in bits
_ROUNDING: Final = 1e-5  # how far below 0 the loss of a perfect prediction may be

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Generic[S]):
    """Everything that the rest of a run depends on.

    facts    what the model had to know of its data before it was made, as a dataclass; None where there is nothing
    arrays   on the host: `model.*` the weights, `adam.m.*` and `adam.v.*` their moments, `losses` of every step so far,
             and what else the job carries from step to step
    """

    settings: S
    fingerprint: str  # of the data
    step: int
    arrays: dict[str, HostArray]
    facts: Any = None

    @property
    def params(self) -> dict[str, HostArray]:
        """The model's parameters by name."""
        return {name.removeprefix("model."): a for name, a in self.arrays.items() if name.startswith("model.")}


def common_specs(shapes: dict[str, tuple[int, ...]], step: int) -> dict[str, Spec]:
    """What every job's snapshot holds at that step, by the shapes of its parameters."""
    kinds = ("model", "adam.m", "adam.v")
    specs = {f"{kind}.{name}": Spec(shape) for kind in kinds for name, shape in shapes.items()}
    return specs | {"losses": Spec((step,), "float64")}


@dataclass(frozen=True, slots=True)
class Checkpoints(Generic[S]):
    """The checkpoints that one job writes, and how they are told from others."""

    format: str  # in their metadata: "xrnn character model"
    command: str  # that writes them: "xrnn train"
    settings: type[S]
    specs: Callable[[S, Any, int], dict[str, Spec]]  # of the settings, the facts and the step
    facts: Callable[[str], Any] | None = None  # of their JSON; raises SettingsError

    def save(self, path: Path, snapshot: Snapshot[S], put: Callable[[Path, bytes], None] = replace_file) -> None:
        """`put` `snapshot` at `path`: whoever looks there, at any moment, finds the last whole checkpoint or this one.

        Raises OutputError where it can't be written.
        """
        metadata = {
            "format": self.format,
            "version": _VERSION,
            "settings": json.dumps(asdict(snapshot.settings)),
            "fingerprint": snapshot.fingerprint,
            "step": str(snapshot.step),
        }
        if self.facts:
            metadata["facts"] = json.dumps(asdict(snapshot.facts))
        try:
            write_arrays(path, snapshot.arrays, metadata, put)
        except OSError as error:
            raise OutputError(
                f"can't write {path} ({error.strerror}): expected room and permission there; what it held still stands"
            ) from error

    def load(self, path: Path) -> Snapshot[S]:
        """The snapshot in `path`.

        Raises CheckpointError for a file that can't be read, is truncated, altered, of another version or no
        checkpoint of this job, and for one whose arrays are not those that its settings, facts and step ask for,
        whoever wrote it.
        """
        try:
            with open_arrays(path, self._wanted) as file:
                return self._read(file)
        except FileError as error:
            raise CheckpointError(str(error)) from error

    def wrote(self, path: Path) -> bool:
        """Whether `save` wrote what is at `path`, by its header."""
        try:
            with open_arrays(path, self._wanted) as file:
                return file.metadata.get("format") == self.format
        except FileError:
            return False

    @property
    def _remedy(self) -> str:
        return f"name a file that `{self.command}` wrote"

    @property
    def _wanted(self) -> str:
        return f"a checkpoint; {self._remedy}"

    def _read(self, file: ArrayFile) -> Snapshot[S]:
        name, metadata = file.name, file.metadata
        file.check_format(self.format, _VERSION)
        settings = self._parsed(name, "settings", metadata, self.settings.from_json)
        facts = self._parsed(name, "facts", metadata, self.facts) if self.facts else None
        step = metadata.get("step", "none")
        if not re.fullmatch("0|[1-9][0-9]{0,14}", step):
            raise CheckpointError(
                f"{name} has step {quoted(step)}: expected a whole number of at least 0; {self._remedy}"
            )
        file.check(self.specs(settings, facts, int(step)))
        arrays = file.read()
        self._check(name, arrays)
        return Snapshot(settings, metadata.get("fingerprint", ""), int(step), arrays, facts)

    def _parsed(self, name: str, part: str, metadata: dict[str, str], parse: Callable[[str], Any]) -> Any:
        try:
            return parse(metadata.get(part, ""))
        except SettingsError as error:
            raise CheckpointError(f"{name} has {part} of no run ({quoted(str(error))}); {self._remedy}") from error

    def _check(self, name: str, arrays: dict[str, HostArray]) -> None:
        """Refuse values that no run can have.   Raises CheckpointError."""
        for array_name, array in arrays.items():
            if not np.isfinite(array).all():
                raise CheckpointError(
                    f"{name} holds {array_name} with NaN or infinity: expected finite numbers; {self._remedy}"
                )
            if array_name == "losses" and not ((array >= -_ROUNDING) & (array <= _MOST_LOSS)).all():
                raise CheckpointError(f"{name} holds losses of no run: expected 0 to {_MOST_LOSS:g}; {self._remedy}")
            if array_name.startswith("adam.v.") and (array < 0).any():
                raise CheckpointError(
                    f"{name} holds a negative {array_name}: expected a mean of squares; {self._remedy}"
                )
