"""
Which cell to take?
===================

All cells of xrnn learn the same two tasks here, in the same number of updates: to repeat symbols after a pause, and to
predict the next character of a text. A table shows what each cell reaches, and how long that takes. You learn

- what each cell is good and bad at,
- how to write a model that takes any cell.
"""

import os
import sysconfig
import time
from pathlib import Path

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
    GRU,
    LRU,
    LSTM,
    MLSTM,
    RNN,
    SLSTM,
    Adam,
    LayerNorm,
    Linear,
    Mamba,
    Mamba2,
    MinGRU,
    MinLSTM,
    Stack,
    asarray,
    clip_grad_norm,
    softmax_cross_entropy,
    to_numpy,
)
from xrnn.optim import cosine

CELLS = {
    "RNN": (RNN, {}),
    "leaky RNN": (RNN, {"leak": 0.3, "trains_leak": True}),
    "LSTM": (LSTM, {}),
    "LSTM, 4 heads": (LSTM, {"heads": 4}),
    "GRU": (GRU, {}),
    "minGRU": (MinGRU, {}),
    "minLSTM": (MinLSTM, {}),
    "sLSTM": (SLSTM, {}),
    "LRU": (LRU, {}),
    "Mamba": (Mamba, {}),
    "Mamba-2": (Mamba2, {"state_size": 32}),
    "mLSTM": (MLSTM, {}),
}

# %%
# A model for any cell
# --------------------
#
# Two recurrent layers and a readout. The layers differ in what else they return: an LSTM returns the cell states, too.
# In each of them ``h`` comes first, and dx comes first in the backward pass. The h of a new Mamba layer is small, so a
# LayerNorm follows it, and also that of Mamba-2 and mLSTM. The other cells do without.


def first(result):
    return result[0] if isinstance(result, tuple) else result


def make(cell, inputs, outputs, units, rng):
    kind, options = CELLS[cell]
    lower = kind.init(inputs, units, rng=rng, **options)
    upper = kind.init(lower.output_size, units, rng=rng, **options)
    layers = [lower, upper]
    if kind in (Mamba, Mamba2, MLSTM):
        layers = [lower, LayerNorm.init(units), upper, LayerNorm.init(units)]
    return Stack(layers), Linear.init(upper.output_size, outputs, rng=rng)


def train(model, batch, updates, lr=0.01):
    """The loss of each update."""
    layers, readout = model
    optimizer = Adam([layers, readout], lr=lr)
    losses = []
    rng = np.random.default_rng(1)
    for update in range(updates):
        x, targets, counts = map(asarray, batch(rng))
        h = first(layers.forward(x))
        loss, dlogits = softmax_cross_entropy(readout.forward(h), targets, mask=counts)
        layers.backward(readout.backward(dlogits))
        clip_grad_norm(optimizer.grads, 1.0)
        optimizer.lr = lr * cosine(update, updates)
        optimizer.step()
        losses.append(float(loss))
    return losses


def right(model, batch):
    """The share of predictions that are right, on data that the training did not see."""
    layers, readout = model
    x, targets, counts = batch(np.random.default_rng(0))
    chosen = to_numpy(readout(first(layers(asarray(x))))).argmax(axis=-1)
    return (chosen == targets)[counts].mean()


# %%
# Repeat after a pause
# --------------------
#
# The copy task (Hochreiter and Schmidhuber, 1997): ``COUNT`` symbols, a pause, a signal, and then the model must repeat
# the symbols. A cell must keep them for ``PAUSE`` steps. A guess is right in one of eight cases.

SYMBOLS, COUNT, PAUSE = 8, 4, 20


def copy(rng, N=32):
    T = 2 * COUNT + PAUSE
    symbols = rng.integers(0, SYMBOLS, (COUNT, N))
    x = np.zeros((T, N, SYMBOLS + 1), "float32")
    x[np.arange(COUNT)[:, None], np.arange(N), symbols] = 1
    x[COUNT + PAUSE :, :, SYMBOLS] = 1  # the signal
    targets = np.zeros((T, N), "int32")
    targets[COUNT + PAUSE :] = symbols
    return x, targets, np.broadcast_to(np.arange(T)[:, None] >= COUNT + PAUSE, (T, N))


