"""The benchmarks' reference (the plain form in float64) agrees with the tests', on the host and on a device."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.cases import GATES, Case, Problem
from tests import reference
from tests.conftest import STANDIN
from xrnn import get_backend
from xrnn.backend import Backend


@pytest.mark.parametrize("backend", [get_backend("numpy"), STANDIN], ids=["numpy", "standin"])
@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("sizes", [(6, 3, 5, 8), (1, 1, 2, 4)], ids=str)
def test_both_references_agree(cell: str, ragged: bool, sizes: tuple[int, int, int, int], backend: Backend) -> None:
    p = Problem(Case(*sizes, cell=cell, ragged=ragged), backend=backend)
    dstates: list[np.ndarray | None] = [p.dh, *[None] * (len(p.states) - 1)]
    same = reference.Problem(
        cell=cell.replace("-", " "),
        dtype="float64",
        reverse=False,
        lengths=p.lengths,
        x=p.x,
        initial=list(p.states),
        weights=list(p.weights),
        dstates=dstates,
    )
    solution = reference.solve(same)
    # The tests' reference keeps a row's state past its end.
    expected = {
        "h": np.where(p.within[..., None], solution.states[0], 0),
        **{n: solution.gradients[n] for n in same.returned},
    }
    assert expected.keys() == p.reference.keys()
    for name, want in expected.items():
        assert_allclose(p.reference[name], want, rtol=0, atol=1e-12, err_msg=name)
