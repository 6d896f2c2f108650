"""Runs a CUDA kernel of a recurrence in the emulator, beside the solution of tests/reference.py.

The launch code that runs on a GPU launches it, on the stand-in for CuPy.
"""

from __future__ import annotations

import functools
import itertools
import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias
from unittest import mock

import numpy as np

from tests import reference, standin, standin_backend
from tests.cuda_emulator import Module, run_under
from tests.cuda_emulator.module import Sanitizer
from tests.standin import raw
from xrnn.backends.cupy import choice, launch
from xrnn.backends.cupy.choice import Candidate, Request
from xrnn.backends.cupy.launch import Launcher, Variant
from xrnn.ops import recurrence
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import CurrentRNNCell, LeakyRNNCell
from xrnn.ops.heads import dense
from xrnn.ops.inputs import Inputs, Trace
from xrnn.ops.products import Products
from xrnn.typing import HostArray

PRODUCTS = Products(standin.ndarray.dot, standin.matmul, standin_backend.make().matmul_add)
Edits: TypeAlias = tuple[tuple[str, str], ...]  # parts of the source, and what replaces them
LENGTHS: Final = (0, 4, 2, 3, 1)
# The cell of tests/reference.py by template. Some don't train their leaks: `untrained` of `run`.
CELLS: Final = {
    "TanhElman": "rnn",
    "ReluElman": "relu",
    "SoftplusElman": "softplus",
    "LeakySoftplusElman": "leaky softplus",
    "CurrentTanhElman": "current rnn",
    "CurrentReluElman": "current relu",
    "CurrentSoftplusElman": "current softplus",
    "LeakyTanhElman": "trained leak",
    "LeakyReluElman": "leaky relu",
    "Lstm": "lstm",
    "PeepholeLstm": "peephole lstm",
    "Gru": "gru",
    "MinGru": "min gru",
    "MinGruPositive": "min gru positive",
    "MinLstm": "min lstm",
    "MinLstmPositive": "min lstm positive",
    "Slstm": "slstm",
    "SlstmSigmoid": "slstm sigmoid heads",
    "Lru": "lru",
}
D: Final = 3


@dataclass(frozen=True)
class Problem:
    """A recurrence, and how a group shares it. By default no size is a multiple of a tile.

    spoil   put this value (a NaN, say) into batch row 1: of h_prev, of the input or dh at step 1; or in Wh
    """

    T: int = 4
    N: int = 5
    H: int = 21
    heads: int = 1
    lengths: tuple[int, ...] | None = None
    reverse: bool = False
    units: int = 8  # of a group's block
    groups: int = 2
    extra: int = 8  # rows of the weights that a thread has beyond its registers
    given: bool = True  # whether there is an initial state
    dc: bool = True  # whether gradients of the states past h are given
    unaligned: bool = False  # whether the operands lie at addresses that are no multiples of 16 bytes
    spoil: float | Literal["all bits set"] | None = None
    spoilt: Literal["x", "h_prev", "dh", "Wh"] = "x"
    add: bool = False  # whether there are terms besides x @ Wx, h @ Wh and b
    missing_blocks: int = 0  # of those that share Wh: launched without them
    patience: int = 1 << 40


def several_warps(variant: Variant) -> Problem:
    """Slices of a column in several lanes of each warp; in group-partial, helpers of an output."""
    if variant.form == "group-partial":
        return Problem(T=3, N=3, H=128, units=8, groups=1, extra=0)
    columns = 8 * {"float32": 4, "float64": 2}[variant.dtype]  # eight threads
    units = columns if variant.backward else columns // variant.cell.fed
    return Problem(T=3, N=3, H=72, units=units, groups=1, extra=0)


def candidate_of(variant: Variant, p: Problem) -> Candidate:
    """The variant with the problem's layout."""
    if not variant.tiled:
        return Candidate(variant.form, 1, 1)
    request = Request(variant.cell, variant.backward, variant.dtype, p.T, p.N, D, p.H, p.heads)
    units, grid = p.units, (math.ceil(request.head_units / p.units) - p.missing_blocks, p.groups)
    if variant.form == "one-block":
        units, grid = request.head_units, (math.ceil(p.N / variant.rows), 1)
    layout = choice.layout(request, variant.form, units, variant.rows, variant.held, variant.held + p.extra)
    assert layout is not None, "this needs more threads than a block has"
    return Candidate(variant.form, 1, 1, grid, layout)


