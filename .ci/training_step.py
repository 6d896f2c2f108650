"""One small training step with the imported xrnn; prints its folder. Fails if the loss does not decrease."""

import os

import numpy as np

import xrnn
from xrnn import RNN, SGD, mean_squared_error

rng = np.random.default_rng(0)
rnn = RNN.init(3, 5, rng=rng, backend="numpy")
optimizer = SGD([rnn], lr=0.1)
x, target = rng.standard_normal((7, 2, 3)).astype("float32"), np.zeros((7, 2, 5), "float32")

before, dh = mean_squared_error(rnn.forward(x), target)
rnn.backward(dh)
optimizer.step()
after, _ = mean_squared_error(rnn(x), target)
if not after < before:
    raise SystemExit(f"the loss went from {before} to {after}: expected it to fall")
print(os.path.dirname(xrnn.__file__))
