"""The base class of the estimators: parameters, columns and files.

It has the methods that scikit-learn's tools need, but not scikit-learn's base class, whose import takes longer than a
prediction.

The file of a fitted estimator is one of `xrnn.save_checkpoint`, whose `extra` holds

job      the kind of the estimator: "xrnn series classifier"
params   the parameters of the constructor, by name
learnt   the attributes that `fit` has learnt, by name, without the layers

A file may come from anywhere. It runs no code. `Estimator.load` checks the parameters, and computes a prediction.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np

from xrnn.arrays.select import get_backend
from xrnn.cells import CELLS
from xrnn.exchange.checkpoint import checkpoint_content, peek, read_checkpoint
from xrnn.files import FileError, format_in, open_arrays, printable, quoted, write_own
from xrnn.series.errors import SettingsError, param
from xrnn.series.reading.numbers import as_number


class Rule(NamedTuple):
    """The valid values of a parameter: in words, for an error; a test; and all of them, if they are words."""

    expected: str
    valid: Callable[[Any], bool]
    choices: Collection[str] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises SettingsError for an invalid value of the parameter `name`."""
        if not self.valid(value):
            words = f"one of {', '.join(self.choices)}" if self.choices else self.expected
            raise SettingsError(f"{param(name)} is {quoted(repr(value))}: expected {words}")


def whole(least: int, most: int = 2**20, *others: Any) -> Rule:
    """A whole number, or one of the others, which the error does not name: the command line has no None."""
    return Rule(
        f"a whole number from {least} to {most}",
        lambda value: value in others or (type(value) is int and least <= value <= most),
    )


def number(expected: str, fits: Callable[[float], bool]) -> Rule:
    return Rule(expected, lambda value: type(value) in (int, float) and fits(value))


