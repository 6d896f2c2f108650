"""
Train a language model on your own texts
========================================

This script trains a network that reads text one byte at a time and predicts the next byte. It is a complete training
run, to copy and to change: it reads files, shows its progress, keeps the weights that do best on text that it is not
trained on, tests them on other text, draws the loss curve and writes new text. If it is interrupted or killed, it
continues from its last checkpoint with the same results, bit for bit. It trains for a minute, so it is not run for this
page; these are the losses of such a run:

.. image:: /_static/train_text.png
   :alt: The losses of the training fall, and those of the validation text fall below the line of zlib.

.. code-block:: console

   $ python train_text.py                                      # on Python's own source files
   $ python train_text.py my-texts --minutes 10 --cell lstm    # on your files or folders
   $ python train_text.py my-texts --resume char-lm.safetensors
   $ python train_text.py --generate char-lm.safetensors --prompt "def "
"""

import argparse
import contextlib
import hashlib
import os
import shlex
import signal
import sys
import sysconfig
import time
import zlib
from pathlib import Path

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
import xrnn
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from xrnn import asarray

CELLS = {
    "gru": xrnn.GRU,
    "lstm": xrnn.LSTM,
    "lru": xrnn.LRU,
    "min-gru": xrnn.MinGRU,
    "min-lstm": xrnn.MinLSTM,
    "rnn": xrnn.RNN,
    "slstm": xrnn.SLSTM,
}
V, E, H = 256, 64, 256  # possible bytes, size of their vectors, hidden size
T, N = 32, 32  # steps and rows of an update
LR, CONSTANT = 0.003, 600_000  # learning rate, and the bytes until it falls
JUMP, SAVE, CHECK = 32, 500, 500  # updates between new places, checkpoints, validations
PATIENCE = (
    2_000  # updates without a gain on the validation text, after which a run stops
)
MARK = "xrnn train_text.py"  # in the checkpoints of this script

# %%
# The text
# --------
#
# The text is read in three parts. The model is trained on the first. The second, the validation text, chooses the
# weights to keep: on a short text, a model that keeps training memorises the text and gets worse on others. The third
# is held out for the score at the end: the score of the validation text would be too good, since the weights were
# chosen by it. One file in twenty is for validation, and another one is held out. A hash of the names chooses these
# files, so they are the same in each run. With too few files, the last two twentieths of the text take their place.


def read_text(paths):
    """The bytes to train on, those for validation, and those that are held out, of files and folders."""
    pattern = "*"
    skipped = set()
    if not paths:
        paths = [Path(sysconfig.get_path("stdlib"))]
        pattern = "*.py"
        skipped = {"site-packages", "test", "tests"}
    found = {}
    for path in paths:
        if not path.exists():
            sys.exit(f"error: {path} doesn't exist: expected a text file or a folder")
        for file in path.rglob(pattern) if path.is_dir() else [path]:
            inside = file.relative_to(path).parts
            hidden = any(part.startswith(".") for part in inside)
            if hidden or skipped & {*inside} or not file.is_file():
                continue
            content = file.read_bytes()
            if b"\0" not in content:
                # The name is the same if the folder moves. A file that is named twice counts once.
                name = os.fsencode("/".join(inside) or file.name)
                found.setdefault(file.resolve(), (name, content))
            elif file == path:
                sys.exit(f"error: {path} is binary: expected a text file or a folder")
    files = sorted(found.values())
    names = {name for name, _ in files}
    by_hash = sorted(names, key=lambda name: hashlib.blake2b(name).digest())
    part = len(names) // 20
    parts = {*by_hash[2 * part :]}, {*by_hash[part : 2 * part]}, {*by_hash[:part]}
    text, validation, held_out = (
        b"".join(content for name, content in files if name in chosen)
        for chosen in parts
    )
    if min(len(validation), len(held_out)) < 500:
        text = b"".join(content for _, content in files)
        part = len(text) // 20
        cuts = len(text) - 2 * part, len(text) - part
        text, validation, held_out = (
            text[: cuts[0]],
            text[cuts[0] : cuts[1]],
            text[cuts[1] :],
        )
    sizes = f"{len(text):,} bytes of text, {len(validation):,} for validation, {len(held_out):,} held out"
    if len(held_out) < 500:
        sys.exit(
            f"error: found {sizes}: expected at least 500 held out; give more text"
        )
    print(f"{len(files):,} files: {sizes}")
    return (
        np.frombuffer(part, np.uint8)
        for part in (text, validation[: 2**16], held_out[: 2**20])
    )


