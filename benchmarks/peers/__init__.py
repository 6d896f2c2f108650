"""The libraries that are compared, one short module each, each run in a process of its own.

A peer's module has two functions:

    about() -> dict of facts: versions, devices
    build(problem, threads, **options) -> Built

where the calls in `Built` take no arguments and leave their results in the library's own arrays:

    "step"     one step, nothing recorded → h (N, H)
    "forward"  the whole sequence, as a user calls it for inference → h (T, N, H)
    "train"    forward and backward → h, dx, dh_prev, dWx, dWh, db
    "product"  a large matrix product, which gives the machine's own rate
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

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
    "expression": Peer("expression"),
}
OURS: Final = ("xrnn", "xrnn-plain")
