"""Estimators of time series in scikit-learn's conventions: the models and the training of the commands.

Importing this package needs NumPy only. If scikit-learn is installed, the estimators derive from its base classes.
"""

from xrnn.series.estimator import NotFittedError
from xrnn.series.forecaster import Forecaster
from xrnn.series.labelled import Classifier, Regressor

__all__ = ["Classifier", "Forecaster", "NotFittedError", "Regressor"]
