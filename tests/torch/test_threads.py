"""The kernels compute on PyTorch's threads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.backends.numpy.test_threads import in_fresh_process
from tests.torch.conftest import Fallbacks
from xrnn.backends.numpy import kernels
from xrnn.torch import threads

pytestmark = pytest.mark.skipif(not torch.backends.openmp.is_available(), reason="PyTorch was built without OpenMP")

# A training call. Its results are the same on any number of threads, because PyTorch's part sums no products.
STEP = """
import torch, xrnn.torch
from xrnn.backends.numpy import kernels
torch.manual_seed(0)
module, x = xrnn.torch.LSTM(64, 128), torch.randn(20, 32, 64)
kernels.set_thread_cap(2)
kernels.hold_threads(True)

def step(threads):
    torch.set_num_threads(threads)
    module.zero_grad()
    h, (last, c) = module(x)
    h.sum().backward()
    return [h.detach(), last, c, *(p.grad.clone() for p in module.parameters())]

before = step(1)
"""


def test_the_kernels_have_as_many_threads_as_pytorch_and_always_the_same_bits() -> None:
    """Also in a new Python thread, in which PyTorch has not computed before, and in a forked child.

    NumPy compares the results of the child: PyTorch would hang, waiting for threads that the child lacks.
    """
    code = f"""{STEP}
import os, threading
for n in (1, 3, 2, 1):
    print(all(map(torch.equal, before, step(n))), kernels.asked_threads(), kernels.uses_openmp())

def forward():
    with torch.no_grad():
        module(x)
    print(kernels.asked_threads())

thread = threading.Thread(target=forward)
thread.start()
thread.join()
step(2)
child = os.fork()
if not child:
    h, _ = module(x)
    os._exit(0 if (h.detach().numpy() == before[0].numpy()).all() else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    printed = [f"True {n} True" for n in (1, 3, 2, 1)] + ["1", "0"]
    assert in_fresh_process(code, OMP_NUM_THREADS="2").splitlines() == printed


def test_a_forked_child_runs_both_directions_and_several_layers() -> None:
    """Its results are large enough for PyTorch to join them on its threads, for which the child would wait forever."""
    code = """
import os, signal, torch, xrnn.torch
torch.manual_seed(0)
torch.set_num_threads(2)
module, x = xrnn.torch.LSTM(64, 128, num_layers=2, bidirectional=True), torch.randn(20, 64, 64)
want = [h.detach().numpy() for h in (module(x)[0], *module(x)[1])]
child = os.fork()
if not child:
    signal.alarm(60)
    h, (last, c) = module(x)
    with torch.no_grad():
        again = module(x)[0]
    same = [(a.detach().numpy() == b).all() for a, b in zip((h, last, c), want, strict=True)]
    os._exit(0 if all(same) and (again.numpy() == want[0]).all() else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_fresh_process(code, OMP_NUM_THREADS="2") == "0"


def test_with_one_thread_a_forked_child_trains_in_pytorch_too() -> None:
    """The remedy of docs/how-to/deploy.md."""
    code = """
import os, signal, torch, xrnn.torch
torch.set_num_threads(2)
model = torch.nn.Sequential(xrnn.torch.GRU(64, 128, bidirectional=True))
linear, x = torch.nn.Linear(256, 256), torch.randn(20, 64, 64)
linear(model(x)[0]).sum().backward()
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
child = os.fork()
if not child:
    signal.alarm(60)
    linear(model(x)[0]).sum().backward()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_fresh_process(code, OMP_NUM_THREADS="2") == "0"


def test_without_pytorchs_threads_the_kernels_use_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fallbacks: Fallbacks
) -> None:
    used = kernels.uses_openmp()
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    threads.share_threads()
    (said,) = fallbacks.take()
    assert said.startswith("the kernels run on their own threads: ")
    assert "libtorch_cpu" in said
    assert kernels.uses_openmp() == used
