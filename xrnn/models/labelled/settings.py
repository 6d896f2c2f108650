"""The settings of all jobs on series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from xrnn.models.data.tables import Columns, names_in
from xrnn.models.settings import Settings, amount, probability, setting, size, switch

TABLE_OPTIONS: Final = ("decimal", "skip_columns", "id", "time", "label")  # how to read .csv files


def column(help: str, metavar: str = "COLUMN") -> Any:
    """A setting that names columns of .csv files."""
    return setting("", help, "a column", lambda value: True, metavar)


def decimal() -> Any:
    return setting(".", "Decimal point in .csv files.", ". or ,", lambda value: value in (".", ","), ".|,")


def identifier() -> Any:
    return column("Column that identifies a series in .csv files that hold many: its name, or its number from 1.")


@dataclass(frozen=True, slots=True)
class SeriesSettings(Settings):
    """Raises SettingsError for invalid values."""

    targets: ClassVar[bool] = False  # True: labels are numbers to predict

    hidden: int = size(64, "Size of the hidden state in each direction, H.")
    batch: int = size(32, "Series per update.")
    one_way: bool = switch("Run forward only, which `xrnn predict --stream` needs.")
    dropout: float = probability(0.3, "Dropout probability, between layers and after the mean over time.")
    noise: float = amount(0.3, "Noise added to the training series, in standard deviations of each channel.")
    mask: bool = switch("Add a mask channel for each channel: 1 if its value is known, 0 if it is missing.")
    patience: int = setting(
        0,
        "Stop after this number of epochs without a lower loss on validation series, a fifth of the training series, "
        "and keep the best epoch. 0: train to the end, on all series.",
        "a whole number from 0 to 1000000",
        lambda value: 0 <= value <= 10**6,
    )
    decimal: str = decimal()
    skip_columns: str = column("Columns of .csv files that are not channels.", "COLUMN,COLUMN,…")
    id: str = identifier()
    time: str = column("Column of .csv files to sort the steps by.")
    label: str = column("Column of .csv files with the label of a series; for `xrnn regress`, with its target.")

    @property
    def columns(self) -> Columns:
        """How to read .csv files."""
        return Columns(self.decimal, names_in(self.skip_columns), self.id, self.time, self.label, self.targets)

    def inputs(self, channels: int) -> int:
        """The number of the model's inputs."""
        return channels * (1 + self.mask)

    @property
    def model(self) -> str:
        direction = "" if self.one_way else "bidirectional "
        return f"{self.layers} {direction}{self.cell.upper()} layer{'s' * (self.layers > 1)} of {self.hidden}"

    @property
    def training(self) -> str:
        more = [f"patience {self.patience}"] if self.patience else []
        return ", ".join(
            [f"batches of {self.batch}; dropout {self.dropout:g}", f"noise {self.noise:g}", f"lr {self.lr:g}", *more]
        )

    def columns_for(self, given: dict[str, Any], channel_names: tuple[str, ...] | None) -> Columns:
        """How to read new .csv files with a trained model: as in training, except for the given options.

        Columns that only the training named may be absent: new files usually have no labels.
        """
        kept = self.columns
        columns = replace(self, **given).columns
        needed = {name for option, value in given.items() if option != "decimal" for name in names_in(value)}
        optional = frozenset({*kept.skip, kept.id, kept.time, kept.label} - needed)
        return replace(columns, channels=channel_names, optional=optional, targets=True)  # labels are not used
