"""The base class of the estimators: parameters, columns and files.

It has the methods that scikit-learn's tools need. It is not derived from its base class, since that import takes longer
than a prediction.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

from xrnn.exchange.checkpoint import describe_all, make_checkpoint
from xrnn.files import quoted, write_own
from xrnn.select import get_backend, to_numpy
from xrnn.series.checks import Series
from xrnn.series.errors import CheckpointError, SettingsError
from xrnn.series.files import Content, Reader, content_of, kind_in, strings
from xrnn.series.inputs import feature_names
from xrnn.series.parameters import checked
from xrnn.series.plan import LinearPlan, Plan
from xrnn.series.training import SILENT, Watcher
from xrnn.typing import HostArray, Shape


class NotFittedError(ValueError, AttributeError):
    """The estimator is not fitted. With scikit-learn, it is its NotFittedError too."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _not_fitted, self.args


_OPTIONAL: Final = ("feature_names_in_", "reading_")


class Estimator(ABC):
    """Each field of a subclass is a parameter, which `fit` checks.

    layers_             the layers of the model, by name
    losses_             the training loss of every update
    feature_names_in_   the names of the columns of X in `fit`, if X was a DataFrame or a list of them
    reading_            the options with which a command read the tables of the training, by name

    A subclass lists its learnt attributes, and defines their checks and the shapes of its arrays. `watcher` follows
    `fit`: a command shows the progress.
    """

    job: ClassVar[str]  # the kind of its files
    estimator_type: ClassVar[str | None]  # for scikit-learn
    writer: ClassVar[str]  # the command that writes them, for errors
    learnt: ClassVar[tuple[str, ...]]  # attributes that `fit` sets, besides the layers and the arrays
    watcher: Watcher = SILENT
    layers_: dict[str, Any]
    feature_names_in_: HostArray
    reading_: dict[str, str]
    _params: Any  # the parameters with which the layers were trained

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
        learnt = {name: _plain(getattr(fitted, name)) for name in (*self.learnt, *_OPTIONAL) if hasattr(fitted, name)}
        arrays = {name: np.asarray(getattr(fitted, f"{name}_"), float) for name in fitted._shapes()}
        params = {name: getattr(fitted._params, name) for name in self.get_params()}
        return content_of(self.job, Content(params, learnt, arrays, fitted.layers_))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        reader = Reader(Path(path), cls.job, f"name a file that `{cls.writer}` wrote")
        loaded, content = cls(), reader.content
        names, known = {*content.learnt}, {*cls.learnt, *_OPTIONAL}
        try:
            loaded.set_params(**content.params)  # parameters that xrnn got after the file have their defaults
            loaded._params = loaded.check_params()
        except ValueError as error:
            reader.invalid("params", SettingsError(str(error)))
        try:
            if not {*cls.learnt} <= names <= known:
                raise SettingsError(f"they have other names: expected {', '.join(cls.learnt)}")
            if "feature_names_in_" in names:
                columns = strings("feature_names_in_", content.learnt["feature_names_in_"])
                loaded.feature_names_in_ = np.array(columns, object)
            loaded.reading_ = content.learnt.get("reading_", {})
            if not isinstance(loaded.reading_, dict) or not all(
                isinstance(each, str) for each in loaded.reading_.values()
            ):
                raise SettingsError("reading_ does not hold strings: expected the options of a table")
            loaded._set_learnt(content.learnt)
            plan = loaded._plan()
        except SettingsError as error:
            reader.invalid("learnt", error)
        reader.check(plan, shapes := loaded._shapes())
        for name in shapes:
            array = content.arrays[name]
            setattr(loaded, f"{name}_", array.tolist() if name.endswith("losses") else array)
        loaded.layers_ = dict(content.layers)
        return loaded

    @classmethod
    def _wrote(cls, path: Path) -> bool:
        """Whether `path` is a file of this kind, according to its header."""
        try:
            return kind_in(path, "") == cls.job
        except CheckpointError:
            return False

    @contextlib.contextmanager
    def _learning(self) -> Iterator[None]:
        """Around `fit`: the estimator keeps its model unless a new one is complete."""
        before, complete = {**vars(self)}, False
        vars(self).pop("layers_", None)
        try:
            yield
            complete = self.__sklearn_is_fitted__()
        finally:
            if not complete:
                vars(self).clear()
                vars(self).update(before)

    def check_params(self) -> Any:
        """The parameters, by plain Python values.   Raises SettingsError for an invalid one."""
        return checked(type(self), self.get_params())

    @abstractmethod
    def _set_learnt(self, learnt: dict[str, Any]) -> None:
        """Check the learnt attributes of a file, and set them.   Raises SettingsError."""

    @abstractmethod
    def _plan(self) -> Plan | LinearPlan:
        """The layers that the parameters and the learnt attributes describe.   Raises SettingsError."""

    @abstractmethod
    def _shapes(self) -> dict[str, Shape]:
        """The shapes of the arrays in a file, float64, by the names of their attributes without "_"; -1 is any size."""

    def _check_columns(self, X: Any, *, reset: bool) -> None:
        """Compare the names of the columns with those of `fit`.

        reset   True in `fit`: store the names

        Raises ValueError for other names, or another order, than in `fit`; TypeError for names of which some are text.
        """
        if isinstance(X, list) and X and isinstance(X[0], Series):  # from files, whose names were checked
            return
        names, fitted = feature_names(X), tuple(getattr(self, "feature_names_in_", ()))
        if reset:
            vars(self).pop("feature_names_in_", None)
            if names:
                self.feature_names_in_ = np.array(names, object)
            if hasattr(X, "__array__"):  # scikit-learn's convention for arrays, whose second axis is time here
                self.n_features_in_ = np.asarray(X).shape[1]
        elif fitted and not names:
            warnings.warn(
                f"X does not have valid feature names, but `fit` had {quoted(', '.join(fitted))}", stacklevel=4
            )
        elif fitted and names != fitted:
            raise ValueError(
                f"X has the columns {quoted(', '.join(names or ()))}: expected those of `fit` in their order, "
                f"{quoted(', '.join(fitted))}; reorder or rename them"
            )

    def _fitted(self) -> Self:
        if not self.__sklearn_is_fitted__():
            raise unfitted(self)
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

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which are portable: the arrays are stored on the host."""
        state = {**vars(self)}
        if layers := state.pop("layers_", None):
            saved: dict[str, Any] = {}
            description = describe_all(layers, None, saved)
            state["saved"] = description, {name: to_numpy(array) for name, array in saved.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state}
        if saved := state.pop("saved", None):
            description, arrays = saved
            # joblib may give views of its file, numpy.memmap, in place of arrays.
            plain = {name: np.array(array) for name, array in arrays.items()}
            made = make_checkpoint(description | {"extra": {"dict": {}}}, plain, get_backend())
            state["layers_"] = dict(made.layers)
        self.__dict__.update(state)


def unfitted(estimator: Any) -> Exception:
    """The error of an estimator that is not fitted."""
    return _not_fitted(f"this {type(estimator).__name__} is not fitted: expected `fit` first; call fit with data")


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
    return value.tolist() if isinstance(value, np.ndarray) else [*value] if isinstance(value, tuple) else value
