"""The rounding errors of each form: `python -m benchmarks.accuracy`.

It measures the largest error of tanh over all exponents, in ulp, and the RMS error of the hidden states of a long
sequence: of each form in float32, of products in bfloat16 and of weights of 8 bits, beside PyTorch's bfloat16.

With `--products` it measures products by tile registers (AMX) instead, in bfloat16x3 and bfloat16, beside float32: the
errors of h and of all gradients, over the sizes of the tables. Without AMX it uses emulated tiles, which the builds of
`make test` have; that takes some minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Final

import mpmath
import numpy as np
from rich.console import Console

import xrnn
from benchmarks import machine
from benchmarks.cases import COMMON, GATES, LAYERS, STATED, Case, Problem
from benchmarks.peers.xrnn_layer import layer_of, sequence
from benchmarks.tables import table, wide_console
from xrnn.backends.numpy import kernels
from xrnn.info import describe, explain
from xrnn.ops.cells.rnn import RNNCell
from xrnn.typing import HostArray

SEQUENCE: Final = Case(T=1000, N=16, D=64, H=128)
TILE_ROWS: Final = 16  # tiles are used with this number of rows or more
_RADIUS: Final = 0.9
_FORMS: Final = {"fused": True, "plain": False}
# With fewer bits. The plain form rounds to bfloat16 as the kernels do, at any size and on any CPU.
_BFLOAT16: Final = "bfloat16 products"
_INT8: Final = "int8 weights"
_TORCH: Final = "PyTorch, bfloat16"


def tanh_ulp(dtype: str, per_exponent: int) -> float:
    """The largest error of the layer's tanh, in units in the last place, over every exponent, subnormals included.

    The layer computes tanh(x @ I + 0 @ 0 + 0), in which each product and each sum is exact.
    """
    H = 64
    values = _every_exponent(dtype, per_exponent)
    x = np.resize(values, (-(-len(values) // H), H))
    zeros = np.zeros((H, H), dtype)
    got = xrnn.RNN(np.eye(H, dtype=dtype), zeros, zeros[0])(x)
    with mpmath.workprec(120):
        exact = [mpmath.tanh(mpmath.mpf(float(value))) for value in x.ravel()]
        ulps = [
            abs(mpmath.mpf(float(g)) - e) / mpmath.mpf(float(np.spacing(abs(np.asarray(float(e), dtype)))))
            for g, e in zip(got.ravel(), exact, strict=True)
        ]
    return float(max(ulps))


def _every_exponent(dtype: str, per_exponent: int) -> HostArray:
    """Random numbers of both signs, `per_exponent` for each exponent of `dtype`."""
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    rng = np.random.default_rng(0)
    mantissas = rng.uniform(1, 2, (len(exponents), per_exponent)) * rng.choice((-1, 1), (len(exponents), per_exponent))
    # At the last exponent a mantissa that rounds up to 2 would give infinity.
    values = np.ldexp(np.clip(mantissas, -1.99999, 1.99999), exponents[:, None])
    return values.astype(dtype).ravel()


def sequence_rms(cell: str, seed: int) -> dict[str, float]:
    """The RMS error of h in float32 over a long sequence, by form. The reference is the plain form in float64.

    Wh is scaled to a spectral radius of 0.9; in a cell with gates, so is each gate's block of columns.
    """
    problem = Problem(replace(SEQUENCE, cell=cell), seed)
    for of_gate in np.split(problem.Wh, GATES[cell][1], axis=1):
        of_gate *= np.float32(_RADIUS / np.abs(np.linalg.eigvals(of_gate.astype(np.float64))).max())

    def hidden(dtype: str, fused: bool) -> HostArray:
        weights, x, states = (
            [array.astype(dtype) for array in arrays] for arrays in (problem.weights, [problem.x], problem.states)
        )
        with xrnn.use_fused(fused):
            result = LAYERS[cell](*weights)(*x, *states)
        return _first(result)

    exact = hidden("float64", fused=False)
    found = {form: hidden("float32", fused) for form, fused in _FORMS.items()}
    with xrnn.use_precision("bfloat16"):
        found[_BFLOAT16] = hidden("float32", fused=False)
    layer = LAYERS[cell](*problem.weights)
    found[_INT8] = _first(xrnn.quantize(layer)(problem.x, *problem.states))
    if find_spec("torch") and (h := _in_torch(layer, problem)) is not None:
        found[_TORCH] = h
    return {form: float(np.sqrt(np.mean((h - exact) ** 2))) for form, h in found.items()}


def _in_torch(layer: Any, problem: Problem) -> HostArray | None:
    """h of the same layer in PyTorch under autocast; None if PyTorch has none in bfloat16 for this CPU."""
    import torch

    from xrnn.torch.bfloat16 import lacks_lstm

    x, *states = (torch.from_numpy(array) for array in (problem.x, *problem.states))
    initial = [state[None] for state in states]
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            h, _ = xrnn.to_torch(layer)(x, tuple(initial) if len(initial) > 1 else initial[0])
    except RuntimeError as error:
        if not lacks_lstm(error):
            raise
        return None
    return h.float().numpy()


def _first(result: Any) -> HostArray:
    return result[0] if isinstance(result, tuple) else result


def measure_accuracy(seeds: int, per_exponent: int, threads: int) -> dict[str, Any]:
    ulp: dict[str, dict[str, float]] = {}
    rms: dict[str, dict[str, list[float]]] = {}
    forms: dict[str, str] = {}
    backend = xrnn.get_backend("numpy")
    sizes = {letter: getattr(SEQUENCE, letter) for letter in "TNDH"}
    with xrnn.use_backend("numpy"):
        for form, fused in _FORMS.items():
            with xrnn.use_fused(fused):
                forms[form] = explain(backend, "recurrence_forward", RNNCell(), sizes, "float32").form
                ulp[form] = {dtype: tanh_ulp(dtype, per_exponent) for dtype in ("float32", "float64")}
        for cell in COMMON:
            by_seed = [sequence_rms(cell, seed) for seed in range(seeds)]
            rms[cell] = {form: [errors[form] for errors in by_seed] for form in by_seed[0]}
    return {
        "machine": machine.describe(threads),
        "versions": {"xrnn": xrnn.__version__, **describe(backend)},
        "forms": forms,
        "tanh_ulp": ulp,
        "case": SEQUENCE.name,
        "spectral_radius": _RADIUS,
        "rms": rms,
    }


def product_errors(case: Case) -> dict[str, dict[str, float]]:
    """By precision, the RMS error of h and of the gradients, relative to the RMS of the values.

    That of the gradients is the RMS over the arrays, dx, dWx, … The reference is float64. An array without elements,
    such as dWh of a cell without a recurrent product, has no error.
    """
    problem = Problem(case)
    layer = layer_of(problem)
    reference = problem.reference
    before = kernels.level()
    errors = {}
    tiles = next((level for level in ("amx", "amx-emulated") if level in _levels()), None)
    levels = {"float32": kernels.levels()[-1]} | ({"bfloat16x3": tiles, "bfloat16": tiles} if tiles else {})
    for precision, level in levels.items():
        kernels.set_level(level)
        kernels.force_products(True)
        try:
            with xrnn.use_precision(precision):  # type: ignore[arg-type]
                found = sequence(problem, layer)["train"]()
        finally:
            kernels.force_products(False)
            kernels.set_level(before)
        of_array = [
            _relative_rms(np.where(problem.within[..., None], got, 0) if name == "h" else got, want)
            for (name, want), got in zip(reference.items(), found, strict=True)
            if want.size
        ]
        errors[precision] = {"h": of_array[0], "gradients": float(np.sqrt(np.mean(np.square(of_array[1:]))))}
    return errors


def _relative_rms(got: HostArray, want: HostArray) -> float:
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


def _levels() -> list[str]:
    return [*kernels.levels(), *kernels.emulated_levels()]


def measure_products(cases: Sequence[Case], threads: int) -> dict[str, Any]:
    with xrnn.use_backend("numpy"):
        measured = [{"case": case.name, "errors": product_errors(case)} for case in cases]
        return {"machine": machine.describe(threads), "levels": _levels(), "cases": measured}


def print_products(results: dict[str, Any], console: Console) -> None:
    kinds = list(results["cases"][0]["errors"])
    columns = ["", *(f"{of}, {kind}" for of in ("h", "gradients") for kind in kinds)]
    rows = [
        [row["case"], *(f"{row['errors'][kind][of]:.2e}" for of in ("h", "gradients") for kind in kinds)]
        for row in results["cases"]
    ]
    console.print(table("relative RMS error against float64", columns, rows, left=1))
    for kind in kinds[1:]:
        for of in ("h", "gradients"):
            quotients = [row["errors"][kind][of] / row["errors"]["float32"][of] for row in results["cases"]]
            console.print(
                f"{of}: RMS {kind} / float32, geometric mean over {len(quotients)} sizes: "
                f"{statistics.geometric_mean(quotients):.3f} ({min(quotients):.3f}–{max(quotients):.3f})"
            )


def print_accuracy(results: dict[str, Any], console: Console) -> None:
    columns = ["", "runs as", "tanh float32, ulp", "tanh float64, ulp", *(f"RMS, {cell}" for cell in results["rms"])]
    rows = [
        [
            form,
            results["forms"].get(form, ""),
            *(f"{ulp:.2f}" for ulp in results["tanh_ulp"].get(form, {}).values()),
            *[""] * (0 if form in results["tanh_ulp"] else 2),
            *(
                f"{statistics.geometric_mean(by_form[form]):.2e}" if form in by_form else ""
                for by_form in results["rms"].values()
            ),
        ]
        for form in next(iter(results["rms"].values()))
    ]
    title = f"accuracy against float64; sequence {results['case']}, spectral radius {results['spectral_radius']}"
    console.print(table(title, columns, rows, left=2))
    for cell, by_form in results["rms"].items():
        quotients = [fused / plain for fused, plain in zip(by_form["fused"], by_form["plain"], strict=True)]
        console.print(
            f"{cell}: RMS fused / plain, geometric mean over {len(quotients)} seeds: "
            f"{statistics.geometric_mean(quotients):.3f} ({min(quotients):.3f}–{max(quotients):.3f})"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="errors against float64")
    parser.add_argument("--seeds", type=machine.positive, default=20, help="(default: %(default)s)")
    parser.add_argument("--per-exponent", type=machine.positive, default=8, help="(default: %(default)s)")
    parser.add_argument("--products", action="store_true", help="products by tiles (AMX) beside float32, instead")
    parser.add_argument(
        "--cases", default="", help="with --products: only cases of this cell, or with such a part in the name"
    )
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    machine.print_version()
    if options.products:
        cases = machine.cases_named(parser, [case for case in STATED if case.N >= TILE_ROWS], options.cases)
        results = measure_products(cases, options.threads)
        machine.write(results, options.out / "products.json")
        print_products(results, wide_console())
        return
    with machine.threadpools().threadpool_limits(options.threads):
        results = measure_accuracy(options.seeds, options.per_exponent, options.threads)
    machine.write(results, options.out / "accuracy.json")
    print_accuracy(results, wide_console())


if __name__ == "__main__":
    main()