# %%
# The model
# ---------
#
# An embedding turns each byte into a vector, a recurrent layer reads the vectors in order, and a linear layer gives a
# score to every byte that could come next. For a deeper network, add layers to the ``Stack``.
#
# An update reads the next ``T`` bytes at ``N`` places of the text. The state after them is the first state of the next
# update, so the network remembers more than ``T`` bytes, but the gradient reaches back no further (truncated
# backpropagation through time). After ``JUMP`` updates come new places, so that the order of the files does not matter.
#
# The weights are averaged over roughly the last tenth of the run. This removes the noise of the last updates, as a
# learning rate that falls to zero would, but needs no decision about the end of the run. Every ``CHECK`` updates, the
# average is tested on the validation text, and the best average so far is kept for the final score and for samples.
# Places, learning rate and average depend only on the number of the update: a resumed run makes the same updates as one
# without interruption.


class TextModel:
    """p(byte[t + 1] | byte[0 … t]) = softmax(scores[t]); scores (T, N, V) of index (T, N).

    average   of the weights
    best      the average that did best on the validation text
    extra     what the next update depends on, besides these; and the losses
    """

    def __init__(self, layers, optimizer, average, best, extra):
        self.embedding, self.recurrent, self.readout = layers.values()
        self.layers, self.optimizer, self.average, self.best = (
            layers,
            optimizer,
            average,
            best,
        )
        self.extra = extra

    @classmethod
    def new(cls, cell, seed, digest):
        rng = np.random.default_rng(seed)
        recurrent = xrnn.Stack([CELLS[cell].init(E, H, rng=rng)])
        layers = xrnn.Network(
            embedding=xrnn.Embedding.init(V, E, rng=rng),
            recurrent=recurrent,
            readout=xrnn.Linear.init(recurrent.output_size, V, rng=rng),
        )
        extra = {"mark": MARK, "cell": cell, "seed": seed, "text": digest}
        extra |= {"states": None, "losses": [], "checks": []}
        average, best = xrnn.EMA(layers), xrnn.EMA(layers)
        return cls(layers, xrnn.Adam(layers, lr=LR), average, best, extra)

    @classmethod
    def load(cls, path):
        try:
            checkpoint = xrnn.load_checkpoint(path)
        except ValueError as error:
            sys.exit(f"error: {error}")
        if checkpoint.extra.get("mark") != MARK:
            sys.exit(f"error: {path} is not from this script: name its checkpoint")
        extra = checkpoint.extra | {"losses": checkpoint.extra["losses"].tolist()}
        return cls(checkpoint.layers, *checkpoint.optimizer.values(), extra)

    def save(self, path):
        optimizers = {
            "optimizer": self.optimizer,
            "average": self.average,
            "best": self.best,
        }
        extra = self.extra | {"losses": np.array(self.extra["losses"])}
        xrnn.save_checkpoint(path, self.layers, optimizer=optimizers, extra=extra)

    @property
    def updates(self):
        return self.optimizer.steps

    def update(self, text):
        k, extra = self.updates, self.extra
        rng = np.random.default_rng([extra["seed"], k // JUMP])
        places = rng.integers(len(text), size=N) + k % JUMP * T
        chunk = text[(places + np.arange(T + 1)[:, None]) % len(text)]
        chunk = asarray(chunk.astype("int32"))  # (T + 1, N): inputs [:-1], targets [1:]

        x = self.embedding.forward(chunk[:-1])
        h, extra["states"] = self.recurrent.forward(x, extra["states"])
        scores = self.readout.forward(h)
        loss, dscores = xrnn.softmax_cross_entropy(scores, chunk[1:])
        dx, _ = self.recurrent.backward(self.readout.backward(dscores))
        self.embedding.backward(dx)

        xrnn.clip_grad_norm(self.optimizer.grads, 1.0)
        self.optimizer.lr = LR / max(1, k * T * N / CONSTANT) ** 0.5
        self.optimizer.step()
        self.average.decay = k / (k + 10)
        self.average.update()
        extra["losses"].append(float(loss) / np.log(2))  # in bits; waits for a GPU

    def scores(self, index, states):
        h, states = self.recurrent(self.embedding(asarray(index)), states)
        return self.readout(h), states

    def check(self, text):
        """Test the average on the validation text, and keep it if it is the best so far."""
        checks = self.extra["checks"]
        if checks and checks[-1][0] == self.updates:
            return
        with self.average.applied():
            bits = self.test(text)
        if not checks or bits < min(bits for _, bits in checks):
            self.best.update()
            for best, average in zip(
                self.best.params, self.average.params, strict=True
            ):
                best[...] = average
        checks.append([self.updates, bits])

    @property
    def best_update(self):
        return min(self.extra["checks"], key=lambda check: check[1])[0]

    @property
    def gains(self):
        """Whether the model still gets better on the validation text."""
        return not self.extra["checks"] or self.updates - self.best_update < PATIENCE

    def test(self, text):
        """The mean of -log₂ p(byte). The text is cut into pieces that are read side by side."""
        pieces = min(64, len(text) // 128)
        text = text[: len(text) // pieces * pieces].reshape(pieces, -1).T
        text = np.ascontiguousarray(text, "int32")
        states = None
        nats = 0.0
        for t in range(0, len(text) - 1, 128):
            targets = text[t + 1 : t + 129]
            scores, states = self.scores(text[t : t + len(targets)], states)
            loss, _ = xrnn.softmax_cross_entropy(scores, asarray(targets))
            nats += float(loss) * len(targets)
        return nats / (len(text) - 1) / np.log(2)

    def sample(self, prompt, length, seed, temperature=0.8):
        """The prompt and `length` bytes drawn from softmax(scores / temperature)."""
        rng = np.random.default_rng(seed)
        written = prompt
        unread = prompt or b"\n"
        states = None
        for _ in range(length):
            index = np.frombuffer(unread, np.uint8).astype("int32")[:, None]
            scores, states = self.scores(index, states)
            logits = xrnn.to_numpy(scores[-1, 0]).astype("float64") / temperature
            p = np.exp(logits - logits.max())
            unread = bytes([rng.choice(V, p=p / p.sum())])
            written += unread
        written = written.decode(errors="replace")
        return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in written)


# %%
# The training
# ------------
#
# Ctrl-C and SIGTERM end the training after the current update. ``zlib`` is a yardstick: the number of bits that a
# common compression program needs for a byte of the held-out text.


def train(options):
    given = options.out or options.resume
    n = 1
    out = given or Path("char-lm.safetensors")
    while not given and any(Path().glob(f"{out.stem}.*")):  # an earlier run
        n += 1
        out = Path(f"char-lm-{n}.safetensors")
    picture = Path(f"{out}.png")
    for file in (out, picture):
        if out != options.resume and file.exists() and file.stat().st_size:
            sys.exit(f"error: {file} exists: name another with --out, or --resume it")
    text, validation, held_out = read_text(options.paths)
    digest = hashlib.sha256(
        b"".join(part.tobytes() for part in (text, validation, held_out))
    )
    model = started(options, digest)
    print(f"model: {model.recurrent}, saved as {out}")

    first = model.updates
    start = time.perf_counter()
    shown = f"update {first:,}"

    def done():
        if options.steps:
            return model.updates / options.steps
        return (time.perf_counter() - start) / options.minutes / 60

    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(*columns, refresh_per_second=4, transient=True)
    with noted_signals() as stopped, bar:
        model.save(out)  # ends the program now if it can't write
        task = bar.add_task("", total=1)
        while not stopped and done() < 1 and model.gains:
            model.update(text)
            loss = np.mean(model.extra["losses"][-100:])
            shown = f"update {model.updates:,}: {loss:.3f} bits per character"
            if not np.isfinite(loss):
                sys.exit(f"error: {shown}: expected a finite number; lower LR")
            bar.update(task, completed=done(), description=shown)
            if model.updates % CHECK == 0:
                model.check(validation)
            if model.updates % SAVE == 0:
                model.save(out)
        if not stopped:
            model.check(validation)
        model.save(out)
    rate = (model.updates - first) * T * N / (time.perf_counter() - start)
    if stopped:
        minutes = f"{max(0.01, options.minutes * (1 - done())):.2f}"
        rest = ["--steps", options.steps] if options.steps else ["--minutes", minutes]
        command = [sys.executable, sys.argv[0], *options.paths, "--resume", out, *rest]
        print(f"stopped at update {model.updates:,} and saved {out}; continue with")
        print(f"  {shlex.join(map(str, command))}")
        sys.exit(128 + stopped[0])

    with model.best.applied():
        bits = model.test(held_out)
        sample = model.sample(b"", 400, model.extra["seed"])
    zlib_bits = 8 * len(zlib.compress(held_out.tobytes(), 9)) / len(held_out)
    print(f"{shown}, {rate:,.0f} characters/s")
    early = (
        ""
        if model.gains
        else f"; stopped, since {PATIENCE:,} updates brought no gain there"
    )
    print(
        f"kept: the average after update {model.best_update:,}, the best on the validation text{early}"
    )
    print(f"held out: {bits:.3f} bits per character (zlib level 9: {zlib_bits:.3f})")
    print(f"a sample:\n{sample}\n\ncheckpoint: {out}")
    draw(model, zlib_bits, picture)


@contextlib.contextmanager
def noted_signals():
    """A list of the signals that arrive within the block: they do not interrupt it."""
    arrived = []
    signals = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(each, lambda n, _: arrived.append(n)) for each in signals]
    try:
        yield arrived
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def started(options, digest):
    """A new model, or that of an earlier run."""
    given = {"cell": options.cell, "seed": options.seed, "text": digest.hexdigest()}
    if not options.resume:
        return TextModel.new(given["cell"] or "gru", given["seed"] or 0, given["text"])
    model = TextModel.load(options.resume)
    for name, value in given.items():
        if value not in (None, model.extra[name]):
            kept = f"{options.resume} was trained with another {name}"
            sys.exit(f"error: {kept}: expected the same; omit --resume for a new run")
    if options.steps and options.steps < model.updates:
        sys.exit(f"error: {options.resume} has {model.updates} updates: raise --steps")
    return model


def draw(model, zlib_bits, path):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return print("loss curve: not drawn; pip install matplotlib")
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.subplots()
    window = np.ones(min(100, model.updates))
    losses = np.convolve(model.extra["losses"], window / window.size, "valid")
    updates = np.arange(window.size, model.updates + 1)
    ax.plot(updates, losses, label="training, mean of 100 updates")
    ax.plot(*np.array(model.extra["checks"]).T, "o-", label="validation")
    ax.axhline(zlib_bits, color="0.4", linestyle="--", label="held out, zlib")
    ax.set(xlabel="update", ylabel="bits per character")
    ax.legend()
    figure.savefig(path, dpi=150)
    return print(f"loss curve: {path}")


# %%
# The command line
# ----------------


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Train a language model on texts.")
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="FOLDER", help="of texts, or one text")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=1.0)
    length.add_argument("--steps", type=int, help="last update, instead of a time")
    add("--cell", choices=CELLS, help="default: gru")
    add("--seed", type=int, help="of weights, places, sample; default: 0")
    add("--out", type=Path, metavar="FILE", help="default: char-lm.safetensors")
    add("--resume", type=Path, metavar="FILE", help="continue from this checkpoint")
    add("--generate", type=Path, metavar="FILE", help="write text with this checkpoint")
    add("--prompt", default="", metavar="TEXT", help="the text to continue")
    add("--length", type=int, default=400, metavar="N", help="bytes to write")
    options = parser.parse_args(arguments)
    steps = 1 if options.steps is None else options.steps
    if not min(options.minutes, steps, options.length) > 0 or (options.seed or 0) < 0:
        parser.error("--minutes, --steps, --length: expected above 0; --seed: from 0")
    if options.generate:
        prompt = os.fsencode(options.prompt)
        model = TextModel.load(options.generate)
        if not model.updates:
            sys.exit(f"error: {options.generate} is not trained yet: --resume it first")
        # A run that was interrupted before its first check has no best average yet.
        with (model.best if model.extra["checks"] else model.average).applied():
            return print(model.sample(prompt, options.length, options.seed or 0))
    try:
        train(options)
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # it may be ASCII
    main()

# sphinx_gallery_thumbnail_path = "_static/train_text.png"
