"""
A language model of characters
==============================

This network reads Python source code one character at a time and predicts the next character. It is made of three
layers: an `Embedding` turns each character into a vector, an `LSTM` reads the vectors in order, and a `Linear` layer
gives a score for every character. You learn how to

- write a training loop in which the state of one chunk of text is the start of the next one,
- draw a sample from the trained model,
- see which characters surprise it.

The text comes with Python: it is a part of the standard library, so nothing is downloaded.
"""

import sysconfig
import zlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
    LSTM,
    Adam,
    Embedding,
    Linear,
    asarray,
    clip_grad_norm,
    softmax_cross_entropy,
    to_numpy,
)
from xrnn.optim import cosine

# %%
# The text
# --------
#
# Every byte is one character, and all bytes above 127 become a question mark, so there are 128 characters. One file is
# held out: the model is tested on it and never trained on it.

V = 128
library = Path(sysconfig.get_path("stdlib"))
held_out_file = library / "textwrap.py"
files = [path for path in sorted(library.glob("*.py")) if path != held_out_file]
rng = np.random.default_rng(0)
rng.shuffle(files)


def read(path):
    text = np.frombuffer(path.read_bytes(), np.uint8)
    return np.where(text < V, text, ord("?")).astype("int32")


text, held_out = np.concatenate([read(path) for path in files]), read(held_out_file)
print(
    f"{len(files)} files, {len(text):,} characters to train on, {len(held_out):,} held out"
)

# %%
# The training
# ------------
#
# The text is cut into ``N`` long strips, which are read side by side. An update reads the next ``T`` characters of
# every strip. The state at the end of a chunk is passed to the next chunk, so the network remembers more than ``T``
# characters, but the gradient reaches back no further than the start of the chunk. This is truncated backpropagation
# through time.
#
# `softmax_cross_entropy` gives the loss in nats; divided by log 2 it is in bits per character.

T, N, UPDATES, LR = 48, 32, 700, 0.006
embedding = Embedding.init(V, 32, rng=rng)
lstm = LSTM.init(32, 128, rng=rng)
readout = Linear.init(128, V, rng=rng)
optimizer = Adam([embedding, lstm, readout], lr=LR)

strips = text[: len(text) // N * N].reshape(N, -1).T  # (steps, N): time comes first
h = c = None
losses = []
for update in range(UPDATES):
    chunk = asarray(np.ascontiguousarray(strips[update * T : (update + 1) * T + 1]))
    hs, cs = lstm.forward(embedding.forward(chunk[:-1]), h, c)
    loss, dlogits = softmax_cross_entropy(readout.forward(hs), chunk[1:])
    dx, _, _ = lstm.backward(readout.backward(dlogits))
    embedding.backward(dx)
    clip_grad_norm(optimizer.grads, 1.0)
    optimizer.lr = LR * cosine(update, UPDATES)
    optimizer.step()
    h, c = hs[-1].copy(), cs[-1].copy()
    losses.append(float(loss) / np.log(2))

# %%
# The loss
# --------
#
# ``zlib`` is a yardstick: the number of bits that a common compression program needs for a character of the held-out
# file.


def bits(text):
    """The surprise at each character after the first, in bits."""
    index = asarray(text[:, None])
    logits = to_numpy(readout(lstm(embedding(index[:-1]))[0]))[:, 0].astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(logits, text[1:, None], axis=1)[:, 0]
    return (np.log(np.exp(logits).sum(axis=1)) - chosen) / np.log(2)


surprise = bits(held_out)
packed = 8 * len(zlib.compress(held_out.astype(np.uint8).tobytes(), 9)) / len(held_out)
print(f"held out: {surprise.mean():.2f} bits per character (zlib: {packed:.2f})")

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
ax.plot(losses, color="tab:blue", alpha=0.25, linewidth=1)
ax.plot(
    np.arange(len(smooth)) + 19,
    smooth,
    color="tab:blue",
    label="training, mean of 20 updates",
)
ax.axhline(surprise.mean(), color="tab:red", label="held-out file, after the training")
ax.axhline(packed, color="0.4", linestyle="--", label="held-out file, zlib")
ax.set(
    xlabel="update",
    ylabel="bits per character",
    title="Loss of the character model",
    ylim=(0, 7),
)
ax.legend()
plt.show()

# %%
# A sample
# --------
#
# `LSTM.stream` takes one character at a time, and returns the state for the next call. A temperature below 1 makes the
# likely characters still more likely.


def sample(prompt, length, temperature=0.6, seed=0):
    rng, state, written = np.random.default_rng(seed), None, prompt
    for character in prompt.encode():
        h, state = lstm.stream(embedding(asarray(np.array([character]))), state)
    for _ in range(length):
        scores = to_numpy(readout(h))[0].astype("float64") / temperature
        p = np.exp(scores - scores.max())
        character = rng.choice(V, p=p / p.sum())
        written += chr(character)
        h, state = lstm.stream(embedding(asarray(np.array([character]))), state)
    return written


print(sample("    def ", 400, seed=1))

# %%
# The surprise at each character
# ------------------------------
#
# Below are a few lines of the held-out file. The darker the background, the more the model was surprised by the
# character. The first letters of a word surprise it most. Indentation, the rest of a keyword, and the ends of common
# words do not.

start = held_out.tobytes().find("    def _split_chunks".encode("utf-32-le")) // 4
lines = "".join(map(chr, held_out[start:])).split("\n")[:17]
fig, ax = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
ax.set(
    xlim=(0, 72), ylim=(len(lines), 0), title="A darker background is a larger surprise"
)
ax.axis("off")
grid = np.full((len(lines), 72), np.nan)
at = start
for row, line in enumerate(lines):
    for column, character in enumerate(line[:72]):
        grid[row, column] = surprise[at + column - 1]
        ax.text(
            column + 0.5,
            row + 0.5,
            character,
            family="monospace",
            fontsize=9,
            ha="center",
            va="center",
        )
    at += len(line) + 1
colours = ax.imshow(
    grid, cmap="Oranges", vmin=0, vmax=12, extent=(0, 72, len(lines), 0), aspect="auto"
)
fig.colorbar(colours, label="bits", orientation="horizontal", shrink=0.5, pad=0.02)
plt.show()

# sphinx_gallery_thumbnail_number = 2
