"""The picture of `xrnn regress`."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.testing import assert_array_equal

from tests.commands.runs import axes_of
from xrnn.commands.regress import draw_regression


def test_predicted_numbers_are_drawn_against_the_true_ones() -> None:
    numbers = {"truth": np.array([1.0, 2, 4]), "predicted": np.array([1.5, 2, 3])}
    (axes,) = axes_of(partial(draw_regression, **numbers))
    assert_array_equal(axes.collections[0].get_offsets(), [[1, 1.5], [2, 2], [4, 3]])
    assert_array_equal(axes.get_lines()[0].get_xydata(), [[1, 1], [4, 4]])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("true", "predicted", "mean absolute error 0.5")
