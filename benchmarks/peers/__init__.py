"""The libraries that are compared, one short module each, each run in a process of its own.

A peer's module has two functions:

    about() -> dict of facts: versions, devices
    build(problem, threads, **options) -> Built    (threads 0: as many as the library takes by itself)

where the calls in `Built` take no arguments and leave their results in the library's own arrays:

    "step"     one step, nothing recorded → h (N, H)
    "stream"   the same, which also gives the states for the next step
    "forward"  the whole sequence, as a user calls it for inference → h (T, N, H)
    "train"    forward and backward → h, dx, dh_prev, dWx, dWh, db
    "train on data"  the same without dx: nobody needs the gradient of a first layer's input
    "product"  a large matrix product, which gives the machine's own rate
    "base forward", "base train"  those of `Case.base`

and others that one of the commands asks for by name. A library that has no such cell, or no lengths, leaves them out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.cases import Problem

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Built:
    calls: dict[str, Call]
    form: str = ""  # which of the library's forms runs, where it has several


@dataclass(frozen=True, slots=True)
class Peer:
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


PEERS: Final = {
    "xrnn": Peer("xrnn_layer", environment={"XRNN_FUSED": "1"}),
    "xrnn-plain": Peer("xrnn_layer", environment={"XRNN_FUSED": "0"}),
    "numpy": Peer("numpy_loop"),
    "torch": Peer("torch_rnn"),
    "onnxruntime": Peer("onnx_rnn"),
    "jax-1": Peer("jax_scan", {"unroll": 1}),
    "jax-8": Peer("jax_scan", {"unroll": 8}),
    "reservoirpy": Peer("reservoir"),
    "expression": Peer("expression"),
    "xrnn.torch": Peer("torch_rnn", {"library": "xrnn.torch"}),
}
MODULES: Final = "xrnn.torch"
OURS: Final = ("xrnn", "xrnn-plain", MODULES)
# What a comparison measures unless it is told. `benchmarks.torch_modules` compares xrnn.torch, with PyTorch alone.
COMPARED: Final = tuple(peer for peer in PEERS if peer != MODULES)


def load(peer: str) -> Any:
    """The module of `peer`; raises ImportError where its library isn't installed (extra `bench`)."""
    return importlib.import_module(f"benchmarks.peers.{PEERS[peer].module}")


def build(peer: str, problem: Problem, threads: int) -> Built:
    built: Built = load(peer).build(problem, threads, **PEERS[peer].options)
    return built
