"""The emulator is itself tested: what CUDA forbids is reported, what it allows runs, under every schedule."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.cuda_emulator import MISSING, EmulatorError, Module, sanitizer_environment
from tests.cuda_emulator.module import Sanitizer

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SEEDS = (0, 1, 7)
PRELUDE = """
#define SHARED(name) float* name = static_cast<float*>(emulator::current->shared)
extern "C" __global__ void kernel(float* x, unsigned* arrived, int n) {
"""


def run(body: str, *, grid: int = 2, threads: int = 64, seed: int = 0, sanitizer: Sanitizer | None = None) -> Any:
    """x (128,) after kernel(x, arrived, 128) with this body; x starts as zeros, 64 floats of shared memory."""
    x, arrived = np.zeros(128, np.float32), np.zeros(1, np.uint32)
    module = Module(PRELUDE + body + "\n}", sanitizer=sanitizer)
    kernel = module.get_function("kernel")
    kernel((grid,), (threads,), (x, arrived, np.int32(128)), shared_mem=256, seed=seed)
    return x


def under(sanitizer: Sanitizer, body: str) -> subprocess.CompletedProcess[str]:
    """`run(body)` for every seed, in a process that has the sanitizer."""
    program = f"""
from tests.cuda_emulator import test_emulator as t
for seed in t.SEEDS:
    t.run({json.dumps(body)}, seed=seed, sanitizer={sanitizer!r})
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=sanitizer_environment(sanitizer),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_right_kernel_runs(seed: int) -> None:
    x = run(
        "SHARED(s); s[threadIdx.x] = threadIdx.x; __syncthreads();"
        "x[blockIdx.x * blockDim.x + threadIdx.x] = s[63 - threadIdx.x] + 100 * blockIdx.x;",
        seed=seed,
    )
    np.testing.assert_array_equal(x, np.r_[np.arange(64)[::-1], 100 + np.arange(64)[::-1]])


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffles_sum_a_warp(seed: int) -> None:
    x = run(
        "float sum = threadIdx.x;\nfor (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);"
        "x[blockIdx.x * 64 + threadIdx.x] = sum + __shfl_sync(0xffffffffu, (float)threadIdx.x, 3);",
        seed=seed,
    )
    np.testing.assert_array_equal(x[:64], np.r_[[496.0 + 3] * 32, [1520.0 + 35] * 32])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 32) {\n__syncthreads();\n} else {\n__syncthreads();\n}", "different __syncthreads"),
        ("if (threadIdx.x == 3) return;\n__syncthreads();", "ends while others|deadlock"),
        ("if (threadIdx.x & 1) x[0] = __shfl_xor_sync(0xffffffffu, 1.f, 1);", "deadlock"),
        ("x[0] = __shfl_xor_sync(threadIdx.x & 1 ? 0xffffffffu : 0x55555555u, 1.f, 2);", "disagree on its mask"),
        ("x[0] = __shfl_sync(0x1u, 1.f, 0);", "without being in its mask"),
        ("if (threadIdx.x < 16) x[0] = __shfl_sync(0xffffu, 1.f, 20);", "reads a lane outside its mask"),
        ("if (blockIdx.x == 0)\nwhile (emulator::load(arrived) < 1) {}", "livelock"),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_cuda_forbids_is_reported(body: str, message: str, seed: int) -> None:
    with pytest.raises(EmulatorError, match=message):
        run(body, seed=seed)


def test_shared_memory_starts_as_nan() -> None:
    assert np.isnan(run("SHARED(s); x[blockIdx.x * 64 + threadIdx.x] = s[threadIdx.x];")).all()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros(1, np.float32), np.zeros(1, np.uint32), 5), "is a Python int"),
        ((np.zeros(1, np.float32), np.zeros(1, np.uint32), np.int64(5)), "is int64, but the parameter has 4 bytes"),
        ((np.zeros(1, np.float32), np.int32(0), np.int32(0)), "is int32"),
        ((np.zeros(1, np.float32), np.zeros(1, np.uint32), np.zeros(1)), "is an array"),
        ((np.zeros(1, np.float32),), "takes 3 arguments, got 1"),
    ],
)
def test_arguments_of_the_wrong_width_are_refused(args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Module(PRELUDE + "}").get_function("kernel")((1,), (32,), args)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ("SHARED(s); s[threadIdx.x + 1] = 1.f;", "heap-buffer-overflow"),
        ("const int i = blockIdx.x * 64 + threadIdx.x; x[i + (i == n - 1)] = 1.f;", "heap-buffer-overflow"),
        ("*reinterpret_cast<float4*>(x + 1) = float4{1, 2, 3, 4};", "misaligned address"),
        ("SHARED(s); s[threadIdx.x] = 1.f; __syncthreads(); x[threadIdx.x] = s[63 - threadIdx.x];", None),
    ],
)
def test_address_sanitizer_sees_what_is_out_of_bounds(body: str, report: str | None) -> None:
    done = under("address,undefined", body)
    assert (done.returncode != 0) == (report is not None), done.stderr
    assert report is None or report in done.stderr


# A barrier over the grid, written by hand. Everything between // and the end of a line names a part that it needs.
GRID_BARRIER = """
x[blockIdx.x * 64 + threadIdx.x] = 1.f;
__syncthreads();                                    // the block's writes come before its thread 0
if (threadIdx.x == 0) {
    __threadfence();                                // … and are released by it
    atomicAdd(arrived, 1u);                         // … with the count
    while (emulator::load(arrived) < gridDim.x) {}  // it waits for all blocks
    __threadfence();                                // … acquires what they released
}
__syncthreads();                                    // … for its block
const float other = x[(1 - blockIdx.x) * 64 + 63 - threadIdx.x];
if (other != 1.f) x[0] = other;
"""
PARTS = [line for line in GRID_BARRIER.splitlines() if "//" in line]


def test_thread_sanitizer_accepts_a_right_grid_barrier() -> None:
    done = under("thread", GRID_BARRIER)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.split("//")[1].strip(" …"))
def test_thread_sanitizer_reports_a_grid_barrier_with_a_part_removed(part: str) -> None:
    done = under("thread", GRID_BARRIER.replace(part + "\n", "\n", 1))
    assert done.returncode != 0
    assert "data race" in done.stderr or "livelock" in done.stderr, done.stderr


def test_thread_sanitizer_reports_a_missing_block_barrier() -> None:
    done = under("thread", "SHARED(s); s[threadIdx.x] = 1.f; x[threadIdx.x] = s[63 - threadIdx.x];")
    assert done.returncode == 66
    assert "data race" in done.stderr, done.stderr
