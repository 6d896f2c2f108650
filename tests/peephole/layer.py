"""The LSTM layer with peepholes."""

from __future__ import annotations

from tests.peephole.cell import PeepholeLSTMCell
from xrnn import LSTM
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.typing import Array


class PeepholeLSTM(LSTM):
    """An LSTM whose gates also see the state c   (Gers & Schmidhuber, 2000).

    i, f = σ of x[t] @ Wx + h[t-1] @ Wh + b + (p_i, p_f) · c[t-1]
    o = σ of x[t] @ Wx + h[t-1] @ Wh + b + p_o · c[t];  g, c[t] and h[t] as in the LSTM

    Wx (D, 4H), Wh (H, 4H), b (4H,), p_i, p_f, p_o (H,)
    """

    cell_type = PeepholeLSTMCell

    def __init__(
        self, Wx: Array, Wh: Array, b: Array, p_i: Array, p_f: Array, p_o: Array, *, reverse: bool = False
    ) -> None:
        RecurrentLayer.__init__(self, PeepholeLSTMCell(), Wx, Wh, b, p_i, p_f, p_o, reverse=reverse)
