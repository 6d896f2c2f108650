"""PyTorch's tools treat an accelerated module as before, and handle xrnn.torch's own modules."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import xrnn.torch
from tests.torch.conftest import KINDS, Fallbacks
from tests.torch.pairs import accelerated, agree


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(3, 4, 2)
        self.out = nn.Linear(4, 2)
        self.skips = False  # whether a forward call leaves out the recurrent layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.pad(x, (0, 1)) if self.skips else self.rnn(x)[0])


def pair_of_nets(kind: str, accelerate: bool = True) -> tuple[Net, Net, torch.Tensor]:
    """PyTorch's, the same on the kernels, and an input."""
    torch.manual_seed(0)
    theirs = Net(kind)
    ours = copy.deepcopy(theirs)
    if accelerate:
        assert xrnn.torch.accelerate(ours) == {"rnn": "kernels"}
    else:
        ours.rnn = getattr(xrnn.torch, kind)(3, 4, 2)
        ours.load_state_dict(theirs.state_dict())
    return theirs, ours, torch.randn(5, 2, 3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # by the compiler itself
@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.proof] * (kind != "LSTM")) for kind in KINDS])
def test_compile(kind: str, fullgraph: bool, accelerate: bool) -> None:
    """By default PyTorch leaves such modules out of its graphs, and they run on the kernels.

    With `allow_rnn`, a full graph holds PyTorch's operations.
    """
    graphs: list[list[str]] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs[-1].append(graph.code)
        return graph.forward

    theirs, ours, x = pair_of_nets(kind, accelerate)
    results = []
    first = nn.Linear(3, 3)
    for net in (nn.Sequential(first, theirs), nn.Sequential(first, ours)):
        torch.compiler.reset()
        graphs.append([])
        with torch._dynamo.config.patch(allow_rnn=fullgraph):
            results.append(torch.compile(net, backend=backend, fullgraph=fullgraph)(x))
    agree([results[1]], [results[0]])
    assert len(graphs[1]) == len(graphs[0])
    assert len(graphs[1]) == 1 or not fullgraph
    assert ("_xrnn_wrapped" in vars(ours.rnn)) == (not fullgraph)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Any]:
    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    destroy_process_group()


def losses(net: Any, x: torch.Tensor, *, skips: bool = False) -> list[float]:
    """Of four updates.   skips: leave out the recurrent layer in every second one"""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    found = []
    for update in range(4):
        optimizer.zero_grad()
        getattr(net, "module", net).skips = skips and update % 2 == 1
        loss = net(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_fully_shard(kind: str, mesh: Any) -> None:
    """FSDP frees the gathered weights after each forward and each backward, and gathers them again."""
    theirs, ours, x = pair_of_nets(kind)
    for net in (theirs, ours):
        fully_shard(net.rnn, mesh=mesh)
        fully_shard(net, mesh=mesh)
    want, got = losses(theirs, x), losses(ours, x)
    assert got == pytest.approx(want, rel=1e-5)
    assert got[-1] < got[0]
    assert "_xrnn_wrapped" in vars(ours.rnn)


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("option", ["static_graph", "find_unused_parameters", "gradient_as_bucket_view"])
def test_distributed_data_parallel(kind: str, option: str, late: bool) -> None:
    """late: accelerate after DistributedDataParallel is made"""
    theirs, ours, x = pair_of_nets(kind)
    if late:
        xrnn.torch.restore(ours)
    options = {option: True}
    skips = option == "find_unused_parameters"
    parallel = DistributedDataParallel(ours, **options)
    if late:
        xrnn.torch.accelerate(parallel)
    assert set(xrnn.torch.explain(parallel).values()) == {"kernels"}
    want = losses(DistributedDataParallel(theirs, **options), x, skips=skips)
    assert losses(parallel, x, skips=skips) == pytest.approx(want, rel=1e-5)


# The tool, and what the log says: a script and an exported program hold PyTorch's own module.
TOOLS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "fx": (lambda net, x: torch.fx.symbolic_trace(net), ""),
    "quantized": (lambda net, x: torch.ao.quantization.quantize_dynamic(net, {nn.GRU}, torch.qint8), ""),
    "script": (lambda net, x: torch.jit.script(net), "accelerated GRU in your model by PyTorch's own: call xrnn.torch"),
    "export": (lambda net, x: torch.export.export(net, (x,)).module(), "the model is being traced, compiled"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("name", "accelerate"), [*((tool, True) for tool in TOOLS), ("script", False), ("export", False)]
)
def test_a_tool_gives_what_it_gives_of_pytorchs_module(name: str, accelerate: bool, fallbacks: Fallbacks) -> None:
    use, says = TOOLS[name]
    theirs, ours, x = pair_of_nets("GRU", accelerate)
    parameter = ours.rnn.weight_ih_l0
    made, want = use(ours, x), use(theirs, x)
    agree([made(x)], [want(x)])
    assert ours.rnn.weight_ih_l0 is parameter
    assert says in "".join(fallbacks.take()[:1])
    if name == "fx":
        assert xrnn.torch.explain(made) == {"rnn": "kernels"}
    if name == "quantized":
        assert type(made.rnn) is type(want.rnn) is not nn.GRU
    if name == "script":
        assert "RecursiveScriptModule" in xrnn.torch.accelerate(made)["rnn"]
    assert xrnn.torch.accelerate(ours) == {"rnn": "kernels"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_script_is_recurrent_by_its_class_and_not_by_a_name() -> None:
    class LSTM(nn.Sequential):
        pass

    modules = nn.ModuleDict({"own": torch.jit.script(LSTM(nn.Linear(3, 4))), "named": nn.Linear(3, 4)})
    modules["named"].original_name = "GRU"
    modules["cell"] = torch.jit.script(nn.LSTMCell(3, 4))
    assert xrnn.torch.explain(modules).keys() == {"cell"}


@pytest.mark.parametrize("convert", [lambda m: m.bfloat16(), lambda m: m.to("meta"), lambda m: m.double()])
@pytest.mark.parametrize("make", [accelerated, lambda kind, *sizes: getattr(xrnn.torch, kind)(*sizes)])
def test_a_conversion_frees_the_old_weights(make: Any, convert: Any) -> None:
    module = make("GRU", 3, 4)
    module(torch.randn(5, 2, 3))
    array = weakref.ref(vars(module)["_xrnn_wrapped"].directions[0].arrays[0])
    convert(nn.Sequential(module))
    assert array() is None
