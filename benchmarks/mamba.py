"""The selective scan and Mamba models beside other libraries on the CPU: `python -m benchmarks.mamba`.

    operations   the scan with softplus, D and z, forward and with all gradients, beside transformers' loop, the
                 parallel scan of mamba.py, and JAX's lax.scan and associative_scan
    chunk scans  the scan of Mamba-2 with softplus and D, forward and with all gradients, beside transformers' own code,
                 which computes it by matrix products of chunks
    mlstm        the layer of xLSTM 7B, forward and with all gradients: xrnn's MLSTM, which needs no PyTorch, beside
                 transformers' own code, which computes it by matrix products of chunks
    models       random MambaForCausalLM of transformers with 4 layers: its own code, with use_mambapy=True, and
                 accelerated by xrnn.torch; the forward pass of a prompt, a training step, one token with a cache
    models of    the same of Mamba2ForCausalLM, beside transformers' own code, with heads of 64 channels and states of
    Mamba-2      128 keys
    memory       the peak of a model's call above that of the loaded model

Each library runs in its own process, with the same inputs and weights. Before a call is timed, its results are
compared: those of an operation with xrnn's plain form in float64, those of a model with transformers'. A call of more
than two seconds is timed once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from rich.console import Console

from benchmarks import machine
from benchmarks.memory import status
from benchmarks.processes import Child, MissingLibraryError, environment, rotated
from benchmarks.ratios import fastest, ratio
from benchmarks.tables import table, wide_console
from benchmarks.worker import measure
from xrnn import use_fused
from xrnn.ops import selective_scan

Call: TypeAlias = Callable[[], list[Any]]

SCANS: Final = ((1, 512, 512, 16), (8, 256, 1536, 16))  # N, T, D, K
CHUNK_SCANS: Final = ((1, 512, 24, 64, 128), (8, 256, 8, 64, 128))  # N, T, heads, channels of a head, K
MLSTMS: Final = ((512, 1, 512), (512, 8, 256))  # hidden size, N, T
MODELS: Final[dict[str, tuple[tuple[int, int, int], ...]]] = {  # hidden size, N, T
    "forward": ((256, 1, 128), (256, 1, 512), (256, 1, 2048), (256, 8, 512), (768, 1, 512), (768, 1, 2048)),
    "training": ((256, 1, 128), (256, 1, 512), (256, 8, 128), (768, 1, 128), (768, 1, 512)),
    "one token": ((256, 1, 1), (768, 1, 1)),
}
# Without transformers' own code, whose call takes more than half a minute: its training grows with T².
TOO_LONG: Final = {("training", SCANS[1]), ("training", (768, 1, 512))}
MEMORY: Final = tuple(
    (family, kind, case)
    for family in ("Mamba", "Mamba2")
    for kind, case in (("forward", (768, 1, 512)), ("training", (256, 1, 512)))
)
MODELS_2: Final[dict[str, tuple[tuple[int, int, int], ...]]] = {
    "forward": ((256, 1, 512), (256, 1, 2048), (256, 8, 512), (768, 1, 512), (768, 1, 2048)),
    "training": ((256, 1, 128), (256, 1, 512), (256, 8, 128), (768, 1, 512)),
    "one token": ((256, 1, 1), (768, 1, 1)),
}
QUICK: Final[Any] = (
    ((1, 5, 7, 3),),
    ((1, 5, 2, 3, 4),),
    ((16, 1, 64),),
    dict.fromkeys(MODELS, ((16, 1, 4),)),
    dict.fromkeys(MODELS_2, ((32, 1, 4),)),
    (("Mamba", "training", (16, 1, 4)), ("Mamba2", "training", (32, 1, 4))),
)
# Multiply-adds of a step, channel and key, or instructions that take their place: 8 of the first 10 are 2^x.
SLOTS: Final = {"forward": 10, "training": 10 + 18}
_PRODUCT: Final = 1536  # the size of a large matrix product, whose rate is the machine's limit
_ONCE: Final = 2.0  # seconds
_LIMIT: Final = 600.0  # seconds for one answer
_TOLERANCE: Final = 2e-4  # of the largest element


# ---- operations ----


@functools.cache
def scan_operands(N: int, T: int, D: int, K: int) -> dict[str, Any]:
    """In mamba_ssm's layouts, as views of arrays (N, T, columns): in a model the channels are neighbours in memory."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype("float32")

    return {
        "u": draw(N, T, D).swapaxes(1, 2),
        "delta": (draw(N, T, D) - 3).swapaxes(1, 2),
        "A": -16 * rng.random((D, K)).astype("float32"),
        "B": draw(N, T, K).swapaxes(1, 2),
        "C": draw(N, T, K).swapaxes(1, 2),
        "D": draw(D),
        "z": draw(N, T, D).swapaxes(1, 2),
        "delta_bias": draw(D),
    }


