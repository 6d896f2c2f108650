"""Which GPU it is, and with which libraries: `python -m benchmarks.gpu.device FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import xrnn
from benchmarks import machine
from benchmarks.gpu import results
from xrnn.info import describe


def main() -> None:
    try:
        backend = xrnn.get_backend("cupy")
    except xrnn.BackendUnavailableError as error:
        sys.exit(str(error))
    facts = {**machine.describe(1), "xrnn": xrnn.__version__, **describe(backend)}
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
