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
