"""The valid values of the estimators' parameters, by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, get_args

import numpy as np

from xrnn.cells import CELLS, cell_of
from xrnn.files import quoted
from xrnn.series.checks import as_number
from xrnn.series.errors import SettingsError, param


class Rule(NamedTuple):
    """The valid values in words, for an error, and the test of a value that has the type of the parameter."""

    expected: str | Callable[[], str]
    valid: Callable[[Any], bool]


def _whole(least: int, most: int = 2**20) -> Rule:
    return Rule(f"a whole number from {least} to {most}", lambda value: least <= value <= most)


def _share(most: float) -> Rule:
    return Rule(f"a positive number up to {most}", lambda value: 0 < value <= most)


_MOST_QUANTILES: Final = 100
MOST_STEPS: Final = 2**16  # of a context or a horizon: a limit on what a checkpoint of unknown origin can allocate
RULES: Final = {
    "model": Rule("recurrent or convolutions", lambda value: value in ("recurrent", "convolutions")),
    "scaling": Rule("auto, shared or each", lambda value: value in ("auto", "shared", "each")),
    "cell": Rule(lambda: f"one of {', '.join(CELLS)}", lambda value: value in CELLS),
    "hidden": _whole(1),
    "heads": _whole(1),
    "layers": _whole(1, 100),  # far more than can be trained; with more, the first step would take very long
    "batch": _whole(1),
    "members": _whole(1, 100),
    "patch": _whole(0, 1024),
    "patience": _whole(0, 10**6),
    "epochs": _whole(1, 10**9),
    "lr": _share(1000),  # far more than can be trained with; an update of this size still fits float32
    "head_rate": _share(1000),
    "dropout": Rule("a probability in [0, 1)", lambda value: 0 <= value < 1),
    "noise": Rule("a number from 0 to 1000", lambda value: 0 <= value <= 1000),
    "decimal": Rule(". or ,", lambda value: value in (".", ",")),
    "encoding": Rule(
        "the name of an encoding, such as utf-8, cp1252 or utf-16-le", lambda value: not value or _is_encoding(value)
    ),
    "seed": Rule("a whole number of at least 0", lambda value: bool(value >= 0)),
}


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles in "0.1,0.9", in order, with the median.

    () unless they are in (0, 1) and differ, both in six digits: tables name a quantile by these.
    """
    numbers = [as_number(each.strip()) for each in text.split(",")]
    given = {number for number in numbers if number is not None and 0 < float(f"{number:g}") < 1}
    quantiles = sorted(given | {0.5})
    differ = len(given) == len(numbers) and len({f"{each:g}" for each in quantiles}) == len(quantiles)
    return tuple(quantiles) if differ and len(numbers) <= _MOST_QUANTILES else ()


FORECAST_RULES: Final = RULES | {
    "lr": Rule("a positive number up to 1000, or 0", lambda value: 0 <= value <= 1000),
    "horizon": _whole(1, MOST_STEPS),
    "context": _whole(0, MOST_STEPS),
    "season": _whole(0, MOST_STEPS),
    "steps": _whole(1, 10**12),
    "decay": Rule("a number from 0 to 1000", lambda value: 0 <= value <= 1000),
    "calendar": Rule("auto or none", lambda value: value in ("auto", "none")),
    "quantiles": Rule(
        "numbers between 0 and 1 that differ in their first six digits, with commas between them, such as 0.1,0.9",
        lambda text: bool(parse_quantiles(text)),
    ),
}


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        return False
    return True


def checked(kind: type[Any], given: Mapping[str, Any]) -> SimpleNamespace:
    """The parameters, by plain Python values.   Raises SettingsError for an invalid one."""
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    for name, of in inspect.signature(kind, eval_str=True).parameters.items():
        value = values[name]
        kinds = tuple(each for each in get_args(of.annotation) or (of.annotation,) if isinstance(each, type))
        allowed = tuple({int, float} if float in kinds else kinds)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
            words = " or ".join("None" if each is type(None) else each.__name__ for each in kinds)
            raise SettingsError(f"{param(name)} is {quoted(repr(value))}: expected {words}")
        check(name, value, getattr(kind, "rules", RULES))
    p = SimpleNamespace(**values)
    cell = cell_of(p.cell)
    if p.hidden % p.heads or (p.heads > 1 and (cell.recurs or not cell.from_h)):
        raise SettingsError(
            f"{param('heads')} is {p.heads}, with {param('cell')} {p.cell} of {p.hidden}: expected a number that "
            f"divides {param('hidden')}, and a cell whose recurrent term is h @ Wh; use 1"
        )
    return p


def check(name: str, value: Any, rules: Mapping[str, Rule] = RULES) -> None:
    """Raises SettingsError for a value of the right type that the rule of this name refuses."""
    rule = rules.get(name)
    if rule and value is not None and not rule.valid(value):
        got = quoted(value) if isinstance(value, str) else value
        words = rule.expected if isinstance(rule.expected, str) else rule.expected()
        raise SettingsError(f"{param(name)} is {got}: expected {words}")


def architecture(p: Any) -> str:
    """A description of the layers: "2 GRU layers of 64"."""
    words = [str(p.layers), *([] if getattr(p, "one_way", True) else ["bidirectional"]), CELLS[p.cell].__name__]
    heads = f" in {p.heads} heads" if p.heads > 1 else ""
    return f"{' '.join(words)} layer{'s' * (p.layers > 1)} of {p.hidden}{heads}"


def helps_of(kind: type[Any]) -> dict[str, str]:
    """The description of each parameter, from the lines "name   text" of the class's docstring."""
    # Python 3.13 removes the indentation of docstrings.
    rows = re.findall(r"^(\w+)  +(\S.*(?:\n {6,}\S.*)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in rows}
