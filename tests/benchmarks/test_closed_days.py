"""Sales of shops that are closed on Sundays and holidays."""

from __future__ import annotations

import pytest

from benchmarks.closed_days import errors, shops


def test_forecasts_of_shops_are_ahead_of_the_last_value_of_the_weekday() -> None:
    """In each shop, with days; without them, holidays shift the week."""
    pytest.importorskip("pandas")
    made = shops(0)
    of_forecaster, naive = errors(made, with_known=False, with_days=True).T
    assert (of_forecaster < 0.9 * naive).all()
    without_days = errors(made[:1], with_known=False, with_days=False)[0, 0]
    assert without_days > 1.5 * of_forecaster[0]
