"""Trains a tagger around a GRU that stays as it is: 200 updates in each run, 400 in all."""

from pathlib import Path

import numpy as np
import xrnn
from xrnn import GRU, Adam, Array, Linear, Network, asarray

RUN = Path("tagger.safetensors")
UPDATES = 400


class Tagger(Network):
    inputs: Linear
    gru: GRU
    readout: Linear

    def forward(self, x: Array) -> Array:
        return self.readout.forward(self.gru.forward(self.inputs.forward(x)))

    def backward(self, dy: Array) -> None:
        dx, _ = self.gru.backward(self.readout.backward(dy))
        self.inputs.backward(dx, needs_dx=False)


if RUN.exists():
    checkpoint = xrnn.load_checkpoint(RUN)
    tagger = Tagger(**checkpoint.layers)
    optimizer: Adam = checkpoint.optimizer
else:
    tagger = Tagger(
        inputs=Linear.init(3, 16, rng=0),
        gru=GRU.init(16, 16, rng=1),
        readout=Linear.init(16, 2, rng=2),
    )
    optimizer = Adam(
        [tagger.inputs, {"layers": [tagger.readout], "lr": 0.05}],
        lr=0.02,
        weight_decay=0.01,
    )
tagger.gru.needs_grads = False

for update in range(optimizer.steps, min(optimizer.steps + 200, UPDATES)):
    # (T, N, D)
    x = np.random.default_rng(update).standard_normal((20, 32, 3)).astype("float32")
    # 1 if the first feature is above the second feature of the step before
    tags = asarray((x[..., 0] > np.pad(x[:-1, :, 1], ((1, 0), (0, 0)))).astype("int32"))
    loss, dy = xrnn.softmax_cross_entropy(tagger.forward(asarray(x)), tags)
    tagger.backward(dy)
    xrnn.clip_grad_norm(optimizer.grads, 1.0)
    optimizer.lr = 0.02 * xrnn.cosine(update, UPDATES, warmup=20)
    optimizer.step()
    if optimizer.steps % 200 == 0:
        print(f"{optimizer.steps} updates: loss {float(loss):.3f}")
xrnn.save_checkpoint(RUN, tagger, optimizer=optimizer)