def expected_scan(sizes: tuple[int, ...], training: bool) -> list[Any]:
    """The result, or the gradients of its sum, by the plain form in float64."""
    u, delta, A, B, C, skip, z, bias = (array.astype("float64") for array in scan_operands(*sizes).values())
    u, delta, B, C, z = (array.transpose(2, 0, 1) for array in (u, delta, B, C, z))
    inputs = selective_scan.ScanInputs(u, delta, A, B, C, skip, z, bias, softplus=True)
    y, _, saved = selective_scan.forward(np, inputs, training)
    if not training:
        return [y.transpose(1, 2, 0)]
    assert saved is not None
    gradients: list[Any] = [*selective_scan.backward(np, inputs, saved, np.ones_like(y))][:8]
    return [np.moveaxis(g, 0, -1) if np.ndim(g) == 3 else g for g in gradients]


def _scan_by_torch(scan: Callable[..., Any], sizes: tuple[int, ...]) -> dict[str, Call]:
    return _calls_of_torch(scan, scan_operands(*sizes))


def _calls_of_torch(scan: Callable[..., Any], operands: dict[str, Any]) -> dict[str, Call]:
    import torch

    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in operands.items()}

    def forward() -> list[Any]:
        with torch.inference_mode():
            return [scan(**leaves)]

    def training() -> list[Any]:
        return list(torch.autograd.grad(scan(**leaves).sum(), list(leaves.values())))

    return {"forward": forward, "training": training}


def _scan_of_xrnn(sizes: tuple[int, ...]) -> dict[str, Call]:
    from xrnn.torch import selective_scan_fn

    return _scan_by_torch(functools.partial(selective_scan_fn, delta_softplus=True), sizes)


def _scan_of_transformers(sizes: tuple[int, ...]) -> dict[str, Call]:
    import transformers
    from transformers.models.mamba import modeling_mamba

    transformers.logging.set_verbosity_error()

    def scan(u: Any, **others: Any) -> Any:
        return modeling_mamba.mamba_selective_scan(u, others.pop("delta"), **others, delta_softplus=True)

    return _scan_by_torch(scan, sizes)


def _scan_of_mambapy(sizes: tuple[int, ...]) -> dict[str, Call]:
    import transformers
    from transformers.models.mamba import modeling_mamba

    transformers.logging.set_verbosity_error()

    def scan(u: Any, **others: Any) -> Any:
        delta = others.pop("delta")
        return modeling_mamba.mamba_selective_scan(u, delta, **others, delta_softplus=True, use_mambapy=True)

    return _scan_by_torch(scan, sizes)


