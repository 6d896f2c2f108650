"""Checkpoints: a Snapshot in a safetensors file, whose header is checked before its arrays are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import numpy as np

from xrnn.files import ArrayFile, FileError, Spec, open_arrays, quoted, replace_file, write_arrays
from xrnn.jobs.errors import CheckpointError, OutputError, SettingsError
from xrnn.jobs.settings import Settings, parse_metadata
from xrnn.typing import HostArray

_VERSION: Final = "1"
_MAX_LOSS: Final = 1e39  # above the largest float32
_MIN_LOSS: Final = -1e-5  # rounding can bring the loss of a perfect prediction below 0

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """Name and hash of the picture that a run drew. A resumed run may replace only this file."""

    name: str
    sha256: str

    @classmethod
    def of(cls, path: Path, content: bytes) -> Self:
        return cls(path.name, hashlib.sha256(content).hexdigest())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `json.dumps(asdict(record))`.   Raises SettingsError for any other text."""
        given = parse_metadata(text)
        if given.keys() != {"name", "sha256"} or not all(isinstance(value, str) for value in given.values()):
            raise SettingsError("another object: expected the strings name, sha256")
        return cls(**given)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Generic[S]):
    """The complete state of a run.

    facts    a dataclass of the properties of the data that the model depends on; None if there are none
    arrays   on the host: `model.*` the weights, `adam.m.*` and `adam.v.*` their moments, `losses` one per update,
             and the job's own state
    picture  the last picture that the run drew
    """

    settings: S
    fingerprint: str  # of the data
    step: int
    arrays: dict[str, HostArray]
    facts: Any = None
    picture: PictureRecord | None = None

    @property
    def params(self) -> dict[str, HostArray]:
        """The model's parameters by name."""
        return {name.removeprefix("model."): a for name, a in self.arrays.items() if name.startswith("model.")}


def common_specs(shapes: dict[str, tuple[int, ...]], step: int) -> dict[str, Spec]:
    """The arrays that the snapshot of every job holds at that step.   shapes: those of the model's parameters."""
    kinds = ("model", "adam.m", "adam.v")
    specs = {f"{kind}.{name}": Spec(shape) for kind in kinds for name, shape in shapes.items()}
    return specs | {"losses": Spec((step,), "float64")}


@dataclass(frozen=True, slots=True)
class Checkpoints(Generic[S]):
    """Writes and reads the checkpoints of one job."""

    format: str  # in the metadata: "xrnn character model"
    command: str  # that writes the checkpoints: "xrnn train"
    settings: type[S]
    specs: Callable[[S, Any, int], dict[str, Spec]]  # (settings, facts, step) → the arrays of a snapshot
    facts: Callable[[str], Any] | None = None  # JSON → the facts; raises SettingsError

    def save(self, path: Path, snapshot: Snapshot[S], write: Callable[[Path, bytes], None] = replace_file) -> None:
        """Write `snapshot` to `path` by `write`.   Raises OutputError."""
        metadata = {
            "format": self.format,
            "version": _VERSION,
            "settings": json.dumps(asdict(snapshot.settings)),
            "fingerprint": snapshot.fingerprint,
            "step": str(snapshot.step),
        }
        if self.facts:
            metadata["facts"] = json.dumps(asdict(snapshot.facts))
        if snapshot.picture:
            metadata["picture"] = json.dumps(asdict(snapshot.picture))
        try:
            write_arrays(path, snapshot.arrays, metadata, write)
        except OSError as error:
            raise OutputError(
                f"can't write {path} ({error.strerror}): expected free space and permission; the old file is unchanged"
            ) from error

    def load(self, path: Path) -> Snapshot[S]:
        """The snapshot in `path`.

        Raises CheckpointError if the file can't be read, is truncated, altered, of another version or of another job,
        or if its arrays do not fit its settings, facts and step.
        """
        try:
            with open_arrays(path, self._wanted) as file:
                return self._read(file)
        except FileError as error:
            raise CheckpointError(str(error)) from error

    def wrote(self, path: Path) -> bool:
        """Whether `path` is a checkpoint of this job, according to its header."""
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
        picture = self._parsed(name, "picture", metadata, PictureRecord.from_json) if "picture" in metadata else None
        step = metadata.get("step", "none")
        if not re.fullmatch("0|[1-9][0-9]{0,14}", step):
            raise CheckpointError(
                f"{name} has step {quoted(step)}: expected a whole number of at least 0; {self._remedy}"
            )
        file.check(self.specs(settings, facts, int(step)))
        arrays = file.read()
        self._check(name, arrays)
        return Snapshot(settings, metadata.get("fingerprint", ""), int(step), arrays, facts, picture)

    def _parsed(self, name: str, part: str, metadata: dict[str, str], parse: Callable[[str], Any]) -> Any:
        try:
            return parse(metadata.get(part, ""))
        except SettingsError as error:
            raise CheckpointError(f"{name} has invalid {part} ({quoted(str(error))}); {self._remedy}") from error

    def _check(self, name: str, arrays: dict[str, HostArray]) -> None:
        """Reject values that no run can produce.   Raises CheckpointError."""
        for array_name, array in arrays.items():
            if not np.isfinite(array).all():
                raise CheckpointError(
                    f"{name} holds {array_name} with NaN or infinity: expected finite numbers; {self._remedy}"
                )
            if array_name == "losses" and not ((array >= _MIN_LOSS) & (array <= _MAX_LOSS)).all():
                raise CheckpointError(f"{name} holds losses out of range: expected 0 to {_MAX_LOSS:g}; {self._remedy}")
            if array_name.startswith("adam.v.") and (array < 0).any():
                raise CheckpointError(
                    f"{name} holds a negative {array_name}: expected a mean of squares; {self._remedy}"
                )
