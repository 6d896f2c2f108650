"""Runs a CUDA kernel of the recurrence in the emulator, beside the solution of tests/reference.py."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

import autograd.numpy as anp
import numpy as np

from tests import problems, reference
from tests.cuda.variants import Variant
from tests.cuda_emulator import Module, sanitizer_environment
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import choice, launch
from xrnn.typing import HostArray


@dataclass(frozen=True)
class Problem:
    """A recurrence to run: sizes, nonlinearity, and how a group shares it. By default no size is a multiple of a tile.

    spoil  put this value (a NaN, say) into batch row 1 of `spoilt`, which is the input at step 1, or h_prev
    """

    T: int = 4
    N: int = 5
    H: int = 21
    relu: bool = False
    columns: int = 8  # of a group's block
    groups: int = 2
    spoil: float | Literal["all bits set"] | None = None
    spoilt: Literal["input", "h_prev"] = "input"
    missing_blocks: int = 0  # of those that share W: launched without them
    patience: int = 1 << 40


@dataclass
class Operands:
    """What tile.cu is given for one direction. The input's product is taken before: x is what it adds to h @ Wh.

    forward    h[t] = φ(start[t] + h[t-1] @ W), h[-1] = given;    start = x, W = Wh
    backward   dz[t] = (start[t] + dz[t+1] @ W) · φ'(hs[t+1]);    start = dh, W = Whᵀ
    """

    backward: bool
    relu: bool
    x: HostArray  # (T, N, H)
    given: HostArray  # (N, H)
    Wh: HostArray  # (H, H)
    dh: HostArray  # (T, N, H)

    @classmethod
    def draw(cls, variant: Variant, T: int, N: int, H: int, relu: bool) -> Operands:
        drawn = problems.recurrence((T, N, H, H), (1, 1, 1), 1, variant.dtype)
        return cls(variant.backward, relu, drawn.x, drawn.initial[0], drawn.weights[1], drawn.dstates[0])

    def step(self, x: Any, states: Any, Wh: Any) -> tuple[Any, ...]:
        (h,), phi = states, reference.relu if self.relu else anp.tanh
        return (phi(x + h @ Wh),)

    def solve(self) -> tuple[HostArray, HostArray]:
        """→ hs (T+1, N, H), of which backward takes φ' and forward reads nothing, and what is right in float64
        (T, N, H): h, or dz, which is the gradient in x."""
        (h,), (dx, *_) = reference.solve_steps(self.step, self.x, [self.given], [self.Wh], [self.dh])
        hs = np.concatenate([self.given[None], h.astype(self.x.dtype)])
        return hs, dx if self.backward else h

    @property
    def start(self) -> HostArray:
        return self.dh if self.backward else self.x

    @property
    def W(self) -> HostArray:
        return np.ascontiguousarray(self.Wh.T) if self.backward else self.Wh


def run(
    variant: Variant,
    problem: Problem,
    *,
    seed: int = 0,
    sanitizer: Sanitizer | None = None,
    code: str | None = None,
) -> tuple[HostArray, HostArray, bool]:
    """→ what the kernel filled (T, N, H), what is right in float64, and whether it gave up."""
    p, o = problem, Operands.draw(variant, problem.T, problem.N, problem.H, problem.relu)
    T, N, H = p.T, p.N, p.H
    spoilt = o.start[1:2] if p.spoilt == "input" else o.given
    if p.spoil == "all bits set":
        spoilt.view(f"int{8 * spoilt.itemsize}")[..., 1, H // 2] = -1  # as an integer: a conversion would lose bits
    elif p.spoil is not None:
        spoilt[..., 1, H // 2] = p.spoil
    hs, expected = o.solve()

    # Poisoned: all bits set is a NaN, and means empty to a group.
    state = np.empty((T + (not variant.backward), N, H), variant.dtype)
    state.view(f"int{8 * state.itemsize}")[...] = -1
    filled = state if variant.backward else state[1:]
    if not variant.backward:
        state[0] = o.given

    groups = p.groups if variant.form == "group" else 1
    gave_up = launch_kernel(
        variant,
        (o.W, o.start, hs, state),
        p,
        (blocks(variant, N, H, p) - p.missing_blocks, groups),
        code or launch.source(variant.form),
        seed=seed,
        sanitizer=sanitizer,
    )
    return filled, expected, gave_up


def blocks(variant: Variant, N: int, H: int, p: Problem) -> int:
    """Those that split the batch (one-block), or the columns of W (group)."""
    return math.ceil(N / variant.rows) if variant.form == "one-block" else math.ceil(H / p.columns)


def launch_kernel(
    variant: Variant,
    arrays: tuple[HostArray, HostArray, HostArray, HostArray],
    p: Problem,
    grid: tuple[int, int],
    code: str,
    *,
    seed: int = 0,
    sanitizer: Sanitizer | None = None,
) -> bool:
    """Run `code` on W, start, hs and state (tile.cu) → whether it gave up."""
    one_block = variant.form == "one-block"
    T, N, H = arrays[1].shape
    columns = H if one_block else p.columns
    block = choice.layout(variant.dtype, H, columns, variant.rows, variant.kept, variant.kept + 8)
    sizes = (T, N, H, p.relu, block["columns"], block["column_threads"], block["slice"], block["pitch"])
    args: list[Any] = [*arrays, *map(np.int32, sizes)]
    gave_up = np.zeros(1, np.uint32)
    if not one_block:
        args += [np.int64(p.patience), np.uint64(gave_up.ctypes.data)]
    module = Module(code, variant.options, sanitizer=sanitizer)
    module.get_function("one_block" if one_block else "group")(
        grid, (block["threads"],), args, shared_mem=block["shared_bytes"], seed=seed
    )
    return bool(gave_up[0])


def tolerance(dtype: str) -> float:
    """For values near 1 after a few steps: some tens of roundings."""
    return 5e-6 if dtype == "float32" else 1e-13


def check(variant: Variant, problem: Problem, **how: Any) -> None:
    """Run, and compare with float64. Raises AssertionError with both."""
    got, expected, gave_up = run(variant, problem, **how)
    assert not gave_up
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance(variant.dtype), err_msg=str(variant))


@dataclass(frozen=True)
class Job:
    """`check` in a process of its own, which has a sanitizer. `edit` replaces a part of the source."""

    variant: Variant
    problem: Problem = Problem()
    seeds: tuple[int, ...] = (0, 5)
    sanitizer: Sanitizer = "thread"
    edit: tuple[str, str] | None = None

    def start(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.cuda.emulated", pickle.dumps(self).hex()],
            env=sanitizer_environment(self.sanitizer),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run_here(self) -> None:
        code = launch.source(self.variant.form)
        if self.edit is not None:
            assert self.edit[0] in code, f"the source has no {self.edit[0]!r}"
            code = code.replace(*self.edit)
        for seed in self.seeds:
            check(self.variant, self.problem, seed=seed, sanitizer=self.sanitizer, code=code)


if __name__ == "__main__":
    from tests.cuda import emulated  # under the name that the pickle has

    job: emulated.Job = pickle.loads(bytes.fromhex(sys.argv[1]))
    job.run_here()
