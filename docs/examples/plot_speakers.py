"""
Who is speaking? Classify series of different lengths
=====================================================

Nine men say the Japanese vowels /ae/. A recording is a series of 7 to 29 steps with 12 numbers each, and a network
learns to tell the speakers apart. You learn how to

- train a classifier of series with scikit-learn's methods: ``fit``, ``predict``, ``predict_proba``, ``score``,
- draw a confusion matrix,
- ask how much of a recording the network needs for its decision.

The recordings, JapaneseVowels, come with the package aeon: ``pip install --no-deps aeon``. If it is not installed, the
script makes series of nine kinds itself, and says so. If your series are in files, you need no code: use ``xrnn
classify``.
"""

import importlib.metadata
import os
from pathlib import Path

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn.series import Classifier

# %%
# The series
# ----------
#
# A line of a ``.ts`` file is one series: its channels, and then its label, with colons between them.


def read_ts(path):
    """The series, each (T, D), and their labels from 0."""
    rows = path.read_text().partition("@data\n")[2].splitlines()
    rows = [row.split(":") for row in rows]
    series = [
        np.array([channel.split(",") for channel in row[:-1]], "float32").T
        for row in rows
    ]
    return series, np.array([int(row[-1]) - 1 for row in rows])


def make_series(count, rng):
    """Series of nine kinds, each (T, 12): every kind has its own frequencies."""
    labels = np.arange(count) % 9
    series = []
    for label in labels:
        t = np.arange(rng.integers(7, 30))[:, None]
        channel = np.arange(12)
        wave = np.sin(
            t * (0.3 + 0.1 * ((label * (channel + 2)) % 9)) + rng.normal(0, 0.5)
        )
        series.append((wave + rng.normal(0, 1, wave.shape)).astype("float32"))
    return series, labels


rng = np.random.default_rng(0)
try:
    aeon = Path(
        importlib.metadata.distribution("aeon").locate_file(
            "aeon/datasets/data/JapaneseVowels"
        )
    )
    (train, train_labels), (test, test_labels) = (
        read_ts(aeon / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")
    )
    data = "JapaneseVowels"
except (importlib.metadata.PackageNotFoundError, FileNotFoundError):
    (train, train_labels), (test, test_labels) = (
        make_series(270, rng),
        make_series(370, rng),
    )
    data = "made series (aeon is not installed)"

print(f"{data}: {len(train)} series to train on, {len(test)} to test on")

# %%
# The training
# ------------
#
# The classifier is the model of ``xrnn classify``: a bidirectional GRU, the mean of its hidden states, and a linear
# layer. It standardises the channels, and adds noise and dropout, so that it does not learn the few recordings by
# heart.

classifier = Classifier(epochs=60, seed=0).fit(train, train_labels)
predicted = classifier.predict(test)
accuracy = classifier.score(test, test_labels)
print(f"accuracy: {accuracy:.3f} ({(predicted == test_labels).sum()} of {len(test)})")

# %%
# The confusion matrix
# --------------------
#
# A row is a true speaker, a column a predicted one.

confusion = np.zeros((9, 9), int)
np.add.at(confusion, (test_labels, predicted), 1)

fig, ax = plt.subplots(figsize=(6.4, 5), layout="constrained")
shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
for (row, column), count in np.ndenumerate(confusion):
    if count:
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, count, ha="center", va="center", color=colour)
speakers = np.arange(1, 10)
ax.set_xticks(np.arange(9), speakers)
ax.set_yticks(np.arange(9), speakers)
ax.set(
    xlabel="predicted speaker",
    ylabel="true speaker",
    title=f"{data}: accuracy {accuracy:.3f}",
)
fig.colorbar(image, label="share of the speaker's series")
plt.show()

# %%
# The decision after each step
# ----------------------------
#
# The classifier takes series of any length, so we can give it the first steps of the recordings only. The left picture
# shows the probability of each speaker in the course of one recording; the right one shows the accuracy over all
# recordings if they are cut after a number of steps.

steps = np.arange(1, max(map(len, test)) + 1)
probability = np.stack(
    [classifier.predict_proba([each[:step] for each in test]) for step in steps]
)
# (steps, series)
right_label = classifier.classes_[probability.argmax(axis=2)] == test_labels

# The recording with the most wrong decisions before a right one at its end.
wrong_before = np.where(right_label[-1], (~right_label).sum(axis=0), -1)
example = wrong_before.argmax()

fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained")
length = len(test[example])
for speaker, p in enumerate(probability[:length, example].T):
    if p.max() > 0.3:
        left.plot(steps[:length], p, label=f"speaker {speaker + 1}", linewidth=2)
title = f"A recording of speaker {test_labels[example] + 1}"
left.set(xlabel="step", ylabel="probability", ylim=(0, 1.02), title=title)
left.legend(fontsize=8)
right.plot(steps, right_label.mean(axis=1), color="black")
right.axhline(1 / 9, color="0.5", linestyle=":", label="guessing")
right.set(
    xlabel="steps that the network has seen",
    ylabel="accuracy",
    ylim=(0, 1.02),
    title="All recordings",
)
right.legend(fontsize=8)
plt.show()
