"""Accelerated modules under DistributedDataParallel: two processes of torchrun, connected by gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

from tests.torch import ddp


@pytest.mark.proof
def test_ddp_gives_the_same_losses_and_gradients() -> None:
    assert distributed.is_gloo_available()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.torch.ddp"], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{case}: equal" for case in ddp.CASES]
