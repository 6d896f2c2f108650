"""The emulator reports what CUDA forbids, under every schedule.

tests/cuda/test_kernels.py shows that right kernels run, and test_sanitized.py that its sanitizers report broken ones.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.cuda_emulator import MISSING, EmulatorError, Module

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SEEDS = (0, 1, 7)
PRELUDE = """
extern "C" __global__ void kernel(float* x, unsigned* arrived, int n) {
"""


def run(body: str, *, seed: int = 0) -> Any:
    """x (128,) after kernel(x, arrived, 128) with this body; x starts as zeros, 64 floats of shared memory."""
    x, arrived = np.zeros(128, np.float32), np.zeros(1, np.uint32)
    kernel = Module(PRELUDE + body + "\n}").get_function("kernel")
    kernel((2,), (64,), (x, arrived, np.int32(128)), shared_mem=256, seed=seed)
    return x


def test_threads_launch_one_after_the_other() -> None:
    """They once shared the schedule: a launch hung, or the process crashed."""
    body = "for (int i = 0; i < 50; i++) { __syncthreads(); x[blockIdx.x * 64 + threadIdx.x] += 1; }"
    run(body)  # compiles it
    with ThreadPoolExecutor(4) as threads:
        for x in threads.map(lambda _: run(body), range(12)):
            np.testing.assert_array_equal(x, np.full(128, 50))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 32) {\n__syncthreads();\n} else {\n__syncthreads();\n}", "different __syncthreads"),
        ("if (threadIdx.x == 3) return;\n__syncthreads();", "ends while others|deadlock"),
        ("emulator::require_aligned(x + 1);", "misaligned"),
        ("if (threadIdx.x != 3)\n__shfl_xor_sync(~0u, 1.f, 1);", "deadlock"),
        ("if (threadIdx.x != 3)\n__syncwarp();", "deadlock"),
        ("if (threadIdx.x & 1) {\n__syncwarp();\n} else {\n__syncwarp();\n}", "different lines"),
        ("if (threadIdx.x == 3) __shfl_xor_sync(7u, 1.f, 1);", "not named"),
        ("if (threadIdx.x < 3) __shfl_xor_sync(7u, 1.f, 1);", "not named"),
        ("if (threadIdx.x < 2) __shfl_xor_sync(threadIdx.x ? 7u : 3u, 1.f, 1);", "name different lanes"),
        ("if (blockIdx.x == 0)\nwhile (emulator::load(arrived) < 1) {}", "livelock"),
    ],
)
def test_what_cuda_forbids_is_reported(body: str, message: str) -> None:
    for seed in SEEDS:
        with pytest.raises(EmulatorError, match=message):
            run(body, seed=seed)