@dataclass
class Outcome:
    """Results by name with what is right in float64, and whether the kernel gave up."""

    found: dict[str, HostArray]
    expected: dict[str, HostArray]
    gave_up: int  # the word that a kernel writes when it gives up

    def bits(self) -> bytes:
        return b"".join(array.tobytes() for array in self.found.values())


def draw(variant: Variant, p: Problem) -> reference.Problem:
    lengths = None if p.lengths is None else [min(length, p.T) for length in p.lengths][: p.N]
    cell, sizes = CELLS[variant.cell.template], (p.T, p.N, D, p.H)
    drawn = reference.problem(
        cell, sizes, variant.dtype, reverse=p.reverse, lengths=lengths, dc=p.dc, heads=p.heads, add=p.add
    )
    if p.heads > 1 and drawn.weights[1].ndim == 2:
        drawn.weights[1] = dense(np, of_heads(drawn.weights[1], p.heads))
    if not p.given:
        drawn.initial = [np.zeros_like(state) for state in drawn.initial]
    if p.spoil is not None:
        x, (h_prev, *_), (dh, *_), (_, Wh, *_) = drawn.x, drawn.initial, drawn.dstates, drawn.weights
        assert dh is not None
        spoilt = {"x": x[1, 1], "h_prev": h_prev[1], "dh": dh[1, 1], "Wh": Wh[:1, :1]}[p.spoilt]
        if p.spoil == "all bits set":
            spoilt.view(f"int{8 * spoilt.itemsize}")[...] = -1  # as an integer: a conversion would lose bits
        else:
            spoilt[...] = p.spoil
    return drawn


def of_heads(Wh: HostArray, heads: int) -> HostArray:
    """What lies within the heads of a matrix (H, parts · H) → (heads, K, parts · K). One head: a matrix."""
    if heads == 1 or Wh.ndim == 3:
        return Wh.reshape(Wh.shape[-2:]) if heads == 1 else Wh
    K = len(Wh) // heads
    blocks = Wh.reshape(heads, K, -1, heads, K)
    return np.stack([blocks[j, :, :, j] for j in range(heads)]).reshape(heads, K, -1)


