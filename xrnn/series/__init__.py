"""Estimators of time series in scikit-learn's conventions: the models and the training of the commands.

Importing this package needs NumPy only.
"""

from xrnn.series.estimator import NotFittedError
from xrnn.series.forecast.effects import Effect
from xrnn.series.forecast.estimator import Forecaster
from xrnn.series.labelled.estimators import Classifier, Regressor

__all__ = ["Classifier", "Effect", "Forecaster", "NotFittedError", "Regressor"]
