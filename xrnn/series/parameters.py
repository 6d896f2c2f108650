"""The valid values of the estimators' parameters, by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from xrnn.cells import CELLS
from xrnn.files import quoted
from xrnn.series.checks import as_number
from xrnn.series.errors import SettingsError, param


class Rule(NamedTuple):
    """The valid values of a parameter.

    expected   in words, for an error
    valid      the test
    choices    all valid values, if they are words; the option of the parameter lists them
    """

    expected: str
    valid: Callable[[Any], bool]
    choices: Collection[str] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises SettingsError for an invalid value of the parameter `name`."""
        if not self.valid(value):
            words = f"one of {', '.join(self.choices)}" if self.choices else self.expected
            raise SettingsError(f"{param(name)} is {quoted(repr(value))}: expected {words}")


def whole(least: int, most: int = 2**20) -> Rule:
    """A whole number."""
    return Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def number(expected: str, fits: Callable[[float], bool]) -> Rule:
    return Rule(expected, lambda value: type(value) in (int, float) and fits(value))


def one_of(choices: Collection[str]) -> Rule:
    """One of these words. They may change later, as the names of cells do."""
    return Rule("", lambda value: isinstance(value, str) and value in choices, choices)


def _is_encoding(name: Any) -> bool:
    try:
        "".encode(name or "utf-8")
    except (LookupError, UnicodeError):
        return False
    return True


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles in "0.1,0.9", in order, with the median.

    () unless they are in (0, 1) and differ, both in six digits: tables name a quantile by these.
    """
    numbers = [as_number(each.strip()) for each in text.split(",")]
    given = {number for number in numbers if number is not None and 0 < float(f"{number:g}") < 1}
    quantiles = sorted(given | {0.5})
    differ = len(given) == len(numbers) and len({f"{each:g}" for each in quantiles}) == len(quantiles)
    return tuple(quantiles) if differ and len(numbers) <= _MOST_QUANTILES else ()


_MOST_QUANTILES: Final = 100
_MOST_STEPS: Final = 2**16  # of a context or a horizon
_EPOCHS: Final = whole(1, 10**9)
YES_NO: Final = Rule("True or False", lambda value: isinstance(value, bool))
TEXT: Final = Rule("text", lambda value: isinstance(value, str))
RULES: Final[Mapping[str, Rule]] = {
    "cell": one_of(CELLS),
    "hidden": whole(1),
    "layers": whole(1, 100),  # far more than can be trained; with more, the first step would take very long
    "batch": whole(1),
    "dropout": number("a probability in [0, 1)", lambda value: 0 <= value < 1),
    "noise": number("a number from 0 to 1000", lambda value: 0 <= value <= 1000),
    # 1000 is far more than can be trained with; an update of this size still fits float32.
    "lr": number("a positive number up to 1000", lambda value: 0 < value <= 1000),
    "seed": Rule("a whole number of at least 0", lambda value: type(value) is int and value >= 0),
    # of `Classifier` and `Regressor`; the rule of "model" is in labelled/base.py
    "one_way": YES_NO,
    "patch": whole(0, 1024),
    "scaling": one_of(("auto", "shared", "each")),
    # None is the default; the command line has no None, so the error does not name it.
    "epochs": _EPOCHS._replace(valid=lambda value: value is None or _EPOCHS.valid(value)),
    "balance": YES_NO,
    # of tables
    "decimal": one_of((".", ",")),
    "encoding": Rule("the name of an encoding, such as utf-8, cp1252 or utf-16-le", _is_encoding),
}
FORECAST_RULES: Final[Mapping[str, Rule]] = {
    "horizon": whole(1, _MOST_STEPS),
    "season": whole(0, _MOST_STEPS),
    "quantiles": Rule(
        "numbers between 0 and 1 that differ in their first six digits, with commas between them, such as 0.1,0.9",
        lambda text: bool(parse_quantiles(text)),
    ),
    **dict.fromkeys(("id", "time", "target", "known"), TEXT),
}


def helps_of(kind: type[Any]) -> dict[str, str]:
    """The description of each parameter, from the lines "name   text" of the class's docstring."""
    # Python 3.13 removes the indentation of docstrings.
    rows = re.findall(r"^(\w+)  +(\S.*(?:\n {6,}\S.*)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in rows}
