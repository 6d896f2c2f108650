"""Every form of the selective scan and of the causal convolution agrees with float64."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.errors import one_line
from tests.layouts import LAYOUTS, lay_out
from tests.reference import solve_convolution, solve_scan
from xrnn import use_fused
from xrnn.backend import Backend
from xrnn.ops.causal_convolution import ConvolutionInputs
from xrnn.ops.selective_scan import CHUNK, ScanInputs
from xrnn.typing import Array, HostArray

TOLERANCE = {"float32": 3e-5, "float64": 1e-11}
DTYPES = st.sampled_from(["float32", "float64"])
OPTIONAL = ("skip", "z", "bias", "initial")


def agrees(backend: Backend, got: Any, want: HostArray, dtype: str, name: str) -> None:
    found = backend.to_numpy(got)
    assert found.dtype == dtype
    assert found.shape == want.shape, name
    scale = max(1.0, float(abs(want).max(initial=0)))
    assert_allclose(found, want, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


def on(backend: Backend, operands: dict[str, Any]) -> dict[str, Any]:
    return {name: backend.asarray(array) for name, array in operands.items()}


def results(
    backend: Backend, operation: str, kind: type[Any], p: Any, layouts: Iterable[str], options: dict[str, Any]
) -> dict[str, Array]:
    """y, last and all gradients of an operation of state-space models, by the names of the operands.

    operation   its methods are `operation`_forward and `operation`_backward
    kind        the class of its inputs
    layouts     of the operands, then of dy and dlast
    """
    names = iter(layouts)
    operands = {name: lay_out(backend, a, next(names, "C")) for name, a in p.operands.items()}
    inputs = kind(**operands, **options)
    forward, backward = getattr(backend, f"{operation}_forward"), getattr(backend, f"{operation}_backward")
    y, last, saved = forward(inputs, True)
    without = forward(inputs, False)
    assert without.saved is None
    assert_array_equal(backend.to_numpy(without.y), backend.to_numpy(y))
    assert_array_equal(backend.to_numpy(without.last), backend.to_numpy(last))
    assert saved is not None
    dy, dlast = (lay_out(backend, a, next(names, "C")) for a in (p.dy, p.dlast))
    gradients = backward(inputs, saved, dy, dlast)
    by_name = {f"d{name}": g for name, g in gradients._asdict().items() if g is not None}
    assert by_name.keys() == {f"d{name}" for name in p.operands}
    return {"y": y, "last": last} | by_name


def scanned(backend: Backend, p: problems.Scan, layouts: Iterable[str] = (), **options: Any) -> dict[str, Array]:
    """The results by the names of `solve_scan`."""
    return results(backend, "selective_scan", ScanInputs, p, layouts, options)


# Sizes of 1, and some around those of a chunk of steps, a block of keys, a vector and a panel of channels.
@given(
    sizes=st.tuples(
        st.integers(1, 5) | st.integers(14, 40),
        st.integers(1, 4),
        st.integers(1, 20) | st.sampled_from([31, 64, 70, 129, 150]),
        st.integers(1, 9) | st.sampled_from([16, 17, 33]),
    ),
    dtype=DTYPES,
    left_out=st.sets(st.sampled_from(OPTIONAL)),
    softplus=st.booleans(),
    groups=st.sampled_from([None, None, 1, 2, 5]),
    ragged=st.booleans(),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=11, max_size=11),
    fused=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(
    backend: Backend,
    sizes: tuple[int, int, int, int],
    dtype: str,
    left_out: set[str],
    softplus: bool,
    groups: int | None,
    ragged: bool,
    layouts: list[str],
    fused: bool,
    seed: int,
) -> None:
    T, N, D, K = sizes
    if groups is not None and D % groups:
        D *= groups
    p = problems.scan((T, N, D, K), dtype, seed, groups)
    if not softplus:
        p.operands["delta"] = abs(p.operands["delta"]) / 8
        p.operands["bias"] = abs(p.operands["bias"]) / 8
    for name in left_out:
        del p.operands[name]
    lengths = np.random.default_rng(seed).integers(0, T + 1, N) if ragged else None
    expected = solve_scan(p, softplus, lengths)
    if lengths is not None:  # no operand past the end of a row is used
        past_end = np.arange(T)[:, None] >= lengths
        for array in (p.dy, *(p.operands[name] for name in ("u", "delta", "z", "B", "C") if name in p.operands)):
            array[past_end] = np.nan
    on_device = None if lengths is None else backend.asarray(lengths)
    with use_fused(fused), np.errstate(invalid="ignore"):
        found = scanned(backend, p, layouts, softplus=softplus, lengths=on_device)
    for name, got in found.items():
        agrees(backend, got, expected[name], dtype, name)


@pytest.mark.parametrize("constant", ["B", "C", "BC"])
def test_b_and_c_of_all_steps(backend: Backend, form: str, constant: str) -> None:
    p = problems.scan((19, 3, 6, 5), "float64", groups=2, constant=constant)
    expected = solve_scan(p)
    for name, got in scanned(backend, p, softplus=True).items():
        agrees(backend, got, expected[name], "float64", name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_decays(backend: Backend, form: str, dtype: str) -> None:
    """Decays of e^-1000 and 1, and states that grow to 1e30: the recurrence stays that of float64."""
    p = problems.scan((20, 2, 20, 6), dtype)
    p.operands["delta"][...] = 1
    p.operands["bias"][...] = 0
    p.operands["A"][...] = np.array([-1000, -87.5, -1e-9, 0, 1, 3.4])
    expected = solve_scan(p, softplus=False)
    for name, got in scanned(backend, p, softplus=False).items():
        found, want = backend.to_numpy(got), expected[name]
        assert_allclose(found, want, rtol=1e-3 if dtype == "float32" else 1e-11, atol=1e-6 * abs(want).max())
    p.operands["A"][...] = -1e30
    fully_decayed = scanned(backend, p, softplus=False)
    assert_allclose(
        backend.to_numpy(fully_decayed["last"]),
        (p.operands["u"][-1][:, :, None] * p.operands["B"][-1][:, None]),
        rtol=1e-6,
    )


def test_a_growing_state_becomes_infinite(backend: Backend, form: str) -> None:
    p = problems.scan((40, 1, 5, 3), "float32")
    p.operands["delta"][...] = -1  # mamba_ssm allows this without softplus
    p.operands["A"][...] = -100
    del p.operands["bias"], p.operands["z"]
    with np.errstate(all="ignore"):
        inputs = ScanInputs(**on(backend, p.operands))
        last = backend.to_numpy(backend.selective_scan_forward(inputs, False).last)
    assert np.isinf(last).all()


@pytest.mark.parametrize("name", ["u", "delta", "z", "B", "C", "A", "skip", "bias", "initial"])
def test_nan_reaches_the_same_results(backend: Backend, name: str) -> None:
    """A NaN in an operand gives NaN in the same elements in both forms."""
    p = problems.scan((21, 2, 37, 3), "float32")
    p.operands[name].flat[p.operands[name].size // 2] = np.nan
    with np.errstate(all="ignore"):
        with use_fused(False):
            plain = scanned(backend, p, softplus=True)
        found = scanned(backend, p, softplus=True)
    assert any(np.isnan(backend.to_numpy(a)).any() for a in plain.values())
    for result, got in found.items():
        assert_array_equal(np.isnan(backend.to_numpy(got)), np.isnan(backend.to_numpy(plain[result])), err_msg=result)


def test_a_form_runs_backward_on_the_states_of_another(backend: Backend) -> None:
    p = problems.scan((2 * CHUNK + 3, 2, 9, 5), "float64")
    inputs = ScanInputs(**on(backend, p.operands), softplus=True)
    saved: list[Any] = []
    for fused in (False, True):
        with use_fused(fused):
            saved.append(backend.selective_scan_forward(inputs, True).saved)
    assert saved[0].shape == (3, 2, 5, 9)
    assert_allclose(backend.to_numpy(saved[0]), backend.to_numpy(saved[1]), rtol=0, atol=1e-12)
    expected = solve_scan(p)
    for fused in (False, True):
        with use_fused(fused):
            dy, dlast = backend.asarray(p.dy), backend.asarray(p.dlast)
            found = backend.selective_scan_backward(inputs, saved[not fused], dy, dlast)
        for name, got in found._asdict().items():
            agrees(backend, got, expected[f"d{name}"], "float64", name)


def test_gradients_of_y_or_of_the_last_state_alone(backend: Backend, form: str) -> None:
    p = problems.scan((18, 2, 5, 3), "float64")
    inputs = ScanInputs(**on(backend, p.operands), softplus=True)
    saved: Any = backend.selective_scan_forward(inputs, True).saved
    dy, dlast = backend.asarray(p.dy), backend.asarray(p.dlast)
    for of_y in (True, False):
        found = backend.selective_scan_backward(inputs, saved, dy if of_y else None, None if of_y else dlast)
        expected = solve_scan(problems.Scan(p.operands, p.dy * of_y, p.dlast * (not of_y)))
        for name, got in found._asdict().items():
            agrees(backend, got, expected[f"d{name}"], "float64", name)


@pytest.mark.parametrize("sizes", [(0, 2, 3, 4), (5, 0, 3, 4), (5, 2, 0, 4), (5, 2, 3, 0)])
def test_empty_sizes(backend: Backend, form: str, sizes: tuple[int, int, int, int]) -> None:
    p = problems.scan(sizes, "float32")
    found = scanned(backend, p, softplus=True)
    for name, got in found.items():
        assert np.isfinite(backend.to_numpy(got)).all()
        if name[1:] in p.operands:
            assert got.shape == p.operands[name[1:]].shape


def test_operands_that_do_not_fit_are_refused(backend: Backend, form: str) -> None:
    def refused(**changed: Any) -> None:
        p = problems.scan((5, 2, 6, 3), "float32", groups=2)
        operands = {name: backend.asarray(a) for name, a in p.operands.items()} | changed
        with one_line(TypeError, "fit"):
            backend.selective_scan_forward(ScanInputs(**operands), False)

    zeros = backend.xp.zeros
    refused(delta=zeros((5, 2, 5), "float32"))
    refused(z=zeros((5, 2, 6), "float64"))
    refused(B=zeros((5, 2, 2, 4), "float32"), C=zeros((5, 2, 2, 4), "float32"))
    refused(initial=zeros((2, 3, 6), "float32"))
    refused(skip=zeros(5, "float32"))


def test_groups_that_do_not_divide_the_channels_are_refused(backend: Backend, form: str) -> None:
    p = problems.scan((5, 2, 6, 3), "float32", groups=4)
    inputs = ScanInputs(**on(backend, p.operands))
    with one_line(TypeError, "groups", "divide"):
        backend.selective_scan_forward(inputs, False)


def test_other_lengths_are_refused(backend: Backend, form: str) -> None:
    p = problems.scan((5, 2, 6, 3), "float32")
    inputs = ScanInputs(**on(backend, p.operands))
    inputs.lengths = backend.xp.full(3, 5)
    with one_line(TypeError):
        backend.selective_scan_forward(inputs, False)


# ---- the causal convolution ----


@given(
    sizes=st.tuples(
        st.integers(1, 6) | st.sampled_from([31, 32, 33, 70]),
        st.integers(1, 3),
        st.integers(1, 20) | st.sampled_from([31, 64, 70]),
        st.integers(1, 5) | st.just(40),
    ),
    dtype=DTYPES,
    left_out=st.sets(st.sampled_from(["bias", "initial"])),
    silu=st.booleans(),
    ragged=st.booleans(),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=6, max_size=6),
    fused=st.booleans(),
    without=st.sampled_from(["", "", "dy", "dlast"]),
)
def test_convolution(
    backend: Backend,
    sizes: tuple[int, int, int, int],
    dtype: str,
    left_out: set[str],
    silu: bool,
    ragged: bool,
    layouts: list[str],
    fused: bool,
    without: str,
) -> None:
    T, N, _, _ = sizes
    p = problems.convolution(sizes, dtype)
    for name in left_out:
        del p.operands[name]
    lengths = np.random.default_rng(sum(sizes)).integers(0, T + 1, N) if ragged else None
    p.dy *= without != "dy"
    p.dlast *= without != "dlast"
    expected = solve_convolution(p, silu, lengths)
    if lengths is not None:
        past_end = np.arange(T)[:, None] >= lengths
        p.dy[past_end] = p.operands["x"][past_end] = np.nan
    each = iter(layouts)
    with use_fused(fused), np.errstate(invalid="ignore"):
        inputs = ConvolutionInputs(
            **{name: lay_out(backend, a, next(each)) for name, a in p.operands.items()},
            silu=silu,
            lengths=None if lengths is None else backend.asarray(lengths),
        )
        y, last = backend.causal_convolution_forward(inputs)
        gradients = backend.causal_convolution_backward(
            inputs,
            None if without == "dy" else lay_out(backend, p.dy, next(each)),
            None if without == "dlast" else lay_out(backend, p.dlast, next(each)),
        )
    found: dict[str, Any] = {"y": y, "last": last}
    found |= {f"d{name}": g for name, g in gradients._asdict().items() if g is not None}
    assert found.keys() == {"y", "last", *(f"d{name}" for name in p.operands)}
    for name, got in found.items():
        agrees(backend, got, expected[name], dtype, name)


def test_a_convolution_continues_from_its_last_inputs(backend: Backend, form: str) -> None:
    p = problems.convolution((11, 2, 7, 4), "float64")
    x, weight = backend.asarray(p.operands["x"]), backend.asarray(p.operands["weight"])
    complete = backend.causal_convolution_forward(ConvolutionInputs(x, weight))
    last: Any = None
    parts = []
    for begin, end in ((0, 1), (1, 3), (3, 11)):
        y, last = backend.causal_convolution_forward(ConvolutionInputs(x[begin:end], weight, initial=last))
        parts.append(backend.to_numpy(y))
    assert_allclose(np.concatenate(parts), backend.to_numpy(complete.y), rtol=0, atol=1e-14)
    assert_array_equal(backend.to_numpy(last), backend.to_numpy(complete.last))


@pytest.mark.parametrize("sizes", [(0, 2, 3, 4), (5, 0, 3, 4), (5, 2, 0, 4)])
def test_a_convolution_of_empty_sizes(backend: Backend, form: str, sizes: tuple[int, int, int, int]) -> None:
    p = problems.convolution(sizes, "float32")
    inputs = ConvolutionInputs(**on(backend, p.operands))
    y, last = backend.causal_convolution_forward(inputs)
    gradients = backend.causal_convolution_backward(inputs, backend.asarray(p.dy), backend.asarray(p.dlast))
    assert y.shape == p.dy.shape
    assert last.shape == p.dlast.shape
    for name, g in gradients._asdict().items():
        assert g.shape == p.operands[name].shape
        assert np.isfinite(backend.to_numpy(g)).all()


def test_operands_of_a_convolution_that_do_not_fit_are_refused(backend: Backend, form: str) -> None:
    x, weight = backend.xp.zeros((5, 2, 6), "float32"), backend.xp.zeros((6, 4), "float32")
    for inputs in (
        ConvolutionInputs(x, backend.xp.zeros((5, 4), "float32")),
        ConvolutionInputs(x, weight, bias=backend.xp.zeros(6, "float64")),
        ConvolutionInputs(x, weight, initial=backend.xp.zeros((4, 2, 6), "float32")),
    ):
        with one_line(TypeError, "fit"):
            backend.causal_convolution_forward(inputs)
