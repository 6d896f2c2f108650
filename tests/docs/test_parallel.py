"""The script of docs/how-to/parallel.md runs as it stands, in one process and in two."""

from __future__ import annotations

import re
from pathlib import Path

from tests.parallel.launch import NEEDS_MPI, output_of
from xrnn.parallel import World

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "parallel.md").read_text(encoding="utf-8")


@NEEDS_MPI
def test_the_script_learns_the_same_on_one_and_two_ranks() -> None:
    script, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    one, two = output_of(1, script), output_of(2, script)
    assert one == two
    assert float(one.split()[1]) < 0.1


def test_the_table_names_what_there_is() -> None:
    names = set(re.findall(r"`comm\.(\w+)", PAGE))
    assert names == {name for name in [*vars(World), "rank", "size", "local_rank"] if not name.startswith("_")}
