"""The checkpoints of `xrnn forecast`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from xrnn.files import quoted
from xrnn.models.checkpoint import Checkpoints, Spec
from xrnn.models.data.read import MOST_CHANNELS
from xrnn.models.errors import SettingsError
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import MOST_STEPS, ForecastSettings
from xrnn.models.forecast.windows import Shape
from xrnn.models.settings import parse_metadata
from xrnn.select import get_backend

_SIZES: Final = ("context", "horizon", "season", "known")
_MOST_OUTPUTS: Final = 2**20


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of the data that the model depends on: see `Shape`.

    step     the name of the step of the times; empty without times, and in files that earlier versions wrote
    series   for files that earlier versions wrote: the names of the series whose deviations are in the file, which are
             not used. None: the file has neither deviations nor offsets
    """

    context: int
    horizon: int
    season: int
    known: int
    channel_names: tuple[str, ...] | None = None  # the target, then the known covariates
    step: str = field(default="", compare=False)
    series: tuple[str, ...] | None = field(default=(), compare=False)

    @property
    def shape(self) -> Shape:
        return Shape(self.context, self.horizon, self.season, self.known)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `asdict` and JSON.   Raises SettingsError for any other value."""
        given = parse_metadata(value)
        if given.keys() | {"series", "step"} != {*_SIZES, "channel_names", "series", "step"}:
            raise SettingsError(f"they have other names: expected {', '.join(_SIZES)}, channel_names, step, series")
        for name in _SIZES:
            least, most = (0, MOST_CHANNELS) if name == "known" else (1, MOST_STEPS)
            if type(given[name]) is not int or not least <= given[name] <= most:
                got = quoted(str(given[name]))
                raise SettingsError(f"{name} is {got}: expected a whole number from {least} to {most}")
        if given["season"] > given["context"]:
            raise SettingsError("season is larger than context: expected at most that")
        names, ids = (_strings(key, given.get(key)) for key in ("channel_names", "series"))
        if names is not None and len(names) != 1 + given["known"]:
            raise SettingsError(f"channel_names has {len(names)} names: expected {1 + given['known']}")
        if not isinstance(given.get("step", ""), str):
            raise SettingsError("step is not a string: expected the name of a step")
        return cls(**given | {"channel_names": names, "series": ids})


def _strings(key: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SettingsError(f"{key} is not a list of strings: expected one, or null")
    return tuple(value)


def like(settings: ForecastSettings, step: int) -> dict[str, Any]:
    model = ForecastModel.init(replace(settings, hidden=1), Shape(1, 1, 1, 0), get_backend("numpy"))
    model.start_at(step)
    return model.layers


def shapes(settings: ForecastSettings, facts: Facts) -> dict[str, tuple[int, ...]]:
    if facts.horizon * max(facts.known, len(settings.levels)) > _MOST_OUTPUTS:
        raise SettingsError(f"horizon is {facts.horizon}: expected at most {_MOST_OUTPUTS} outputs")
    return ForecastModel.shapes(settings, facts.shape)


def specs(settings: ForecastSettings, facts: Facts, step: int) -> dict[str, Spec]:
    """`offsets`: see ForecastModel; `deviation`: see Facts."""
    sizes = {"losses": step, "known.mean": facts.known, "known.deviation": facts.known}
    if facts.series is not None:
        sizes |= {"offsets": len(settings.levels)}
    if facts.series:
        sizes |= {"deviation": len(facts.series)}
    return {name: ((size,), "float64") for name, size in sizes.items()}


FORECAST_CHECKPOINTS: Final = Checkpoints(
    "xrnn forecaster", "xrnn forecast", ForecastSettings, like, shapes, specs, Facts.from_json
)
