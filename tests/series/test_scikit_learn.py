"""The estimators with scikit-learn: its own checks, clones, pipelines and searches."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.needs_kernels import NEEDS_KERNELS
from xrnn.series import Classifier, Forecaster, Regressor

pytestmark = [pytest.mark.needs("sklearn", "series"), pytest.mark.usefixtures("workdir")]

_LENGTH = "a series of another length than those of fit is valid: features are steps"
_SHORT = "a series of one step is refused, since it has no change to learn, in words of its own"
_NAMES = "the columns of a DataFrame are steps, which may have other names in predict"
_FLOAT32 = "the model computes in float32: the last bits depend on the other series of the batch"
_COPIES = (
    "the random draws and the parts that are left out depend on the number of series, so a copy is no weight of two"
)
EXPECTED: dict[type, dict[str, str]] = {
    Classifier: {
        "check_n_features_in_after_fitting": _LENGTH,
        "check_classifiers_train": _LENGTH,
        "check_sample_weight_equivalence_on_dense_data": _COPIES,
        "check_dataframe_column_names_consistency": _NAMES,
    },
    Regressor: {
        "check_n_features_in_after_fitting": _LENGTH,
        "check_methods_subset_invariance": _FLOAT32,
        "check_sample_weight_equivalence_on_dense_data": _COPIES,
        "check_dataframe_column_names_consistency": _NAMES,
    },
    Forecaster: {
        "check_n_features_in_after_fitting": _LENGTH,
        "check_fit2d_1feature": _SHORT,
        "check_dataframe_column_names_consistency": _NAMES,
    },
}
_QUIET: dict[str, Any] = {"hidden": 8, "noise": 0.0, "dropout": 0.0}


@NEEDS_KERNELS  # the last bits of a row depend on the other rows of NumPy's product
@pytest.mark.parametrize(
    ("estimator", "passed"),
    [
        (Classifier(**_QUIET, epochs=8, lr=0.03), 44),
        pytest.param(Regressor(**_QUIET, epochs=25, lr=0.05, one_way=True), 43, marks=pytest.mark.proof),
        (Forecaster(horizon=1), 30),
    ],
)
def test_the_checks_of_scikit_learn(estimator: Any, passed: int) -> None:
    from sklearn.utils.estimator_checks import check_estimator

    expected = EXPECTED[type(estimator)]
    with warnings.catch_warnings(action="ignore"):  # the checks ignore most warnings themselves
        done = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {each["check_name"]: each["exception"] for each in done if each["status"] == "failed"}
    assert not failed
    assert {each["check_name"] for each in done if each["status"] == "xfail"} <= expected.keys()
    counts = Counter(each["status"] for each in done)
    print(f"{type(estimator).__name__}: {counts['passed']} passed, {counts['xfail']} failed as expected")
    assert counts["passed"] >= passed  # the number depends on scikit-learn's version and on what else is installed


def series() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    return np.sin(np.arange(8) * np.where(y, 1.5, 0.3)[:, None]) + rng.normal(0, 0.05, (24, 8)), y


def test_searches() -> None:
    from sklearn.model_selection import GridSearchCV, cross_val_score

    X, y = series()
    grid = {"hidden": np.array([4, 6]), "cell": ["gru", "lstm"]}  # the values are NumPy's
    search = GridSearchCV(Classifier(batch=8, lr=0.02, epochs=20), grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_params_.keys() == grid.keys()
    assert cross_val_score(Regressor(hidden=4, batch=8, lr=0.02, epochs=20), X, y.astype(float), cv=2).min() > 0.5
    values = np.add.outer(np.arange(3.0), np.arange(20) % 4)
    found = GridSearchCV(Forecaster(horizon=2), {"season": [2, 4]}, cv=3).fit(values)
    assert found.best_score_ == max(found.cv_results_["mean_test_score"])
    assert -0.05 < found.best_score_ <= 0  # of values that repeat
    assert found.best_estimator_.predict().shape == (3, 2)
