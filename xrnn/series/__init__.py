"""Estimators of time series in scikit-learn's conventions: the models and the training of the commands.

Importing this package needs NumPy only. If scikit-learn is installed, the estimators derive from its base classes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xrnn.series.estimator import NotFittedError
    from xrnn.series.forecaster import Forecaster
    from xrnn.series.labelled.estimators import Classifier, Regressor

__all__ = ["Classifier", "Forecaster", "NotFittedError", "Regressor"]
_HOMES = {"Forecaster": "forecaster", "NotFittedError": "estimator"}


def __getattr__(name: str) -> Any:
    """An estimator, imported at its first use: the models, which the estimators import, read series by this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"xrnn.series.{_HOMES.get(name, 'labelled.estimators')}"), name)
