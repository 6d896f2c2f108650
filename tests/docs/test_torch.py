"""The code of docs/torch.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

import xrnn.torch

PAGE = (Path(__file__).parents[2] / "docs" / "torch.md").read_text(encoding="utf-8")


def test_the_code_runs_and_takes_what_it_says() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block.replace("print(", "names = ("), names)
    assert names["names"] == ["rnn"]
    assert xrnn.torch.explain(names["model"]) == {"rnn": "kernels"}
    assert isinstance(names["model"]["rnn"].weight_hh_l1.grad, torch.Tensor)