def run(
    variant: Variant,
    problem: Problem,
    *,
    seed: int = 0,
    sanitizer: Sanitizer | None = None,
    edits: Edits = (),
    training: bool = True,
) -> Outcome:
    """Forward: the states, and z if it is kept. Backward, from the plain form's forward: dx, dWx, dWh and db, which
    together show each element of dz, and the gradients of the initial states."""
    p, drawn, launcher = problem, draw(variant, problem), Launcher(standin)
    by_unit = standin.asarray(reference.leaks(p.H).astype(variant.dtype))
    untrained: dict[str, Cell] = {
        "LeakyReluElman": LeakyRNNCell(by_unit, "relu"),
        "LeakySoftplusElman": LeakyRNNCell(by_unit, "softplus"),
        "CurrentTanhElman": CurrentRNNCell(0.3),
        "CurrentReluElman": CurrentRNNCell(by_unit, "relu"),
    }
    cell = untrained.get(variant.cell.template, variant.cell.cell)
    place = unaligned if p.unaligned else standin.asarray
    Wx, Wh, *more = drawn.weights
    x, Wx, Wh, b, *own = (place(a) for a in (drawn.x, Wx, of_heads(Wh, p.heads), *more))
    lengths = None if drawn.lengths is None else standin.asarray(drawn.lengths)
    initial = [place(state) if p.given else None for state in drawn.initial]
    inputs = Inputs(x, Wx, Wh, b, initial, lengths, p.reverse, own)
    if drawn.add is not None:
        inputs.add = place(drawn.add)
    request = Request(variant.cell, variant.backward, variant.dtype, *inputs.sizes(), p.heads)
    with np.errstate(invalid="ignore"):
        solution = reference.solve(drawn)
    plain = recurrence.forward(standin, PRODUCTS, cell, inputs, True)
    compiler = functools.partial(compile_seeded, seed=seed, sanitizer=sanitizer, edits=edits)
    with mock.patch.object(raw, "compiler", compiler), mock.patch.object(launch, "PATIENCE", p.patience):
        bound = launcher.bind(candidate_of(variant, p), request)
        if not variant.backward:
            trace = Trace(inputs, *launcher.forward(bound, cell, inputs, training))
            slots = slice(0, p.T) if p.reverse else slice(1, p.T + 1)
            found = {name: standin.asnumpy(state[slots]) for name, state in zip(cell.states, trace.states, strict=True)}
            expected = dict(zip(cell.states, solution.states, strict=True))
            if not p.missing_blocks:  # the initial states are in place
                prev = -1 if p.reverse else 0
                found |= {
                    f"{name}_prev": standin.asnumpy(s[prev]) for name, s in zip(cell.states, trace.states, strict=True)
                }
                expected |= {f"{name}_prev": s for name, s in zip(cell.states, drawn.initial, strict=True)}
            assert (trace.z is not None) == (training and cell.keeps_z)
            if trace.z is not None and not p.missing_blocks:
                found["z"], expected["z"] = (
                    np.where(drawn.past_end[..., None], 0, standin.asnumpy(t.z)) for t in (trace, plain)
                )
        else:
            dstates = [None if d is None else place(d) for d in drawn.dstates]
            grads = [standin.zeros_like(w) for w in (Wx, Wh, b, *own)]
            coefficients = cell.coefficients(standin, own)
            dz, dinitial = launcher.backward(bound, cell, plain, dstates, coefficients, grads[3:])
            cell.params_gradient(standin, own, coefficients, grads[3:])
            dadd = standin.empty_like(dz)
            dx = recurrence.from_dz(standin, PRODUCTS, cell, plain, dz, grads, dadd=dadd)
            names = [*drawn.gradient_names, "dadd", "dz"]
            found = {name: standin.asnumpy(a) for name, a in zip(names, (dx, *dinitial, *grads, dadd, dz), strict=True)}
            expected = solution.gradients | {"dWh": of_heads(solution.gradients["dWh"], p.heads)}
    return Outcome(found, dict(expected), int(launcher._word(launch.USER)[0][0]))


def unaligned(host: HostArray) -> Any:
    """A device array that begins one element after an aligned address."""
    array = standin.empty(host.size + 1, host.dtype)[1:].reshape(host.shape)
    array.set(host)
    return array


def compile_seeded(*, code: str, options: Any, seed: int, sanitizer: Any, edits: Edits) -> Any:
    """A module of the emulator, as the stand-in's RawModule takes it."""
    for old, new in edits:
        assert old in code, f"the source has no {old!r}"
        code = code.replace(old, new)
    module = Module(code, options, sanitizer=sanitizer)
    return SimpleNamespace(get_function=lambda name: functools.partial(module.get_function(name), seed=seed))


def check(variant: Variant, problem: Problem, **how: Any) -> None:
    """Run, and compare with float64. Raises AssertionError with both."""
    outcome = run(variant, problem, **how)
    assert not outcome.gave_up
    tolerance = 5e-6 if variant.dtype == "float32" else 1e-13  # some tens of roundings
    for name, expected in outcome.expected.items():
        scale, what = max(1.0, np.nanmax(abs(expected), initial=0)), f"{name}: {variant}, {problem}"
        np.testing.assert_allclose(outcome.found[name] / scale, expected / scale, rtol=0, atol=tolerance, err_msg=what)


@dataclass(frozen=True)
class Job:
    """`check` in a process of its own, which has a sanitizer."""

    variant: Variant
    problems: tuple[Problem, ...] = (Problem(),)
    seeds: tuple[int, ...] = (0, 5)
    sanitizer: Sanitizer | None = "thread"
    edits: Edits = ()

    def start(self) -> subprocess.CompletedProcess[str]:
        return run_under(self.sanitizer, "-m", "tests.cuda.emulated", pickle.dumps(self).hex())

    def run_here(self) -> None:
        for problem, seed in itertools.product(self.problems, self.seeds):
            check(self.variant, problem, seed=seed, sanitizer=self.sanitizer, edits=self.edits)


if __name__ == "__main__":
    pickle.loads(bytes.fromhex(sys.argv[1])).run_here()
