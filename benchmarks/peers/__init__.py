"""The compared libraries, one short module each. Each library runs in its own process.

A peer's module has two functions:

    about() → versions and devices, by name
    build(problem, threads, **options) → Built    (threads 0: as many as the library takes by itself)

The calls in `Built` take no arguments. Their results stay in the library's own arrays:

    "step"     one step of inference → h (N, H)
    "stream"   a step that also returns the states for the next step
    "forward"  a sequence, as in inference → h (T, N, H)
    "train"    forward and backward → h, dx, dh_prev, dWx, dWh, db
    "train on data"  the same without dx, as for a model's first layer
    "product"  a large matrix product, whose rate is the machine's ceiling
    "base forward", "base train"  those of `Case.base`
    "read step", "read forward"  only reads the weights that a step or a sequence reads

A library leaves out the calls that it does not support, such as those of a cell or of lengths that it lacks.
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
    form: str = ""  # the form that runs, if the library has several


@dataclass(frozen=True, slots=True)
class Peer:
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-4  # of its results, relative to the largest value of an array


# Of products in bfloat16: two factors with a relative error of up to 2⁻⁸ each, over all steps.
_BFLOAT16: Final = 0.05
PEERS: Final = {
    "xrnn": Peer("xrnn_layer", environment={"XRNN_FUSED": "1"}),
    "xrnn-plain": Peer("xrnn_layer", environment={"XRNN_FUSED": "0"}),
    "xrnn.freeze": Peer("xrnn_layer", {"frozen": True}),
    "numpy": Peer("numpy_loop"),
    "torch": Peer("torch_rnn"),
    "torch-minimal": Peer("torch_minimal"),
    "onnxruntime": Peer("onnx_rnn"),
    "jax-1": Peer("jax_scan", {"unroll": 1}),
    "jax-8": Peer("jax_scan", {"unroll": 8}),
    "jax-associative": Peer("jax_associative"),
    "reservoirpy": Peer("reservoir"),
    "xrnn.torch": Peer("torch_rnn", {"library": "xrnn.torch"}),
    "xrnn-bfloat16x3": Peer("xrnn_layer", environment={"XRNN_PRECISION": "bfloat16x3"}),
    "xrnn-bfloat16": Peer("xrnn_layer", environment={"XRNN_PRECISION": "bfloat16"}, tolerance=_BFLOAT16),
    "bare-read": Peer("bare_read"),
    "torch-bfloat16": Peer("torch_rnn", {"bfloat16": True}, tolerance=_BFLOAT16),
    "xrnn.torch-bfloat16": Peer("torch_rnn", {"library": "xrnn.torch", "bfloat16": True}, tolerance=_BFLOAT16),
}
MODULES, MODULES_IN_BFLOAT16 = "xrnn.torch", "xrnn.torch-bfloat16"
TORCH: Final = ("torch", "torch-minimal")  # PyTorch's own modules, and eager code for the cells that it lacks
IN_BFLOAT16: Final = ("xrnn-bfloat16", "torch-bfloat16")
FROZEN, BARE_READ = "xrnn.freeze", "bare-read"
THREE_PRODUCTS: Final = "xrnn-bfloat16x3"
OURS: Final = ("xrnn", FROZEN, "xrnn-plain", MODULES, MODULES_IN_BFLOAT16, THREE_PRODUCTS, "xrnn-bfloat16")
# The default peers of a comparison. `benchmarks.torch_modules` compares xrnn.torch with PyTorch.
COMPARED: Final = tuple(
    peer
    for peer in PEERS
    if peer not in (MODULES, MODULES_IN_BFLOAT16, FROZEN, BARE_READ, THREE_PRODUCTS, *IN_BFLOAT16)
)
# The default peers of `benchmarks.compare --steps` and `--tiles`.
OF_STEPS: Final = ("xrnn", FROZEN, "onnxruntime", "torch")
OF_TILES: Final = ("xrnn", THREE_PRODUCTS, *IN_BFLOAT16, "torch", "onnxruntime")


def load(peer: str) -> Any:
    """The module of `peer`; raises ImportError if its library is not installed (extra `bench`)."""
    return importlib.import_module(f"benchmarks.peers.{PEERS[peer].module}")


def build(peer: str, problem: Problem, threads: int) -> Built:
    return load(peer).build(problem, threads, **PEERS[peer].options)