def _scan_of_jax(kind: str, sizes: tuple[int, ...]) -> dict[str, Call]:
    import jax
    from jax import numpy as jnp

    operands = [
        jnp.asarray(np.ascontiguousarray(array.swapaxes(1, 2) if array.ndim == 3 else array))
        for array in scan_operands(*sizes).values()
    ]
    N, _, D, K = sizes

    def scan(u: Any, delta: Any, A: Any, B: Any, C: Any, skip: Any, z: Any, bias: Any) -> Any:
        delta = jax.nn.softplus(delta + bias)
        if kind == "lax.scan":

            def step(S: Any, at: Any) -> Any:
                u, delta, B, C = at
                S = jnp.exp(delta[..., None] * A) * S + (delta * u)[..., None] * B[:, None]
                return S, (S * C[:, None]).sum(-1)

            by_step = [each.swapaxes(0, 1) for each in (u, delta, B, C)]
            y = jax.lax.scan(step, jnp.zeros((N, D, K)), by_step)[1].swapaxes(0, 1)
        else:
            factors = jnp.exp(delta[..., None] * A)
            terms = (delta * u)[..., None] * B[:, :, None]
            merge = lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1])  # noqa: E731
            y = (jax.lax.associative_scan(merge, (factors, terms), axis=1)[1] * C[:, :, None]).sum(-1)
        return (y + skip * u) * jax.nn.silu(z)

    run = jax.jit(scan)
    differentiate = jax.jit(jax.grad(lambda *given: scan(*given).sum(), argnums=tuple(range(len(operands)))))

    def with_channels_second(results: Sequence[Any]) -> list[Any]:
        return [r.swapaxes(1, 2) if r.ndim == 3 else r for r in jax.block_until_ready(list(results))]

    return {
        "forward": lambda: with_channels_second([run(*operands)]),
        "training": lambda: with_channels_second(differentiate(*operands)),
    }


SCAN_PEERS: Final[dict[str, Callable[[tuple[int, ...]], dict[str, Call]]]] = {
    "xrnn": _scan_of_xrnn,
    "transformers": _scan_of_transformers,
    "mamba.py": _scan_of_mambapy,
    "JAX lax.scan": functools.partial(_scan_of_jax, "lax.scan"),
    "JAX associative_scan": functools.partial(_scan_of_jax, "associative_scan"),
}


# ---- the scan of Mamba-2 ----


