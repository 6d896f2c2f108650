"""What `import cupy` finds where tests/rehearsal is on PYTHONPATH: the stand-in as the GPU REHEARSED, and the emulator.

So programs for a GPU are tried out whole, in processes of their own: `make gpu-check ARGS=--rehearse`.
"""

import os
import sys
from dataclasses import replace

from tests import cuda_emulator, standin
from tests.standin import raw
from tests.standin.imitation import imitate
from xrnn.backends.cupy.choice import DEVICES

raw.compiler = cuda_emulator.Module
# So few that a group has few blocks: the emulator has that many threads to run.
imitate(setattr, replace(DEVICES[os.environ["REHEARSED"]], multiprocessors=5))
sys.modules["cupy"] = standin
