"""The fused forms on a device: real CuPy where there is a GPU, else the stand-in as a small one.

What the emulator can't show is asked again here: that all blocks are resident at once, that a hang ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks.cases import LAYERS
from benchmarks.gpu.forms import forced
from benchmarks.gpu.variants import compare, compared
from tests import standin_backend
from tests.backends.cupy.steps import step
from tests.conftest import GPU_PARAMS
from xrnn import RNN, get_backend, use_fused
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.cells import NAMED, CellKernel, kernel_of
from xrnn.backends.cupy.choice import Candidate, Device, Request, candidates
from xrnn.backends.cupy.launch import Variant, variants
from xrnn.ops.inputs import Inputs

HIDDEN = (1024, 768, 512, 384, 260)  # the last one has a group on every device
SMALL = 100  # the same for the stand-in, with five multiprocessors


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


def request(rnn: Any, T: int, N: int, *, backward: bool = False) -> Request:
    kernel, D, H = kernel_of(rnn.cell), rnn.input_size, rnn.hidden_size
    assert kernel is not None
    return Request(kernel, backward, "float32", T, N, D, H)


def largest_group(device: Device, request: Request, form: str = "group") -> Candidate | None:
    """The layout with the most blocks. None if Wh is too large for a group of this device."""
    groups = [c for c in candidates(device, request) if c.form == form]
    return max(groups, key=lambda c: math.prod(c.grid), default=None)


def largest_pair(
    device: Device, cell: str, form: str, T: int, N: int, hidden: Sequence[int] = HIDDEN
) -> tuple[int, Candidate, Candidate]:
    """→ H, and the forward and backward groups of this H, which have the most blocks that the device reaches."""
    found = []
    for H in hidden:
        forward = largest_group(device, Request(NAMED[cell], False, "float32", T, N, H, H))
        backward = largest_group(device, Request(NAMED[cell], True, "float32", T, N, H, H), form)
        if forward and backward:
            found.append((H, forward, backward))
    return max(found, key=lambda each: min(math.prod(c.grid) for c in each[1:]))


# In .ci/proof one variant of each kernel in float32, and of the first cells in float64.
@pytest.mark.parametrize("few", [4, pytest.param(30, marks=pytest.mark.proof)])
def test_every_variant_agrees_with_the_plain_form(device: CupyBackend, few: int) -> None:
    found = compare(device, None if on_gpu(device) else few, tell=lambda found: None)
    assert set(found.values()) == {None}, found
    every = {Variant.of(c, r) for c, r in compared(device.launcher.device())}
    assert kernels(every) == kernels(variants())


def kernels(found: Iterable[Variant]) -> set[tuple[CellKernel, str, bool, str]]:
    """What the variants are tiles of. A device with little shared memory has no use for some of the tiles."""
    return {(v.cell, v.form, v.backward, v.dtype) for v in found}


GROUPS = [("rnn", "group"), ("lstm", "group"), ("lstm", "group-partial")]


@pytest.mark.parametrize(("cell", "form"), GROUPS)
def test_all_blocks_of_the_largest_group_are_resident(device: CupyBackend, cell: str, form: str) -> None:
    T, N, hidden = (200, 33, HIDDEN) if on_gpu(device) else (3, 3, (SMALL,))
    H, forward, backward = largest_pair(device.launcher.device(), cell, form, T, N, hidden)
    rnn = LAYERS[cell].init(H, H, rng=0, backend=device)
    with use_fused(False):
        expected = step(rnn, (T, N, H, H), "float32")
    with forced(forward, backward):
        found = step(rnn, (T, N, H, H), "float32")
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * abs(want).max())


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_two_groups_on_two_streams_are_resident_in_turn(device: CupyBackend, cell: str) -> None:
    """Behind work that fills the GPU, one on a stream of high priority: neither waits for blocks that get no place."""
    T, N, hidden = (200, 33, HIDDEN) if on_gpu(device) else (3, 3, (SMALL,))
    H, *pair = largest_pair(device.launcher.device(), cell, "group", T, N, hidden)
    rnn, cuda = LAYERS[cell].init(H, H, rng=0, backend=device), device.xp.cuda
    x = device.asarray(np.random.default_rng(0).standard_normal((T, N, H)).astype("float32"))

    def h_of(result: Any) -> Any:
        return result[0] if isinstance(result, tuple) else result

    with forced(*pair):
        expected = device.to_numpy(h_of(rnn(x)))
        blocker = device.xp.ones((4096 if on_gpu(device) else 8,) * 2, "float32")
        product = device.xp.empty_like(blocker)
        streams = [cuda.Stream(non_blocking=True), cuda.Stream(non_blocking=True, priority=-1)]
        cuda.Device().synchronize()
        with cuda.Stream(non_blocking=True):
            for _ in range(10):
                device.xp.matmul(blocker, blocker, out=product)
        found: list[tuple[Any, Any]] = []
        for stream in 3 * streams:
            with stream:
                found.append((stream, h_of(rnn(x))))
        for stream, h in found:
            with stream:
                np.testing.assert_array_equal(device.to_numpy(h), expected)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_hang_ends_and_the_next_call_raises(device: CupyBackend, cell: str) -> None:
    T, N, H = 5, 3, HIDDEN[-1] if on_gpu(device) else SMALL
    rnn = LAYERS[cell].init(H, H, rng=0, backend=device)
    chosen = largest_group(device.launcher.device(), request(rnn, T, N))
    assert chosen is not None
    assert chosen.layout is not None
    x = device.asarray(np.random.default_rng(0).standard_normal((T, N, H)).astype("float32"))
    one_missing = replace(chosen, grid=(chosen.grid[0] - 1, chosen.grid[1]))
    expected = rnn(x)
    Wx, Wh, b = rnn.params
    inputs = Inputs(x, Wx, Wh, b, [None] * len(rnn.cell.states))
    bound = device.launcher.bind(one_missing, request(rnn, T, N))
    patience = 1 << 22 if on_gpu(device) else 500  # some milliseconds on a GPU
    with mock.patch.object(launch, "PATIENCE", patience):
        outputs, *_ = device.launcher.forward(bound, rnn.cell, inputs, True)
        hs, *_ = states = [device.xp.asnumpy(state) for state in outputs]  # waits: it ends
    assert np.isfinite(hs[1, :, : chosen.layout.units]).all()
    present = one_missing.grid[0] * chosen.layout.units
    assert all(np.isnan(state[2:, :, :present]).all() for state in states)
    with pytest.raises(RuntimeError, match="gave up waiting"):
        rnn(x)
    for got, want in zip(*((h if isinstance(h, tuple) else (h,)) for h in (rnn(x), expected)), strict=True):
        np.testing.assert_allclose(device.to_numpy(got), device.to_numpy(want), rtol=0, atol=1e-5)


@pytest.mark.parametrize("H", [37, 260])
def test_the_same_bits_every_time_and_on_any_stream(device: CupyBackend, H: int) -> None:
    rnn = RNN.init(H, H, rng=0, backend=device)
    first = step(rnn, (7, 5, H, H), "float32")
    device.xp.cuda.Device().synchronize()
    with device.xp.cuda.Stream(non_blocking=True):
        again = step(rnn, (7, 5, H, H), "float32")
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]
