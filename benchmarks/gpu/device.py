"""Which GPU it is, and with which libraries: `python -m benchmarks.gpu.device FILE`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import xrnn
from benchmarks import machine
from benchmarks.gpu import results
from xrnn.backends.cupy import CupyBackend
from xrnn.info import describe

# Names of nvidia-smi: the present and the largest clock and power, and the modes that decide who may use the GPU.
_ASKED: Final = "clocks.sm,clocks.max.sm,power.draw,power.limit,compute_mode,mig.mode.current"


def conditions(backend: CupyBackend) -> dict[str, str]:
    """What the speed of the current device depends on."""
    gpu = backend.launcher.device()
    pipe = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    asked = dict.fromkeys(_ASKED.split(","), "unknown: nvidia-smi does not tell")
    if shutil.which("nvidia-smi"):
        number = str(backend.xp.cuda.Device().pci_bus_id)
        command = ["nvidia-smi", f"--id={number}", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        if found.returncode == 0:
            asked = dict(zip(asked, found.stdout.strip().split(", "), strict=True))
    return {
        "clock at most": f"{gpu.clock / 1e9:.2f} GHz",
        "L2": f"{gpu.l2_bytes / 2**20:.0f} MiB",
        "memory": f"{gpu.bandwidth / 1e9:.0f} GB/s",
        "watchdog": "yes: kernels of more than some seconds are ended" if gpu.watchdog else "no",
        "cooperative launches": "yes" if gpu.cooperative else "no",
        "MPS": "there is a control pipe" if Path(pipe).exists() else "no",
        **asked,
    }


def main() -> None:
    try:
        backend = xrnn.get_backend("cupy")
    except xrnn.BackendUnavailableError as error:
        sys.exit(str(error))
    assert isinstance(backend, CupyBackend)
    facts = {**machine.describe(1), "xrnn": xrnn.__version__, **describe(backend), **conditions(backend)}
    try:
        import torch
    except ImportError:
        facts["torch"] = "not installed: nothing to compare with"
    else:
        facts |= {"torch": torch.__version__, "cuDNN": str(torch.backends.cudnn.version())}
    results.put(Path(sys.argv[1]), device=facts)
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()))


if __name__ == "__main__":
    main()
