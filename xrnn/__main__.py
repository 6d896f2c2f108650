"""`python -m xrnn`."""

from __future__ import annotations

import sys

from xrnn.commands.main import main

sys.exit(main())
