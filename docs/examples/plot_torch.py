"""
A faster PyTorch model in one line
==================================

``xrnn.torch.accelerate(model)`` makes the ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU`` modules of a model run on xrnn's
kernels. The modules, their parameters, your optimizer and your training loop stay as they are. You learn how to

- accelerate a model, and undo it,
- check that the results are the same to rounding,
- measure both fairly, in turns.
"""

import os
import time

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
import torch
import xrnn.torch  # pip install -e '.[torch]'

# %%
# The model
# ---------
#
# A recurrent layer and a linear layer, for a batch of 16 sequences of 50 steps. One update is a forward pass, a
# backward pass and an optimizer's update.

T, N, D, H = 50, 16, 64, 128
CELLS = ("RNN", "LSTM", "GRU")


class Model(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.recurrent = getattr(torch.nn, cell)(D, H)
        self.readout = torch.nn.Linear(H, 1)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0])


def make(cell):
    """A model with its optimizer; the seed gives the same weights each time."""
    torch.manual_seed(0)
    model = Model(cell)
    return model, torch.optim.Adam(model.parameters(), lr=0.001)


def infer(model, optimizer):
    with torch.no_grad():
        return model(x)


def update(model, optimizer):
    optimizer.zero_grad()
    loss = ((model(x) - target) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss


threads = torch.get_num_threads()
torch.set_num_threads(1)
torch.manual_seed(1)
x, target = torch.randn(T, N, D), torch.randn(T, N, 1)
model, _ = make("GRU")
before = model(x)
print("before:", xrnn.torch.explain(model))
print("after:", xrnn.torch.accelerate(model))
print(
    f"largest difference of the results: {(model(x) - before).abs().max().item():.0e}"
)
xrnn.torch.restore(model)  # PyTorch's own forward again

# %%
# The times
# ---------
#
# Two equal models for each cell, one of them accelerated. They take turns for a second. The bars show medians, the
# lines the middle half of the times. The number above is PyTorch's time divided by xrnn's. Both use one thread, and CPU
# time is measured, so that other programs of the machine count little.


def in_turns(calls, seconds=1.0):
    """The CPU times of each call in milliseconds, (calls, rounds)."""
    times = []
    end = time.perf_counter() + seconds
    for call in calls:
        call()  # the first call prepares caches
    while len(times) < 5 or time.perf_counter() < end:
        moments = [time.process_time()]
        for call in calls:
            call()
            moments.append(time.process_time())
        times.append(1e3 * np.diff(moments))
    return np.transpose(times)


def measure(job, cell):
    """The times of PyTorch and of the accelerated model, (2, rounds)."""
    plain, accelerated = make(cell), make(cell)
    xrnn.torch.accelerate(accelerated[0])
    return in_turns([lambda: job(*plain), lambda: job(*accelerated)])


fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.6), layout="constrained")
for ax, (title, job) in zip(
    axes, {"inference": infer, "training": update}.items(), strict=True
):
    for i, cell in enumerate(CELLS):
        times = measure(job, cell)
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75], axis=1)
        for k, (name, colour) in enumerate(
            {"PyTorch": "tab:orange", "accelerated": "tab:blue"}.items()
        ):
            spread = [[middle[k] - low[k]], [high[k] - middle[k]]]
            label = name if ax is axes[0] and i == 0 else None
            ax.bar(
                i + 0.4 * k - 0.2,
                middle[k],
                0.38,
                color=colour,
                yerr=spread,
                capsize=3,
                label=label,
            )
        ratio = np.median(times[0] / times[1])
        ax.text(i, max(high) * 1.02, f"{ratio:.1f} ×", ha="center", va="bottom")
        print(
            f"{cell} {title}: PyTorch {middle[0]:.2f} ms, accelerated {middle[1]:.2f} ms"
        )
    ax.set_xticks(range(len(CELLS)), CELLS)
    ax.set(ylabel="CPU time of a call, ms", title=title)
    ax.margins(y=0.12)
fig.legend(loc="outside lower center", ncols=2)
fig.suptitle(f"{T} steps, batch {N}, {D} features, {H} units; one thread")
torch.set_num_threads(threads)
plt.show()