@functools.cache
def chunk_scan_operands(N: int, T: int, heads: int, dim: int, K: int) -> dict[str, Any]:
    """In mamba_ssm's layouts."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype("float32")

    return {
        "x": draw(N, T, heads, dim),
        "dt": draw(N, T, heads) - 3,
        "A": -16 * rng.random(heads).astype("float32"),
        "B": draw(N, T, 1, K),
        "C": draw(N, T, 1, K),
        "D": draw(heads),
        "dt_bias": draw(heads),
    }


def expected_chunk_scan(sizes: tuple[int, ...], training: bool) -> list[Any]:
    """The result, or the gradients of its sum, by the plain form in float64."""
    with use_fused(False):
        calls = _chunk_scan_by_torch(_combined(), sizes, "float64")
        return [each.detach().numpy() for each in calls["training" if training else "forward"]()]


def _combined() -> Callable[..., Any]:
    from xrnn.torch import mamba_chunk_scan_combined

    return functools.partial(mamba_chunk_scan_combined, dt_softplus=True)


def _chunk_scan_by_torch(scan: Callable[..., Any], sizes: tuple[int, ...], dtype: str = "float32") -> dict[str, Call]:
    return _calls_of_torch(scan, {name: array.astype(dtype) for name, array in chunk_scan_operands(*sizes).items()})


def _chunk_scan_of_xrnn(sizes: tuple[int, ...]) -> dict[str, Call]:
    return _chunk_scan_by_torch(_combined(), sizes)


def _chunk_scan_of_transformers(sizes: tuple[int, ...]) -> dict[str, Call]:
    import transformers
    from transformers.models.mamba2 import modeling_mamba2

    transformers.logging.set_verbosity_error()
    chunk_size = transformers.Mamba2Config().chunk_size

    def scan(x: Any, **others: Any) -> Any:
        return modeling_mamba2.mamba2_chunk_scan(x, chunk_size=chunk_size, **others, dt_softplus=True)

    return _chunk_scan_by_torch(scan, sizes)


CHUNK_SCAN_PEERS: Final[dict[str, Callable[[tuple[int, ...]], dict[str, Call]]]] = {
    "xrnn": _chunk_scan_of_xrnn,
    "transformers": _chunk_scan_of_transformers,
}


# ---- the layer of xLSTM ----

_HEADS: Final = 4


@functools.cache
def mlstm_operands(hidden: int, N: int, T: int) -> dict[str, Any]:
    """x (N, T, hidden) and the parameters of a new layer, with gates that depend on x.

    The biases of the gates are one array, so that errors are those of its largest gradient: that of igate_bias alone is
    nearly 0, because a common factor of all inputs cancels in h, unless the bound of the normaliser is reached.
    """
    from xrnn import MLSTM

    rng = np.random.default_rng(0)
    layer = MLSTM.init(hidden, hidden, heads=_HEADS, rng=rng)
    layer.in_proj[:, -2 * _HEADS :] = rng.standard_normal((hidden, 2 * _HEADS)) / hidden**0.5
    return {
        "x": rng.standard_normal((N, T, hidden)).astype("float32"),
        "in_proj": layer.in_proj,
        "gate_biases": np.concatenate((layer.igate_bias, layer.fgate_bias)),
        "norm": layer.norm,
        "out_proj": layer.out_proj,
    }


def expected_mlstm(sizes: tuple[int, ...], training: bool) -> list[Any]:
    """The result, or the gradients of its sum, by the plain form in float64."""
    with use_fused(False):
        return _mlstm_of_xrnn(sizes, "float64")["training" if training else "forward"]()


def _mlstm_of_xrnn(sizes: tuple[int, ...], dtype: str = "float32") -> dict[str, Call]:
    from xrnn import MLSTM

    x, in_proj, gate_biases, norm, out_proj = (array.astype(dtype) for array in mlstm_operands(*sizes).values())
    layer = MLSTM(in_proj, gate_biases[:_HEADS].copy(), gate_biases[_HEADS:].copy(), norm, out_proj)
    x = np.ascontiguousarray(x.swapaxes(0, 1))

    def training() -> list[Any]:
        h, _ = layer.forward(x)
        dx: Any = layer.backward(np.ones_like(h))[0]
        d_in_proj, d_igate_bias, d_fgate_bias, *others = layer.grads
        return [dx.swapaxes(0, 1), d_in_proj, np.concatenate((d_igate_bias, d_fgate_bias)), *others]

    return {"forward": lambda: [layer(x)[0].swapaxes(0, 1)], "training": training}


def _mlstm_of_transformers(sizes: tuple[int, ...]) -> dict[str, Call]:
    import torch
    import transformers
    from transformers.models.xlstm import modeling_xlstm

    config = transformers.xLSTMConfig(
        hidden_size=sizes[0],
        num_heads=_HEADS,
        mode="train",
        chunkwise_kernel="chunkwise--native_autograd",
        sequence_kernel="native_sequence__native",
        step_kernel="native",
        autocast_kernel_dtype="float32",
        gate_soft_cap=1e9,  # none
    )
    layer = modeling_xlstm.xLSTMBlock(config.to_xlstm_block_config()).mlstm_layer
    keys, channels = layer.q.out_features, layer.v.out_features

    def run(x: Any, in_proj: Any, gate_biases: Any, norm: Any, out_proj: Any) -> Any:
        names = ["q", "k", "v", "ogate_preact", "igate_preact", "fgate_preact"]
        parts = in_proj.T.split([keys, keys, channels, channels, _HEADS, _HEADS])
        weights = {f"{name}.weight": part for name, part in zip(names, parts, strict=True)}
        weights |= {"igate_preact.bias": gate_biases[:_HEADS], "fgate_preact.bias": gate_biases[_HEADS:]}
        weights |= {"multihead_norm.weight": norm, "out_proj.weight": out_proj.T}
        return torch.func.functional_call(layer, weights, (x,))[0]

    return _calls_of_torch(run, mlstm_operands(*sizes))


MLSTM_PEERS: Final[dict[str, Callable[[tuple[int, ...]], dict[str, Call]]]] = {
    "xrnn": _mlstm_of_xrnn,
    "transformers": _mlstm_of_transformers,
}


# The calls of each library by sizes, the expected results, the names of the sizes.
OPERATIONS: Final[dict[str, tuple[Any, Callable[..., list[Any]], tuple[str, ...]]]] = {
    "chunk scans": (CHUNK_SCAN_PEERS, expected_chunk_scan, ("N", "T", "heads", "dim", "K")),
    "mlstms": (MLSTM_PEERS, expected_mlstm, ("hidden", "N", "T")),
}


# ---- models ----

MODEL_PEERS: Final = {"Mamba": ("xrnn", "transformers", "mamba.py"), "Mamba2": ("xrnn", "transformers")}


def _model(family: str, peer: str, hidden: int) -> Any:
    import torch
    import transformers

    import xrnn.torch

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    if family == "Mamba":
        options: dict[str, Any] = {"use_mambapy": peer == "mamba.py"}
    else:
        options = {"head_dim": 64, "num_heads": 2 * hidden // 64, "n_groups": 1, "state_size": 128}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=256, hidden_size=hidden, num_hidden_layers=4, **options
    )
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    if peer == "xrnn":
        where = xrnn.torch.accelerate(model)
        assert set(where.values()) == {"kernels"}, where
    return model


def model_call(family: str, peer: str, kind: str, hidden: int, N: int, T: int) -> Call:
    import torch

    model = _model(family, peer, hidden)
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (N, T)))
    if kind == "training":
        model.train()

        def train() -> list[Any]:
            model.zero_grad()
            model(tokens, labels=tokens, use_cache=False).loss.backward()
            return [p.grad for p in model.parameters()]

        return train
    model.eval()
    if kind == "forward":
        return lambda: [_without_gradient(model, tokens, use_cache=False).logits]
    filled = _without_gradient(model, tokens.repeat(1, 8), use_cache=True)
    return lambda: [_without_gradient(model, tokens, use_cache=True, cache=filled.cache).logits]


def _without_gradient(model: Any, *arguments: Any, **options: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(*arguments, **options)


# ---- a library in its own process ----


class Library:
    """One library in a child process."""

    def __init__(self, peer: str, threads: int) -> None:
        if peer.startswith("JAX"):
            import jax  # noqa: F401
        else:
            import torch
            import transformers  # noqa: F401

            torch.set_num_threads(threads)
            if peer == "mamba.py":
                import mambapy  # noqa: F401
        self._peer = peer
        self._call: Call = list
        self._first = 0.0

    def prepare_scan(self, kind: str, *sizes: int) -> list[Any]:
        """→ the results of the first call, for the comparison."""
        self._call = SCAN_PEERS[self._peer](sizes)[kind]
        return self._run()

    def prepare_operation(self, part: str, kind: str, *sizes: int) -> list[Any]:
        """→ the results of the first call, for the comparison.   part: in `OPERATIONS`"""
        self._call = OPERATIONS[part][0][self._peer](sizes)[kind]
        return self._run()

    def prepare_model(self, family: str, kind: str, hidden: int, N: int, T: int) -> list[Any]:
        """→ the results of the first call, for the comparison."""
        self._call = model_call(family, self._peer, kind, hidden, N, T)
        return self._run()

    def prepare_product(self) -> None:
        """Time a large matrix product from now on."""
        import torch

        a = torch.ones((_PRODUCT, _PRODUCT))
        self._call = lambda: [a @ a]
        self._run()

    def _run(self) -> list[Any]:
        start = time.perf_counter()
        results = self._call()
        self._first = time.perf_counter() - start
        return [np.asarray(each.detach() if hasattr(each, "detach") else each) for each in results]

    def time(self) -> float:
        """Microseconds of a call."""
        return 1e6 * (self._first if self._first > _ONCE else measure(self._call))

    def peak(self, family: str, kind: str, hidden: int, N: int, T: int) -> int:
        """The peak of a call in bytes, above the loaded model. A small call comes first, which loads the code."""
        model_call(family, self._peer, kind, 32, 1, 16)()
        call = model_call(family, self._peer, kind, hidden, N, T)
        ctypes.CDLL(None).malloc_trim(0)  # otherwise the call could reuse memory that was freed before
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = status("VmRSS")
        results = call()
        after = status("VmHWM")
        del results
        return after - before


def error(results: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest error, of the largest element of each array."""
    return max(
        float(np.abs(got - want).max() / np.abs(want).max()) for got, want in zip(results, expected, strict=True)
    )


