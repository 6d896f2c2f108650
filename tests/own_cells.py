"""Cells as users write them: those of docs/how-to/own-cell.md, and two that use more of the interface of a cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from xrnn import Cell
from xrnn.ops.cells.lstm import LSTMCell

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "own-cell.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[:-1]  # the last one registers a layer


def _defined(example: str, name: str) -> Any:
    """The class that an example defines before it checks and uses it."""
    names: dict[str, Any] = {"__name__": __name__}
    exec(example.partition("check_cell(")[0], names)
    return names[name]


Zoneout: Any = _defined(EXAMPLES[0], "Zoneout")
LayerNormLSTM: Any = _defined(EXAMPLES[1], "LayerNormLSTM")


class Integrator(Cell):
    """m' = m / 2 + tanh(z), h' = 0.3 h + m': two states, and h' depends on h outside z too."""

    states = ("h", "m")
    kept = 1  # tanh(z)
    keeps_z = False

    def step(self, run: Any, at: Any) -> None:
        run.xp.tanh(at.z[0], out=at.kept[0])
        at.after[1][...] = at.before[1] / 2 + at.kept[0]
        at.after[0][...] = 0.3 * at.before[0] + at.after[1]

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        dm = dafter[0] + dafter[1]
        dz[0] = dm * (1 - at.kept[0] ** 2)
        dbefore[0][...], dbefore[1][...] = 0.3 * dafter[0], dm / 2


class IntegratorByItself(Integrator):
    """The same cell, which computes the recurrent term itself."""

    recurs = True

    def recur(self, run: Any, at: Any) -> None:
        run.matmul_add(at.before[0], run.W, at.z[0])

    def recur_gradient(self, run: Any, at: Any, dz: Any, dh: Any) -> None:
        dh += dz[0] @ run.W

    def recur_weights(self, xp: Any, at: Any, dz: Any, dWh: Any) -> None:
        H = dWh.shape[0]
        dWh[...] = at.before[0].reshape(-1, H).T @ dz[:, 0].reshape(-1, H)


class ZoneoutLSTM(LSTMCell):
    """An LSTM in which each unit's c keeps its value with probability p, in training."""

    kept = 1
    draws = True

    def __init__(self, p: float) -> None:
        self.p = p

    def step(self, run: Any, at: Any) -> None:
        c = at.before[1].copy()
        super().step(run, at)
        new: Any = 1 - self.p
        if run.training:
            new = at.kept[0]
            new[...] = run.draws.keep(c.shape, self.p)
        else:
            new = run.xp.full(c.shape, new)
        c_next = at.after[1]
        c_next[...] = c + new * (c_next - c)
        at.after[0][...] = at.z[3] * run.xp.tanh(c_next)

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        (new,), (dh, dc) = at.kept, dafter
        dc += at.prepared[0] * dh
        passed = dc * (1 - new)
        dc *= new
        dz[:3] *= dc
        dz[3] *= dh
        dbefore[1][...] = dc * at.z[1] + passed
