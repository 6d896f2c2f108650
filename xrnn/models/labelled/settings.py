"""The settings of models that learn one value per series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from xrnn.cells import cell_of
from xrnn.losses import balanced_weights
from xrnn.models.errors import SettingsError, param
from xrnn.models.labelled.head import Classes, Head, Numbers
from xrnn.models.plan import Plan
from xrnn.models.settings import (
    Settings,
    amount,
    column,
    decimal,
    encoding,
    identifier,
    probability,
    setting,
    size,
    switch,
)
from xrnn.optim import Adam
from xrnn.series.tables import Columns, names_in
from xrnn.typing import HostArray

MOST_JOINED: Final = 1024  # steps
MOST_MEMBERS: Final = 100
TABLE_SETTINGS: Final = ("decimal", "encoding", "skip_columns", "id", "time", "label")  # how to read .csv files


def _head_rate(default: float) -> Any:
    """A learning rate as a multiple of `lr`."""
    return setting(
        default,
        "Learning rate of the linear layer, divided by that of the recurrent layers.",
        "a positive number up to 1000",
        lambda value: 0 < value <= 1000,
    )


@dataclass(frozen=True, slots=True)
class LabelledSettings(Settings):
    """Raises SettingsError for invalid values."""

    head: ClassVar[type[Head]]

    hidden: int = size(64, "Size of the hidden state in each direction, H.")
    batch: int = size(32, "Series per update.")
    one_way: bool = switch("Run forward only, which `xrnn predict --stream` needs.")
    dropout: float = probability(0.3, "Dropout probability, between layers and after the mean over time.")
    noise: float = amount(0.3, "Noise added to the training series, in standard deviations of each channel.")
    patch: int = setting(
        0,
        "Join this number of consecutive steps, with their values and changes, into one. 0: choose it by left-out "
        "series.",
        f"a whole number from 0 to {MOST_JOINED}",
        lambda value: 0 <= value <= MOST_JOINED,
    )
    mask: bool = switch("Add a mask channel for each channel: 1 if its value is known, 0 if it is missing.")
    # The mean over time changes little from series to series, so the linear layer learns faster: more labels are right.
    head_rate: float = _head_rate(10.0)
    members: int = size(
        1, "Models with other initial weights, trained together; the prediction is their mean.", MOST_MEMBERS
    )
    patience: int = setting(
        0,
        "Stop after this number of epochs without a lower loss on validation series, a fifth of the training series, "
        "and keep the best epoch. 0: train to the end, on all series.",
        "a whole number from 0 to 1000000",
        lambda value: 0 <= value <= 10**6,
    )
    decimal: str = decimal()
    encoding: str = encoding()
    skip_columns: str = column("Columns of .csv files that are not channels.", "COLUMN,COLUMN,…")
    id: str = identifier()
    time: str = column("Column of .csv files to sort the steps by.")
    label: str = column("Column of .csv files with the label of a series; for `xrnn regress`, with its target.")

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.members > 1 and (self.layers > 1 or cell_of(self.cell).recurs):
            raise SettingsError(
                f"{param('members')} is {self.members}, with {self.layers} layers of {param('cell')} {self.cell}: "
                "expected one layer, and a cell whose recurrent term is h @ Wh; use 1"
            )

    def plan(self, head: Head) -> Plan:
        """The members are one layer, whose Wh connects only units of the same member: they are its heads."""
        return Plan(
            self.cell,
            head.channels * (1 + self.mask) * self.features,
            self.hidden * self.members,
            self.layers,
            head.outputs,
            both_ways=not self.one_way,
            keeps_best=self.patience > 0,
            dropout=self.dropout,
            seed=self.seed,
            heads=self.heads * self.members if cell_of(self.cell).from_h and self.heads * self.members > 1 else None,
        )

    def class_weights(self, targets: HostArray, outputs: int) -> HostArray | None:
        """The weights of the labels in the loss; None for equal ones."""
        return None

    @property
    def columns(self) -> Columns:
        """How to read .csv files."""
        skip = names_in(self.skip_columns)
        numbers = self.head.has_numbers
        return Columns(self.decimal, skip, self.id, self.time, self.label, numbers, encoding=self.encoding)

    @property
    def joined(self) -> int:
        """The number of steps in a patch: 1 if it has not been chosen."""
        return max(1, self.patch)

    @property
    def features(self) -> int:
        """The number of features of a patch for each channel: the values of its steps and, if joined, their changes."""
        return 1 if self.joined == 1 else 2 * self.joined

    def optimizer(self, layers: Iterable[Any]) -> Adam:
        """Adam, with a learning rate of its own for the linear layer."""
        rate = self.head_rate / self.members  # a weight counts `members` times in the outputs of a member
        if rate == 1:
            return Adam(layers, self.lr)
        *others, linear = layers
        return Adam([*others, {"layers": [linear], "lr": rate * self.lr}], self.lr)

    @property
    def direction(self) -> str:
        return "" if self.one_way else "bidirectional "

    @property
    def training(self) -> str:
        more = [f"patience {self.patience}"] if self.patience else []
        first = f"{self.members} members; " if self.members > 1 else ""
        first += f"patches of {self.patch} steps; " if self.patch > 1 else ""
        return first + ", ".join(
            [f"batches of {self.batch}; dropout {self.dropout:g}", f"noise {self.noise:g}", f"lr {self.lr:g}", *more]
        )

    def columns_for(self, given: dict[str, Any], channel_names: tuple[str, ...] | None) -> Columns:
        """How to read new .csv files with a trained model: as in training, except for the given settings.

        Columns that only the training named may be absent: new files usually have no labels.
        """
        kept = self.columns
        columns = replace(self, **given).columns
        needed = {
            name
            for setting, value in given.items()
            if setting not in ("decimal", "encoding")
            for name in names_in(value)
        }
        optional = frozenset({*kept.skip, kept.id, kept.time, kept.label} - needed)
        return replace(columns, channels=channel_names, optional=optional, targets=True)  # labels are not used


@dataclass(frozen=True, slots=True)
class ClassifierSettings(LabelledSettings):
    """Raises SettingsError for invalid values."""

    head: ClassVar[type[Head]] = Classes

    balance: bool = switch("Give all labels the same total weight in the loss, so that rare ones count as much.")

    def class_weights(self, targets: HostArray, outputs: int) -> HostArray | None:
        return balanced_weights(targets, outputs) if self.balance else None


@dataclass(frozen=True, slots=True)
class RegressionSettings(LabelledSettings):
    """Raises SettingsError for invalid values."""

    head: ClassVar[type[Head]] = Numbers

    head_rate: float = _head_rate(1.0)  # a linear layer that learns faster predicts numbers less well