@contextlib.contextmanager
def libraries(peers: Sequence[str], threads: int) -> Iterator[dict[str, Child]]:
    """Those that are installed; one line says which are left out."""
    started: dict[str, Child] = {}
    try:
        for peer in peers:
            try:
                started[peer] = _child(peer, threads)
            except MissingLibraryError as missing:
                print(f"left out {missing}. Remedy: pip install -e '.[bench]'", flush=True)
        yield started
    finally:
        for child in started.values():
            child.close()


def _child(peer: str, threads: int) -> Child:
    xla = {"XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"}
    return Child(Library, peer, threads, environment=environment(threads) | xla, suspend=True, limit=_LIMIT)


def _timed(started: dict[str, Child], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {peer: [] for peer in started}
    for order in rotated(list(started), rounds):
        for peer in order:
            times[peer].append(started[peer].ask("time"))
    return times


# ---- measurements ----


def measure_scans(kinds: Sequence[str], scans: Sequence[Any], rounds: int, threads: int) -> list[dict[str, Any]]:
    measured = []
    with libraries(list(SCAN_PEERS), threads) as started, _child("product", threads) as product:
        product.ask("prepare_product")
        for kind in kinds:
            for sizes in scans:
                chosen = _quick_enough(started, kind, sizes)
                results = {peer: child.ask("prepare_scan", kind, *sizes) for peer, child in chosen.items()}
                errors = _errors(results, expected_scan(sizes, kind == "training"), f"{kind} of the scan {sizes}")
                times = _timed(chosen | {"product": product}, rounds)
                products = times.pop("product")
                N, T, D, K = sizes
                row = {"operation": kind, "N": N, "T": T, "D": D, "K": K}
                measured.append(row | {"microseconds": times, "product_microseconds": products, "errors": errors})
    return measured


def measure_operations(
    part: str, kinds: Sequence[str], cases: Sequence[Any], rounds: int, threads: int
) -> list[dict[str, Any]]:
    """part: in `OPERATIONS`"""
    peers, expected, names = OPERATIONS[part]
    measured = []
    with libraries(list(peers), threads) as started:
        for kind in kinds:
            for sizes in cases:
                results = {peer: child.ask("prepare_operation", part, kind, *sizes) for peer, child in started.items()}
                errors = _errors(results, expected(sizes, kind == "training"), f"{kind} of the {part} {sizes}")
                row = {"operation": kind, **dict(zip(names, sizes, strict=True))}
                measured.append(row | {"microseconds": _timed(started, rounds), "errors": errors})
    return measured


def measure_models(family: str, models: dict[str, Sequence[Any]], rounds: int, threads: int) -> list[dict[str, Any]]:
    measured = []
    with libraries(MODEL_PEERS[family], threads) as started:
        for kind, cases in models.items():
            for case in cases:
                chosen = _quick_enough(started, kind, case) if family == "Mamba" else started
                results = {peer: child.ask("prepare_model", family, kind, *case) for peer, child in chosen.items()}
                first = results.get("transformers") or results["xrnn"]
                errors = _errors(results, first, f"{kind} of the {family} model {case}")
                hidden, N, T = case
                row = {"operation": kind, "hidden": hidden, "N": N, "T": T}
                measured.append(row | {"microseconds": _timed(chosen, rounds), "errors": errors})
    return measured


def _quick_enough(started: dict[str, Child], kind: str, case: tuple[int, ...]) -> dict[str, Child]:
    return {peer: child for peer, child in started.items() if peer != "transformers" or (kind, case) not in TOO_LONG}


def measure_memory(cases: Sequence[tuple[str, str, Any]], threads: int) -> list[dict[str, Any]]:
    measured = []
    for family, kind, (hidden, N, T) in cases:
        peaks = {}
        for peer in MODEL_PEERS[family]:
            with contextlib.suppress(MissingLibraryError), _child(peer, threads) as child:
                peaks[peer] = child.ask("peak", family, kind, hidden, N, T)
        row = {"family": family, "operation": kind, "hidden": hidden, "N": N, "T": T}
        measured.append(row | {"peak_bytes": peaks})
    return measured


def _errors(results: dict[str, list[Any]], expected: list[Any], what: str) -> dict[str, float]:
    """The errors by library.   Raises RuntimeError if one is too large."""
    errors = {peer: error(found, expected) for peer, found in results.items()}
    for peer, found in errors.items():
        if not found < _TOLERANCE:
            raise RuntimeError(f"{peer}, {what}: results differ by {found:.1e}, expected below {_TOLERANCE}")
    return errors


def share_of_limit(row: dict[str, Any]) -> float:
    """The time in which the machine's rate allows the multiply-adds of a scan, divided by xrnn's median.

    The rate is that of the fastest product of all rounds, because other work on the machine can only lower it.
    """
    adds = SLOTS[row["operation"]] * row["N"] * row["T"] * row["D"] * row["K"]
    limit = adds / _PRODUCT**3 * min(row["product_microseconds"])
    return limit / statistics.median(row["microseconds"]["xrnn"])


# ---- tables and picture ----


def print_mamba(results: dict[str, Any], console: Console) -> None:
    names = {
        "scans": ("selective scan", "N, T, D, K"),
        "chunk scans": ("scan of Mamba-2", "N, T, heads, dim, K"),
        "mlstms": ("mLSTM layer", "hidden, N, T"),
        "models": ("MambaForCausalLM, 4 layers", "hidden, N, T"),
        "models of Mamba-2": ("Mamba2ForCausalLM, 4 layers", "hidden, N, T"),
    }
    for part, (title, sizes) in names.items():
        rows_of: dict[str, list[Any]] = {}
        for row in results.get(part, []):
            rows_of.setdefault(row["operation"], []).append(row)
        for kind, rows in rows_of.items():
            peers = list(dict.fromkeys(peer for row in rows for peer in row["microseconds"]))
            others = [peer for peer in peers if peer != "xrnn"]
            columns = [
                sizes,
                "xrnn, ms",
                *(["of the limit"] if part == "scans" else []),
                *(f"{p} / xrnn" for p in others),
            ]
            lines, ratios = [], []
            for row in rows:
                times = row["microseconds"]
                theirs = {peer: of_peer for peer, of_peer in times.items() if peer != "xrnn"}
                ratios.append(ratio(times["xrnn"], theirs[fastest(theirs)]).median)
                ours = statistics.median(times["xrnn"])
                line = [", ".join(str(row[size]) for size in sizes.split(", ")), f"{ours / 1e3:,.2f}"]
                line += [f"{share_of_limit(row):.0%}"] if part == "scans" else []
                line += [f"{ratio(times['xrnn'], times[p]).median:.1f}" if p in times else "" for p in others]
                lines.append(line)
            mean = f"fastest other / xrnn, geometric mean: {statistics.geometric_mean(ratios):.1f}"
            console.print(table(f"{title}: {kind}; {mean}", columns, lines))
    if not results["memory"]:
        return
    lines = [
        [f"{row['family']}, {row['operation']}, {row['hidden']}, {row['N']}, {row['T']}"]
        + [
            f"{row['peak_bytes'][peer] / 2**20:,.0f}" if peer in row["peak_bytes"] else ""
            for peer in MODEL_PEERS["Mamba"]
        ]
        for row in results["memory"]
    ]
    console.print(table("peak memory above the model, MiB", ["model, hidden, N, T", *MODEL_PEERS["Mamba"]], lines))


def draw(results: dict[str, Any], path: Path) -> None:
    """One bar chart: how many times as fast as transformers each model is."""
    import matplotlib

    matplotlib.use("agg")  # into a file, without a display
    from matplotlib import pyplot

    rows = [row for row in results["models"] if "transformers" in row["microseconds"]]
    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    bars = {"xrnn": ("accelerated by xrnn.torch", "#0072b2"), "mamba.py": ("with use_mambapy=True", "#e69f00")}
    for number, (peer, (label, colour)) in enumerate(bars.items()):
        speeds = [ratio(row["microseconds"][peer], row["microseconds"]["transformers"]).median for row in rows]
        places = [place + 0.4 * (number - 0.5) for place in range(len(rows))]
        drawn = axes.bar(places, [speed - 1 for speed in speeds], 0.4, bottom=1, label=label, color=colour)
        axes.bar_label(drawn, [f"{speed:.1f}" if speed < 10 else f"{speed:.0f}" for speed in speeds], fontsize=7)
    axes.axhline(1, color="#d55e00", linewidth=1.8, label="transformers (1)")
    axes.set_yscale("log")
    axes.set_ylabel("times as fast as transformers\n(higher is better)")
    labels = [f"{row['operation']}\nd={row['hidden']}\nN={row['N']}\nT={row['T']}" for row in rows]
    axes.set_xticks(range(len(rows)), labels, fontsize=7)
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
    about, found = results["machine"], results["versions"]
    libraries = f"PyTorch {found['torch'].removesuffix('+cpu')}, transformers {found['transformers']}"
    threads = "one thread" if about["threads"] == 1 else f"{about['threads']} threads"
    figure.supxlabel(f"{about['cpu']}, {threads}, float32, {about['date'][:10]}. {libraries}", fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mamba", description="Mamba beside other libraries")
    of_scans = {f"scan {kind}": kind for kind in SLOTS}
    of_chunk_scans = {f"chunk scan {kind}": kind for kind in SLOTS}
    of_models_2 = {f"Mamba-2 {kind}": kind for kind in MODELS_2}
    of_mlstms = {f"mlstm {kind}": kind for kind in SLOTS}
    parts = [*of_scans, *of_chunk_scans, *of_mlstms, *MODELS, *of_models_2, "memory"]
    parser.add_argument(
        "--parts",
        type=machine.some_of(parts),
        default=parts,
        help=f"some of {', '.join(parts)}, with commas between them; the file in --out keeps the other parts",
    )
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see whether everything works")
    parser.add_argument("--draw", metavar="PNG", type=Path, help="draw the file in --out, and measure nothing")
    machine.add_options(parser)
    options = parser.parse_args(arguments)
    file = options.out / f"mamba-{options.threads}.json"
    if options.draw:
        draw(machine.read(file), options.draw)
        return
    machine.print_version()
    machine.pin(options.threads)
    results: dict[str, Any] = {
        "scans": [],
        "chunk scans": [],
        "mlstms": [],
        "models": [],
        "models of Mamba-2": [],
        "memory": [],
    }
    if file.exists() and options.parts != parts:
        results |= machine.read(file)
    sizes: Any = QUICK if options.quick else (SCANS, CHUNK_SCANS, MLSTMS, MODELS, MODELS_2, MEMORY)
    scans, chunk_scans, mlstms, models, models_2, memory = sizes
    kinds = [kind for part, kind in of_scans.items() if part in options.parts]
    chosen = {kind: cases for kind, cases in models.items() if kind in options.parts}
    results["scans"] = [row for row in results["scans"] if row["operation"] not in kinds]
    results["models"] = [row for row in results["models"] if row["operation"] not in chosen]
    if kinds:
        results["scans"] += measure_scans(kinds, scans, options.rounds, options.threads)
    for name, of_parts, cases in (("chunk scans", of_chunk_scans, chunk_scans), ("mlstms", of_mlstms, mlstms)):
        if kinds := [kind for part, kind in of_parts.items() if part in options.parts]:
            kept = [row for row in results[name] if row["operation"] not in kinds]
            results[name] = kept + measure_operations(name, kinds, cases, options.rounds, options.threads)
    if chosen:
        results["models"] += measure_models("Mamba", chosen, options.rounds, options.threads)
    if chosen_2 := {kind: models_2[kind] for part, kind in of_models_2.items() if part in options.parts}:
        kept = [row for row in results["models of Mamba-2"] if row["operation"] not in chosen_2]
        measured = measure_models("Mamba2", chosen_2, options.rounds, options.threads)
        results["models of Mamba-2"] = kept + measured
    if "memory" in options.parts:
        results["memory"] = measure_memory(memory, options.threads)
    results |= {"machine": machine.describe(options.threads), "versions": versions()}
    machine.write(results, file)
    print_mamba(results, wide_console())


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "mambapy", "jax"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    main()
