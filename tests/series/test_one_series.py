"""The channels of all series are the same."""

from __future__ import annotations

import numpy as np

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.one_series import Series, check_channels


def test_channels_of_another_number_or_with_other_names_get_one_line() -> None:
    a, b, c, unnamed = (
        Series(np.ones((1, channels)), None, name, tuple(names) or None)
        for channels, name, names in ((2, "a", "xy"), (2, "b", "xz"), (3, "c", "xyz"), (2, "d", ""))
    )
    assert check_channels([a, unnamed, a]) == 2
    with one_line(DataError, "b has the channel z, but a has y there"):
        check_channels([a, b])
    with one_line(DataError, "c has 3 channels, but a has 2"):
        check_channels([a, c])