# %%
# The next character
# ------------------
#
# The text is a file of Python's standard library. The last tenth is held out. One-hot vectors are the input.

source = (Path(sysconfig.get_path("stdlib")) / "argparse.py").read_bytes()
alphabet, text = np.unique(np.frombuffer(source, np.uint8), return_inverse=True)
cut = len(text) * 9 // 10
one_hot = np.eye(len(alphabet), dtype="float32")


def characters(rng, T=50, N=32, start=0, end=cut):
    places = rng.integers(start, end - T, N) + np.arange(T + 1)[:, None]
    chosen = text[places]
    counts = np.broadcast_to(np.arange(T)[:, None] >= 10, (T, N))  # with a context
    return one_hot[chosen[:-1]], chosen[1:].astype("int32"), counts


def held_out(rng):
    return characters(rng, N=256, start=cut, end=len(text))


# %%
# The table
# ---------
#
# All models have two layers of 64 units, and the same learning rates. The seconds are those of the second task, on the
# machine that built this page.

rows = []
curves = {}
for cell in CELLS:
    copier = make(cell, SYMBOLS + 1, SYMBOLS, 64, np.random.default_rng(0))
    curves[cell] = train(copier, copy, updates=600)
    reader = make(cell, len(alphabet), len(alphabet), 64, np.random.default_rng(0))
    began = time.perf_counter()
    train(reader, characters, updates=250)
    seconds = time.perf_counter() - began
    rows.append((cell, right(copier, copy), right(reader, held_out), seconds))

print("                symbols        next  seconds of")
print("cell           repeated  characters    training")
for cell, copied, read, seconds in rows:
    print(f"{cell:13}  {copied:8.0%}  {read:10.0%}  {seconds:10.1f}")

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for cell, losses in curves.items():
    smooth = np.convolve(losses, np.ones(20) / 20, mode="valid") / np.log(2)
    ax.plot(np.arange(len(smooth)) + 19, smooth, label=cell)
ax.axhline(np.log2(SYMBOLS), color="grey", linestyle=":", label="a guess")
ax.set(
    xlabel="update",
    ylabel="loss, bits a symbol",
    title=f"Repeating {COUNT} symbols after {PAUSE} steps",
)
ax.legend(fontsize=8, ncols=2)
plt.show()

# %%
# How to read it
# --------------
#
# The second task is closer to most data than the first, whose pause always has the same length.
#
# - `GRU`: first. It is good at both tasks, and has three quarters of the weights of an LSTM.
# - `LSTM`: for models that other programs also run. Here it needs more updates than a GRU.
# - ``heads=``: if the recurrent product takes most of the time. With four heads it takes a quarter.
# - `RNN`: for the fastest step, if the memory need not be long. With a ``leak``, which is trained here, it reacts more
#   slowly. This suits signals that change slowly, but not symbols.
# - `MinGRU`, `MinLSTM`: for long sequences, since no step waits for a product. Their gates do not see the state,
#   however, so that they need more updates to count the steps of a pause.
# - `SLSTM`: if one input may have to outweigh all before it, since its input gate has no upper limit. It learns slowly
#   here.
# - `Mamba`: the best at both tasks, with a LayerNorm after each layer. It has more weights than a GRU and takes several
#   times as long for an update. Its factors depend on the input, so that it can keep what matters and ignore the rest.
#   Only xrnn's own files hold it.
# - `Mamba2`: it reaches what `Mamba` does. Its states are larger, with 32 keys here, and an update takes longer.
# - `MLSTM`: it stores pairs of keys and values in matrices. It is better than an `LSTM` at both tasks here, in twice
#   the time. `Mamba` is better still: its convolution shows each step its neighbours, which `MLSTM` does not have.
# - `LRU`: for memory over hundreds of steps. It is linear in its inputs, so put a nonlinearity after it; here there is
#   none.
#
# The same number of updates favours cells whose updates take long. :ref:`sphx_glr_gallery_train_text.py` trains each
# cell for the same time on a text: ``--cell lstm``, ``--cell rnn``, …
#
# A small trial tells more than such a list: change ``CELLS`` and the task to yours.
