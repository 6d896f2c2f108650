#!/usr/bin/env python3
"""The tests that the last run of pytest in this checkout left out, one a line: arguments for the next run.

--none   Print them with their reasons, and fail if one lacks more than hardware: "this machine has no AMX".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HARDWARE = "this machine "  # the reasons that no package removes begin with these words


def main() -> None:
    left_out: dict[str, str] = json.loads(Path(".pytest_cache/v/xrnn/not_run").read_text(encoding="utf-8"))
    if sys.argv[1:] != ["--none"]:
        print(*left_out, sep="\n")
        return
    for test, reason in left_out.items():
        print(f"{test}: {reason}")
    if unexpected := [test for test, reason in left_out.items() if not reason.startswith(HARDWARE)]:
        sys.exit(
            f"no environment runs {len(unexpected)} of these tests: add what they need to an extra, or delete them"
        )


if __name__ == "__main__":
    main()
