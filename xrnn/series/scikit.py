"""The classes of scikit-learn that the estimators use, or classes in their place if it is not installed."""

from __future__ import annotations

import importlib
from typing import Any

try:
    _base, _exceptions = map(importlib.import_module, ("sklearn.base", "sklearn.exceptions"))
    BaseEstimator: Any = _base.BaseEstimator
    ClassifierMixin: Any = _base.ClassifierMixin
    RegressorMixin: Any = _base.RegressorMixin
    NotFittedError: Any = _exceptions.NotFittedError
    DataConversionWarning: Any = _exceptions.DataConversionWarning
except ImportError:
    BaseEstimator, ClassifierMixin, RegressorMixin = (
        type(name, (), {}) for name in ("Base", "Classifies", "Regresses")
    )
    NotFittedError = type("NotFittedError", (ValueError, AttributeError), {"__module__": "xrnn.series"})
    DataConversionWarning = UserWarning
