"""Estimators of time series in scikit-learn's conventions: the models and the training of the commands.

Importing this package needs NumPy only.
"""

from typing import Any, Final

from xrnn.series.estimator import NotFittedError
from xrnn.series.forecast.estimator import Forecaster
from xrnn.series.labelled.estimators import Classifier, Regressor

# By the kind of their files.
ESTIMATORS: Final[dict[str, Any]] = {each.job: each for each in (Classifier, Regressor, Forecaster)}

__all__ = ["Classifier", "Forecaster", "NotFittedError", "Regressor"]
