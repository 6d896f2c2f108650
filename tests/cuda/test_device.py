"""The fused forms on a device: real CuPy where there is a GPU, else the stand-in as a small one.

What the emulator can't show is asked again here: that all blocks are resident at once, that a hang ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu.forms import forced
from benchmarks.gpu.variants import compare, variants
from tests import standin_backend
from tests.conftest import GPU_PARAMS
from xrnn import RNN, get_backend, use_fused
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.choice import Candidate, candidates
from xrnn.ops.cells.rnn import RNNCell
from xrnn.ops.inputs import Inputs

BIG = (5, 2**20 + 1, 1, 512)  # T, N, D, H: 2.7e9 elements, so that the last steps begin beyond 2³¹
BIG_BYTES = 40e9


@pytest.fixture(params=["standin", *GPU_PARAMS])
def device(request: pytest.FixtureRequest) -> Iterator[CupyBackend]:
    if request.param == "standin":
        with standin_backend.small() as backend:
            yield backend
    else:
        found = get_backend(request.param)
        assert isinstance(found, CupyBackend)
        yield found


def on_gpu(device: CupyBackend) -> bool:
    return bool(device.xp.__name__ == "cupy")


def largest_group(device: CupyBackend, T: int, N: int, H: int) -> Candidate:
    """The layout with the most blocks."""
    groups = [c for c in candidates(device.launcher.device(), np.dtype("float32"), T, N, H, H) if c.form == "group"]
    return max(groups, key=lambda c: c.grid[0] * c.grid[1])


def arrays(device: CupyBackend, *shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [device.asarray(rng.standard_normal(shape).astype("float32") * 0.5) for shape in shapes]


def training_step(rnn: RNN, x: Any, dh: Any) -> list[np.ndarray[Any, np.dtype[Any]]]:
    h = rnn.forward(x)
    return [rnn.backend.to_numpy(a) for a in (h, *rnn.backward(dh), *rnn.grads)]


def test_every_variant_agrees_with_the_plain_form(device: CupyBackend) -> None:
    found = compare(device)
    assert set(found.values()) == {None}, found
    assert {c.form for c, _, _ in variants(device.launcher.device())} == {"one-block", "group"}


def test_all_blocks_of_the_largest_group_are_resident(device: CupyBackend) -> None:
    T, N, H = (200, 33, 1024) if on_gpu(device) else (3, 3, 260)
    chosen, rnn = largest_group(device, T, N, H), RNN.init(H, H, rng=0, backend=device)
    blocks = chosen.grid[0] * chosen.grid[1]
    assert blocks > 0.9 * device.launcher.device().multiprocessors - 1
    x, dh = arrays(device, (T, N, H), (T, N, H))
    with use_fused(False):
        expected = training_step(rnn, x, dh)
    with forced(chosen):
        assert device.explain("recurrence_backward", RNNCell(), {"T": T, "N": N, "D": H, "H": H}, "float32").form == (
            "group"
        )
        found = training_step(rnn, x, dh)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * abs(want).max())


def test_a_hang_ends_and_the_next_call_raises(device: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    T, N, H = 5, 3, 260
    chosen, rnn = largest_group(device, T, N, H), RNN.init(H, H, rng=0, backend=device)
    (x,) = arrays(device, (T, N, H))
    expected = rnn(x)
    one_missing = replace(chosen, grid=(chosen.grid[0] - 1, chosen.grid[1]))
    Wx, Wh, b = rnn.params
    with monkeypatch.context() as patched:
        patched.setattr(launch, "PATIENCE", 1 << 22 if on_gpu(device) else 500)  # some milliseconds on a GPU
        trace = device.launcher.forward(one_missing, RNNCell(), Inputs(x, Wx, Wh, b, (None,)))
        hs = device.xp.asnumpy(trace.states[0])  # waits: it ends
    assert np.isfinite(hs[1, :, : chosen.columns]).all()
    assert np.isnan(hs[2:]).all()
    with pytest.raises(RuntimeError, match="gave up waiting"):
        rnn(x)
    np.testing.assert_allclose(device.to_numpy(rnn(x)), device.to_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("H", [37, 260])
def test_the_same_bits_every_time_and_on_any_stream(device: CupyBackend, H: int) -> None:
    T, N = 7, 5
    rnn = RNN.init(H, H, rng=0, backend=device)
    x, dh = arrays(device, (T, N, H), (T, N, H))
    first = training_step(rnn, x, dh)
    device.xp.cuda.Device().synchronize()
    with device.xp.cuda.Stream(non_blocking=True):
        again = training_step(rnn, x, dh)
    for a, b in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("H", [37, 260])
def test_a_nan_comes_out_as_nan_and_stays_in_its_row(device: CupyBackend, H: int) -> None:
    T, N = 4, 5
    rnn = RNN.init(H, H, rng=0, backend=device)
    x = np.random.default_rng(0).standard_normal((T, N, H)).astype("float32")
    x[1, 2, 3] = np.uint32(0xFFFFFFFF).view("float32")  # the pattern that means empty to a group
    found = np.isnan(device.to_numpy(rnn(device.asarray(x))))
    expected = np.zeros_like(found)
    expected[1:, 2] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["one-block", "group"])
def test_results_beyond_two_billion_elements(device: CupyBackend, form: str) -> None:
    if not on_gpu(device):
        pytest.skip("needs the memory of a GPU; test_offsets.py does the last rows of it")
    free, _ = device.xp.cuda.runtime.memGetInfo()
    if free < BIG_BYTES:
        pytest.skip(f"needs {BIG_BYTES / 1e9:.0f} GB of free GPU memory, and {free / 1e9:.0f} GB are")
    T, N, D, H = BIG if form == "group" else (BIG[0], 4 * BIG[1], 1, BIG[3] // 4)
    rnn = RNN.init(D, H, rng=0, backend=device)
    x = device.xp.ones((T, N, D), "float32")
    x[:, -3:] = device.xp.asarray(np.random.default_rng(0).standard_normal((T, 3, D)).astype("float32"))
    found = [c for c in candidates(device.launcher.device(), np.dtype("float32"), T, N, D, H) if c.form == form]
    with forced(min(found, key=lambda c: c.seconds)):
        h = device.to_numpy(rnn(x)[:, -3:])
    with use_fused(False):
        expected = device.to_numpy(rnn(x[:, -3:]))
    np.testing.assert_allclose(h, expected, rtol=0, atol=1e-5)
    device.xp.get_default_memory_pool().free_all_blocks()
