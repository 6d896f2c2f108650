"""CuPy's adapter on the stand-in, with the emulator to run its kernels."""

from tests import cuda_emulator, standin
from tests.standin import raw
from xrnn.backends.cupy import CupyBackend


def make() -> CupyBackend:
    raw.compiler = cuda_emulator.compile_module
    if cuda_emulator.MISSING:  # nothing fits: every recurrence takes its plain form
        standin.cuda.Device.attributes["MaxSharedMemoryPerBlockOptin"] = 0
    return CupyBackend(standin)
