"""What `import cupy` finds where tests/rehearsal is on PYTHONPATH: the stand-in as a small GPU, and the emulator.

So programs for a GPU are tried out whole, in processes of their own: `make gpu-check ARGS=--rehearse`.
"""

import sys

from tests import cuda_emulator, standin
from tests.standin import raw

raw.compiler = cuda_emulator.Module
# So few that a group has few blocks: the emulator has that many threads to run.
standin.cuda.Device.attributes["MultiProcessorCount"] = 5
sys.modules["cupy"] = standin
