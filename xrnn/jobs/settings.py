"""The settings of a training run: what a resumed run must share with the one it continues."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Self

from xrnn.cells import CELLS
from xrnn.files import parse_object, quoted
from xrnn.jobs.errors import SettingsError

_MOST: Final = 2**20
_MOST_LAYERS: Final = 100  # far beyond what still learns; with more, the first step would be long in coming
_MOST_LR: Final = 1000  # far beyond what still learns; float32 holds what a step makes of it
_KINDS: Final[dict[str, Any]] = {"int": int, "float": int | float, "str": str, "bool": bool}


@dataclass(frozen=True, slots=True)
class Settings:
    """Cell, sizes, learning rate and seed, which every job has. Raises SettingsError for values that make no sense."""

    cell: str  # one of CELLS
    hidden: int  # H, of every layer
    layers: int
    batch: int  # N
    lr: float  # Adam's, at its highest
    seed: int

    sizes: ClassVar[tuple[str, ...]] = ("hidden", "layers", "batch")  # whole numbers of at least 1

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise SettingsError(f"--cell is {quoted(self.cell)}: expected one of {', '.join(CELLS)}")
        for name in self.sizes:
            most = _MOST_LAYERS if name == "layers" else _MOST
            if not 1 <= (value := getattr(self, name)) <= most:
                raise SettingsError(f"{option(name)} is {value}: expected a whole number from 1 to {most}")
        if not (math.isfinite(self.lr) and 0 < self.lr <= _MOST_LR):
            raise SettingsError(f"--lr is {self.lr}: expected a positive number up to {_MOST_LR}, such as 0.003")
        if self.seed < 0:
            raise SettingsError(f"--seed is {self.seed}: expected a whole number of at least 0")

    @property
    def model(self) -> str:
        """The model, for people: "2 GRU layers of 64"."""
        return f"{self.layers} {self.cell.upper()} layer{'s' * (self.layers > 1)} of {self.hidden}"

    @property
    def training(self) -> str:
        """How it is trained, for people: "batches of 32; lr 0.003"."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `json.dumps(asdict(settings))` gave, of this version or one before: what it lacks is as by default.

        Raises SettingsError for anything else.
        """
        given = parse_metadata(text)
        kinds = {field.name: str(field.type) for field in fields(cls)}
        for name, value in given.items():
            if name not in kinds:
                raise SettingsError(f"{name} is unknown: expected {', '.join(kinds)}")
            if not isinstance(value, _KINDS[kinds[name]]) or isinstance(value, bool) != (kinds[name] == "bool"):
                raise SettingsError(f"{name} is a {type(value).__name__}: expected {kinds[name]}")
        try:
            return cls(**given)
        except OverflowError as error:  # JSON has integers that no float holds
            raise SettingsError(f"they hold a number that is too large ({error}): expected a float") from error


def parse_metadata(text: str) -> dict[str, Any]:
    """The object in JSON out of a checkpoint's metadata: `parse_object`.   Raises SettingsError."""
    try:
        return parse_object(text)
    except ValueError as error:
        raise SettingsError(f"they are {error}: expected an object") from error


def option(name: str) -> str:
    """The command-line option of a setting."""
    return f"--{name.replace('_', '-')}"
