"""`python -m xrnn`."""

from __future__ import annotations

import sys

from xrnn.cli import main

sys.exit(main())
