"""PyTorch's tools treat an accelerated module as before, and handle xrnn.torch's own modules."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
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


def test_a_symbolic_trace_keeps_it_as_a_leaf(kind: str) -> None:
    theirs, ours, x = pair_of_nets(kind)
    traced = torch.fx.symbolic_trace(ours)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["rnn", "out"]
    agree([traced(x)], [theirs(x)])
    assert xrnn.torch.explain(traced) == {"rnn": "kernels"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])  # PyTorch has no quantised RNN
def test_quantize_dynamic_replaces_it(kind: str) -> None:
    theirs, ours, x = pair_of_nets(kind)
    quantized, want = (
        torch.ao.quantization.quantize_dynamic(net, {getattr(nn, kind)}, torch.qint8) for net in (ours, theirs)
    )
    assert type(quantized.rnn) is type(want.rnn)
    assert type(quantized.rnn) is not getattr(nn, kind)
    agree([quantized(x)], [want(x)])


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
    results, first = [], nn.Linear(3, 3)
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
    optimizer, found = torch.optim.SGD(net.parameters(), lr=0.1), []
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
    options, skips = {option: True}, option == "find_unused_parameters"
    parallel = DistributedDataParallel(ours, **options)
    if late:
        xrnn.torch.accelerate(parallel)
    assert set(xrnn.torch.explain(parallel).values()) == {"kernels"}
    want = losses(DistributedDataParallel(theirs, **options), x, skips=skips)
    assert losses(parallel, x, skips=skips) == pytest.approx(want, rel=1e-5)


TWO_PROCESSES = """
import torch
from torch.nn.parallel import DistributedDataParallel
from tests.torch.test_tools import losses, pair_of_nets

torch.distributed.init_process_group("gloo")
for kind in ("RNN", "LSTM", "GRU"):
    theirs, ours, x = pair_of_nets(kind)
    x = x + torch.distributed.get_rank()
    want, got = (torch.tensor(losses(DistributedDataParallel(net), x)) for net in (theirs, ours))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
torch.distributed.destroy_process_group()
"""


@pytest.mark.proof
def test_distributed_data_parallel_on_two_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*torchrun, str(tmp_path / "script.py")], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("accelerate", [False, True])
def test_a_script_holds_pytorchs_own(accelerate: bool, fallbacks: Fallbacks) -> None:
    theirs, ours, x = pair_of_nets("LSTM", accelerate)
    parameter, script = ours.rnn.weight_ih_l0, torch.jit.script(ours)
    agree([script(x)], [theirs(x)])
    assert ours.rnn.weight_ih_l0 is parameter
    assert "accelerated LSTM in your model by PyTorch's own: call xrnn.torch.accelerate" in fallbacks.take()[0]
    assert "RecursiveScriptModule" in xrnn.torch.accelerate(script)["rnn"]
    assert xrnn.torch.accelerate(ours) == {"rnn": "kernels"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_script_is_recurrent_by_its_class_and_not_by_a_name() -> None:
    class LSTM(nn.Sequential):
        pass

    modules = nn.ModuleDict({"own": torch.jit.script(LSTM(nn.Linear(3, 4))), "named": nn.Linear(3, 4)})
    modules["named"].original_name = "GRU"
    modules["cell"] = torch.jit.script(nn.LSTMCell(3, 4))
    assert xrnn.torch.explain(modules).keys() == {"cell"}


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")
@pytest.mark.parametrize("accelerate", [False, True])
def test_an_exported_program_holds_pytorchs_own(accelerate: bool, fallbacks: Fallbacks) -> None:
    theirs, ours, x = pair_of_nets("GRU", accelerate)
    agree([torch.export.export(ours, (x,)).module()(x)], [theirs(x)])
    assert "the model is being traced, compiled or exported" in fallbacks.take()[0]


@pytest.mark.parametrize("convert", [lambda m: m.bfloat16(), lambda m: m.to("meta"), lambda m: m.double()])
@pytest.mark.parametrize("make", [accelerated, lambda kind, *sizes: getattr(xrnn.torch, kind)(*sizes)])
def test_a_conversion_frees_the_old_weights(make: Any, convert: Any) -> None:
    module = make("GRU", 3, 4)
    module(torch.randn(5, 2, 3))
    array = weakref.ref(vars(module)["_xrnn_wrapped"].directions[0].arrays[0])
    convert(nn.Sequential(module))
    assert array() is None