def one_of(choices: Collection[str]) -> Rule:
    """One of these words. They may change later, as the names of cells do."""
    return Rule("", lambda value: isinstance(value, str) and value in choices, choices)


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles in "0.1,0.9", in order, with the median.

    () unless they are in (0, 1) and differ, both in six digits: tables name a quantile by these.
    """
    given = [as_number(each) or 0.0 for each in text.split(",")]
    quantiles = sorted({*given, 0.5})
    shown = {float(f"{quantile:g}") for quantile in quantiles}
    differ = len({*given}) == len(given) and len(shown) == len(quantiles)
    return tuple(quantiles) if differ and all(0 < each < 1 for each in shown) else ()


_MOST_STEPS: Final = 2**16  # of a context or a horizon
_COLUMNS: Final = ("id", "time", "target", "known")  # parameters that name columns, as text or as numbers
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
    **dict.fromkeys(("one_way", "channels_first"), Rule("True or False", lambda value: isinstance(value, bool))),
    "patch": whole(0, 1024),
    "scaling": one_of(("auto", "shared", "each")),
    "epochs": whole(1, 10**9, None),
    "window": whole(0, 2**30, None),
    # of `Forecaster`
    "horizon": whole(1, _MOST_STEPS),
    "season": whole(0, _MOST_STEPS),
    "quantiles": Rule(
        "numbers between 0 and 1 that differ in their first six digits, with commas between them, such as 0.1,0.9",
        lambda value: isinstance(value, str) and bool(parse_quantiles(value)),
    ),
    **dict.fromkeys(_COLUMNS, Rule("the name of a column", lambda value: isinstance(value, str))),
}


class NotFittedError(ValueError, AttributeError):
    """The estimator is not fitted. With scikit-learn, it is its NotFittedError too."""


class Estimator(ABC):
    """Each field of a subclass, a dataclass, is a parameter, which `fit` checks; not those with init=False.

    The attributes that `fit` sets end with an underscore, as in scikit-learn: a file holds these. They are text,
    numbers, None, arrays, and tuples and dicts of them, except for

    layers_     the layers of the model, by name, if it has some
    reading_    the options with which a command read the tables of the training, by name
    """

    job: ClassVar[str]  # the kind of its files
    estimator_type: ClassVar[str | None] = None  # for scikit-learn
    writer: ClassVar[str]  # the command that writes them, for errors
    rules: ClassVar = RULES  # of the parameters
    layers_: dict[str, Any]
    reading_: Mapping[str, str] = {}
    _params_of_fit: Self  # a copy with the parameters of the last fit: those of the estimator may change later

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        names = [field.name for field in fields(self) if field.init]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> Self:
        """Raises ValueError for an unknown name."""
        names = list(self.get_params())
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name} is no parameter of {type(self).__name__}; it has {', '.join(names)}")
            setattr(self, name, value)
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a checkpoint, which the commands can read.

        overwrite   replace any file at `path`. By default, only an empty file or a checkpoint of the same kind of
                    estimator is replaced

        Raises FileExistsError for another file, OSError if the file can't be written, and ValueError if the estimator
        is not fitted.
        """

        def has_mark(file: Path) -> bool:
            return bool(format_in(file)) and kind_in(file, "") == self.job

        write_own(path, self._content(), f"{type(self).__name__}.save", has_mark, overwrite=overwrite)

    def _content(self) -> bytes:
        params = self._fitted().get_params()
        learnt = learnt_in(vars(self))
        layers = learnt.pop("layers_", {})
        extra = {"job": self.job, "params": params, "learnt": {name: _plain(each) for name, each in learnt.items()}}
        return checkpoint_content(layers, None, extra)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        wanted = f"a checkpoint; name a file that `{cls.writer}` wrote"
        kind_in(Path(path), wanted, [cls.job])
        with open_arrays(Path(path), wanted) as file:
            checkpoint = read_checkpoint(file, get_backend())
        try:
            # Parameters that xrnn got after the file was written have their defaults.
            loaded = cls().set_params(**checkpoint.extra["params"])
            learnt = learnt_in(checkpoint.extra["learnt"]) | {"layers_": dict(checkpoint.layers)}
            arrays = {name: np.array(value) for name, value in learnt.items() if isinstance(value, list)}
            loaded._finish_fit(loaded.check_params(), **loaded._complete(learnt | arrays))
            if not all(isinstance(each, str) for each in loaded.reading_.values()):
                raise ValueError("reading_ holds other values than text")
            with np.errstate(all="ignore"):
                loaded._try()
        except Exception as error:  # a file may hold anything, and so fail anywhere
            raise FileError(
                f"{file.name} is damaged, or was written by another version of xrnn ({quoted(str(error))}); "
                f"train it again by `{cls.writer}`"
            ) from error
        return loaded

    def check_params(self) -> Self:
        """A copy with the parameters as plain Python values, and lists and the numbers of columns as text.

        Raises SettingsError for an invalid one.
        """
        params = self.get_params()
        for name, value in params.items():
            plain = value.tolist() if hasattr(value, "tolist") else value
            if isinstance(plain, list | tuple):
                plain = ",".join(map(str, plain))
            params[name] = str(plain) if name in _COLUMNS and type(plain) in (int, float) else plain
            self.rules[name].check(name, params[name])
        return type(self)(**params)

    def _finish_fit(self, params: Self, **attributes: Any) -> None:
        """Set the attributes of a complete fit: a `fit` that fails keeps those of the last one.

        params   the copy of `check_params` with which the model was fitted
        """
        for name in learnt_in(vars(self)).keys() - {"reading_"}:
            delattr(self, name)  # the last model may be of another kind
        for name, value in attributes.items():
            setattr(self, name, value)
        self._params_of_fit = params

    def _complete(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes in a file, which holds dicts in place of dataclasses, as `fit` sets them."""
        return attributes

    @abstractmethod
    def _try(self) -> None:
        """Compute a prediction with the attributes of a file.

        Raises any error if they are no model. It must not allocate more memory than they have.
        """

    def _fitted(self) -> Self:
        """The parameters of the last fit.   Raises NotFittedError, with scikit-learn also its own, if there is none."""
        if not self.__sklearn_is_fitted__():
            loaded = sys.modules.get("sklearn.exceptions")
            kinds = (NotFittedError, loaded.NotFittedError) if loaded else (NotFittedError,)
            error = type("NotFittedError", kinds, {"__module__": "xrnn.series"})
            raise error(f"this {type(self).__name__} is not fitted; call fit first")
        return self._params_of_fit

    def __sklearn_is_fitted__(self) -> bool:
        return "_params_of_fit" in vars(self)

    def __sklearn_tags__(self) -> Any:
        utils: Any = importlib.import_module("sklearn.utils")
        return utils.Tags(
            self.estimator_type,
            utils.TargetTags(required=self.estimator_type is not None),
            classifier_tags=utils.ClassifierTags(),
            regressor_tags=utils.RegressorTags(),
            input_tags=utils.InputTags(allow_nan=True, three_d_array=True),
        )


def kind_in(path: Path, wanted: str, kinds: Collection[str] | None = None) -> str:
    """The kind of the estimator in the checkpoint at `path`, according to its header; for another file, its format.

    wanted   the expected content, and the remedy;   kinds: the valid ones; None for all

    Raises FileError if the file can't be read, or is of another kind.
    """
    with open_arrays(path, wanted) as file:
        kind = str(peek(file, "job") or file.metadata.get("format", ""))
    if kinds is not None and kind not in kinds:
        got = f"format {quoted(kind)}" if kind else "no format of xrnn"
        raise FileError(f"{printable(str(path))} has {got}: expected {wanted}")
    return kind


def learnt_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """The learnt attributes among these values."""
    return {name: value for name, value in values.items() if name.endswith("_") and not name.startswith("_")}


def _plain(value: Any) -> Any:
    """A learnt attribute for a file, which has no dataclasses and no arrays of text."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind == "U" else value
