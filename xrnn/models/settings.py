"""The settings of a training run: a resumed run has the same settings as the run that it continues."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from xrnn.cells import CELLS, cell_of
from xrnn.files import quoted
from xrnn.models.errors import SettingsError, param
from xrnn.optim import Adam

_MAX_SIZE: Final = 2**20
_MAX_LAYERS: Final = 100  # far more than can be trained; with more, the first step would take very long
_MAX_LR: Final = 1000  # far more than can be trained with; an update of this size still fits float32
_KINDS: Final[dict[str, Any]] = {"int": int, "float": int | float, "str": str, "bool": bool}


def setting(
    default: Any,
    help: str,
    expected: str | Callable[[], str],
    valid: Callable[[Any], bool],
    metavar: str | None = None,
) -> Any:
    """A dataclass field that is a setting; the command line makes an option of it.

    help      one line for `--help`
    expected  the valid values in words, for an error: "a positive number"; or a function that returns them
    valid     tells whether a value of the field's type is valid
    metavar   the placeholder for the value in `--help`, for other types than int and float
    """
    return field(default=default, metadata={"help": help, "expected": expected, "valid": valid, "metavar": metavar})


def switch(help: str) -> Any:
    """A setting that is off unless its option is given."""
    return setting(False, help, "true or false", lambda value: True)


def size(default: int, help: str, most: int = _MAX_SIZE) -> Any:
    """A setting that is a whole number from 1 to `most`."""
    return setting(default, help, f"a whole number from 1 to {most}", lambda value: 1 <= value <= most)


def probability(default: float, help: str) -> Any:
    """A setting that is a probability below 1."""
    return setting(default, help, f"a probability in [0, 1), such as {default}", lambda value: 0 <= value < 1)


def amount(default: float, help: str) -> Any:
    """A setting that is a number from 0 to 1000."""
    return setting(default, help, f"a number from 0 to 1000, such as {default}", lambda value: 0 <= value <= 1000)


def rate(default: float) -> Any:
    """The setting of the learning rate."""
    return setting(
        default,
        "Highest learning rate of Adam.",
        f"a positive number up to {_MAX_LR}, such as {default}",
        lambda value: math.isfinite(value) and 0 < value <= _MAX_LR,
    )


def cell(default: str) -> Any:
    """The setting that names the recurrent layers."""
    help = "Type of the recurrent layers."
    return setting(default, help, lambda: f"one of {', '.join(CELLS)}", lambda value: value in CELLS, "|".join(CELLS))


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of every kind of model. A kind adds its own, and may give these another default or help.

    Each field is made by `setting`, which holds its default, its valid values and the help of its option.
    Raises SettingsError for invalid values.
    """

    cell: str = cell("gru")
    hidden: int = size(64, "Size of the hidden state, H.")
    heads: int = size(1, "Number of heads. Wh connects only units of the same head, so it has 1/N of the weights.")
    layers: int = size(1, "Number of recurrent layers.", _MAX_LAYERS)
    batch: int = size(32, "Batch size, N.")
    lr: float = rate(0.003)
    seed: int = setting(0, "Seed of all random draws.", "a whole number of at least 0", lambda value: bool(value >= 0))

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not each.metadata["valid"](value):
                got = quoted(value) if isinstance(value, str) else value
                expected = each.metadata["expected"]
                raise SettingsError(
                    f"{param(each.name)} is {got}: expected {expected() if callable(expected) else expected}"
                )

        cell = cell_of(self.cell)
        if self.hidden % self.heads or (self.heads > 1 and (cell.recurs or not cell.from_h)):
            raise SettingsError(
                f"{param('heads')} is {self.heads}, with {param('cell')} {self.cell} of {self.hidden}: expected a "
                f"number that divides {param('hidden')}, and a cell whose recurrent term is h @ Wh; use 1"
            )

    @property
    def architecture(self) -> str:
        """A description of the model: "2 GRU layers of 64"."""
        layers, of = f"{CELLS[self.cell].__name__} layer{'s' * (self.layers > 1)}", str(self.hidden)
        if self.heads > 1:
            of += f" in {self.heads} heads"
        return f"{self.layers} {self.direction}{layers} of {of}"

    @property
    def heads_of_plan(self) -> int | None:
        """The heads for the plan: None, an ordinary matrix, for one."""
        return self.heads if self.heads > 1 else None

    @property
    def direction(self) -> str:
        """The word for it in `architecture`, with a space after it; "" for layers that run forward only."""
        return ""

    @property
    def training(self) -> str:
        """A description of its training: "batches of 32; lr 0.003"."""
        raise NotImplementedError

    def optimizer(self, layers: Iterable[Any]) -> Adam:
        """The optimizer of the training."""
        return Adam(layers, self.lr)

    @classmethod
    def of(cls, given: Any) -> Self:
        """The settings with the values in a dict, whose types are checked; others get their defaults.

        Raises SettingsError.
        """
        kinds = {each.name: str(each.type) for each in fields(cls)}
        for name, value in check_object(given).items():
            if name not in kinds:
                raise SettingsError(f"{name} is unknown: expected {', '.join(kinds)}")
            if not isinstance(value, _KINDS[kinds[name]]) or isinstance(value, bool) != (kinds[name] == "bool"):
                raise SettingsError(f"{name} is a {type(value).__name__}: expected {kinds[name]}")
        try:
            return cls(**given)
        except OverflowError as error:  # JSON has integers that no float holds
            raise SettingsError(f"a number is too large ({error}): expected a float") from error


def check_object(value: Any) -> dict[str, Any]:
    """`value`, if it is a JSON object.   Raises SettingsError."""
    if not isinstance(value, dict):
        raise SettingsError(f"a {type(value).__name__}: expected an object")
    return value


def are_strings(value: Any) -> bool:
    """True for a list of strings."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


# ---- how to read .csv files ----


def column(help: str, metavar: str = "COLUMN") -> Any:
    """A setting that names columns of .csv files."""
    return setting("", help, "a column", lambda value: True, metavar)


def decimal() -> Any:
    return setting(".", "Decimal point in .csv files.", ". or ,", lambda value: value in (".", ","), ".|,")


def encoding() -> Any:
    def valid(value: str) -> bool:
        try:
            "".encode(value or "utf-8")
        except (LookupError, UnicodeError):
            return False
        return True

    help = "Encoding of .csv and .ts files. Default: UTF-8, or UTF-16 with its mark; else cp1252, as Excel writes."
    return setting("", help, "the name of an encoding, such as utf-8, cp1252 or utf-16-le", valid, "NAME")


def identifier() -> Any:
    return column("Column that identifies a series in .csv files that hold many: its name, or its number from 1.")
