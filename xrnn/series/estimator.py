"""The base class of the estimators: parameters, columns and files.

It has the methods that scikit-learn's tools need. It is not derived from its base class, since that import takes longer
than a prediction.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

import numpy as np

from xrnn.exchange.checkpoint import checkpoint_content
from xrnn.files import quoted, write_own
from xrnn.series.errors import CheckpointError
from xrnn.series.files import check_arrays, check_layers, content_of, kind_in
from xrnn.series.parameters import Rule
from xrnn.typing import Shape


class NotFittedError(ValueError, AttributeError):
    """The estimator is not fitted. With scikit-learn, it is its NotFittedError too."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _not_fitted, self.args


_READING: Final = Rule(
    "the options of a table, text by text",
    lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
)


class Estimator(ABC):
    """Each field of a subclass is a parameter, which `fit` checks.

    layers_     the layers of the model, by name, if it has some
    reading_    the options with which a command read the tables of the training, by name

    A subclass lists its learnt attributes, and defines the shapes of its arrays.
    """

    job: ClassVar[str]  # the kind of its files
    estimator_type: ClassVar[str | None]  # for scikit-learn
    writer: ClassVar[str]  # the command that writes them, for errors
    rules: ClassVar[Mapping[str, Rule]]  # of the parameters
    learnt: ClassVar[Mapping[str, Rule]]  # the attributes that `fit` sets, besides the layers and the arrays
    layers_: dict[str, Any]
    reading_: Mapping[str, str] = MappingProxyType({})
    _params: Any  # a copy of the estimator with the parameters with which the model was fitted

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Raises ValueError for an unknown name."""
        names = list(self.get_params())
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name} is no parameter of {type(self).__name__}: expected {', '.join(names)}")
            setattr(self, name, value)
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a checkpoint, which the commands can read.

        overwrite   replace any file at `path`. By default, only an empty file or a checkpoint of the same kind of
                    estimator is replaced

        Raises FileExistsError for another file, OSError if the file can't be written, and ValueError if the estimator
        is not fitted.
        """
        write_own(path, self._content(), f"{type(self).__name__}.save", self._wrote, overwrite=overwrite)

    def _content(self) -> bytes:
        """The content of the file that `save` writes."""
        fitted = self._fitted()
        learnt = {name: _plain(getattr(fitted, name)) for name in fitted._learnt()}
        arrays = {name: np.asarray(getattr(fitted, f"{name}_"), float) for name in fitted._shapes()}
        params = {name: getattr(fitted._params, name) for name in self.get_params()}
        extra = {"job": self.job, "params": params, "learnt": learnt, "arrays": arrays}
        return checkpoint_content(vars(fitted).get("layers_", {}), None, extra)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        remedy, loaded = f"name a file that `{cls.writer}` wrote", cls()
        name, checkpoint = content_of(Path(path), cls.job, f"a checkpoint; {remedy}")
        try:
            loaded._restore(checkpoint.extra, dict(checkpoint.layers))
        except ValueError as error:
            raise CheckpointError(f"{name} {error}; {remedy}") from error
        return loaded

    def _restore(self, extra: Mapping[str, Any], layers: dict[str, Any]) -> None:
        """Set the parameters and the learnt attributes.   Raises ValueError for what no `fit` can have learnt."""
        for part in ("params", "learnt", "arrays"):
            if not isinstance(extra.get(part), dict):
                raise ValueError(f"has invalid {part} (a {type(extra.get(part)).__name__}: expected an object)")
        learnt, arrays = extra["learnt"], extra["arrays"]
        with _invalid("params"):
            self.set_params(**extra["params"])  # parameters that xrnn got after the file have their defaults
            self._params = self.check_params()
        if learnt.keys() != (rules := self._learnt()).keys():
            raise ValueError("was written by another version of xrnn: expected this one; train the model again")
        with _invalid("learnt"):
            for name, rule in rules.items():
                rule.check(name, learnt[name])
                setattr(self, name, rule.read(learnt[name]))
            example, of_layers = self._plan()
        check_layers(layers, example, of_layers)
        check_arrays(arrays, self._shapes())
        for name, array in arrays.items():
            setattr(self, f"{name}_", array.tolist() if name.endswith("losses") else array)
        if layers:
            self.layers_ = layers

    @classmethod
    def _wrote(cls, path: Path) -> bool:
        """Whether `path` is a file of this kind, according to its header."""
        try:
            return kind_in(path, "") == cls.job
        except CheckpointError:
            return False

    @contextlib.contextmanager
    def _learning(self) -> Iterator[None]:
        """Around `fit`: after an error, the estimator keeps its model."""
        before = {**vars(self)}
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def check_params(self) -> Self:
        """A copy with the parameters as plain Python values.   Raises SettingsError for an invalid one."""
        given = self.get_params()
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        for name, value in plain.items():
            self.rules[name].check(name, value)
        return type(self)(**plain)

    def _learnt(self) -> dict[str, Rule]:
        """The rules of the learnt attributes in a file."""
        return {**self.learnt, "reading_": _READING}

    def _plan(self) -> tuple[dict[str, Any], list[Shape]]:
        """Layers like those of the model, but with sizes of 1, and the shapes of its parameters: see `check_layers`.

        Raises ValueError for parameters and learnt attributes that contradict each other.
        """
        return {}, []

    @abstractmethod
    def _shapes(self) -> dict[str, Shape]:
        """The shapes of the arrays in a file, float64, by the names of their attributes without "_"; -1 is any size."""

    def _count_features(self, X: Any) -> None:
        """scikit-learn's convention for arrays, whose second axis is time here."""
        if hasattr(X, "__array__"):
            self.n_features_in_ = np.asarray(X).shape[1]

    def _fitted(self) -> Self:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(f"this {type(self).__name__} is not fitted: expected `fit` first; call fit with data")
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return "layers_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        utils: Any = importlib.import_module("sklearn.utils")
        kind = self.estimator_type
        return utils.Tags(
            kind,
            utils.TargetTags(required=kind is not None),
            classifier_tags=utils.ClassifierTags() if kind == "classifier" else None,
            regressor_tags=utils.RegressorTags() if kind == "regressor" else None,
            input_tags=utils.InputTags(allow_nan=True, three_d_array=True),
        )

    def __repr__(self) -> str:
        """The parameters that differ from the defaults."""
        defaults = {name: each.default for name, each in inspect.signature(type(self)).parameters.items()}
        given = [
            f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])
        ]
        return f"{type(self).__name__}({', '.join(given)})"


@contextlib.contextmanager
def _invalid(part: str) -> Iterator[None]:
    """Name the part of a file in a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"has invalid {part} ({quoted(str(error))})") from error


def _not_fitted(message: str) -> Exception:
    loaded = sys.modules.get("sklearn.exceptions")
    kinds = (NotFittedError, loaded.NotFittedError) if loaded else (NotFittedError,)
    kind: Any = type("NotFittedError", kinds, {"__module__": "xrnn.series"})
    error: Exception = kind(message)
    return error


def _plain(value: Any) -> Any:
    """A learnt attribute for a file, without arrays, tuples and dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(each) for name, each in asdict(value).items()}
    if isinstance(value, Mapping):
        return dict(value)
    return value.tolist() if isinstance(value, np.ndarray) else [*value] if isinstance(value, tuple) else value
