"""`python -m xrnn`."""

from __future__ import annotations

import sys

from xrnn_command import main

sys.exit(main())
