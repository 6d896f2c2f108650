"""One rank of `benchmarks.parallel`: trains a character model on random text, as rank 0 reads from standard input.

python -m benchmarks.parallel_rank LIBRARY CELL BATCH STEPS FOLDER [RANK SIZE]

Each rank writes its process id to FOLDER/RANK. For each line with a number of updates, rank 0 prints a line of JSON. A
library of PyTorch gets RANK and SIZE; xrnn gets them from mpiexec.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from xrnn import Adam, Embedding, Linear, Stack, clip_grad_norm, softmax_cross_entropy
from xrnn.cells import CELLS
from xrnn.parallel import world

VOCABULARY: Final = 256  # bytes
EMBEDDING: Final = 64
HIDDEN: Final = 256


class Rank(Protocol):
    rank: int
    reduced: float  # seconds in the reducer so far
    sent: int  # bytes of an update

    def update(self, chunk: Any) -> None:
        """One update from the chunk (T+1, N)."""
        ...

    def agree(self, updates: int) -> int:
        """The number of updates that rank 0 has."""
        ...


class XrnnRank:
    def __init__(self, cell: str) -> None:
        self._comm = world()
        self.rank = self._comm.rank
        self.reduced = 0.0
        rng = np.random.default_rng(0)
        self._embedding = Embedding.init(VOCABULARY, EMBEDDING, rng=rng, backend="numpy")
        self._stack = Stack.init(CELLS[cell], EMBEDDING, HIDDEN, depth=1, rng=rng, backend="numpy")
        self._linear = Linear.init(self._stack.output_size, VOCABULARY, rng=rng, backend="numpy")
        self._optimizer = Adam([self._embedding, self._stack, self._linear], 0.003)
        self._state: Any = None
        self._reduce = self._comm.reducer(self._optimizer.grads)
        self.sent = sum(grad.nbytes for grad in self._optimizer.grads)

    def update(self, chunk: Any) -> None:
        h, self._state = self._stack.forward(self._embedding.forward(chunk[:-1]), self._state)
        _, dlogits = softmax_cross_entropy(self._linear.forward(h), chunk[1:])
        dx, _ = self._stack.backward(self._linear.backward(dlogits))
        self._embedding.backward(dx)
        start = time.perf_counter()
        self._reduce(self._optimizer.grads)
        self.reduced += time.perf_counter() - start
        clip_grad_norm(self._optimizer.grads, 1.0)
        self._optimizer.step()

    def agree(self, updates: int) -> int:
        self._comm.broadcast([count := np.array(updates)])
        return int(count)


class TorchRank:
    def __init__(self, cell: str, batch: int, folder: Path, rank: int, size: int, accelerated: bool) -> None:
        self._torch: Any = importlib.import_module("torch")
        nn = self._torch.nn
        self._torch.set_num_threads(1)
        self.rank = rank
        self.reduced = 0.0
        self.sent = 0
        self._size = size
        rnn = getattr(nn, cell.upper())(EMBEDDING, HIDDEN)
        model = nn.ModuleDict(
            {"embedding": nn.Embedding(VOCABULARY, EMBEDDING), "rnn": rnn, "out": nn.Linear(HIDDEN, VOCABULARY)}
        )

        class Model(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.parts = model

            def forward(self, index: Any, state: Any) -> Any:
                h, state = model["rnn"](model["embedding"](index), state)
                return model["out"](h), state

        self._model: Any = Model()
        if accelerated:
            importlib.import_module("xrnn.torch").accelerate(self._model)
        if size > 1:
            cpus = sorted(os.sched_getaffinity(0))  # as xrnn does
            os.sched_setaffinity(0, cpus[rank * len(cpus) // size : (rank + 1) * len(cpus) // size] or cpus)
            self._distributed = importlib.import_module("torch.distributed")
            self._distributed.init_process_group(
                "gloo", init_method=f"file://{folder}/gloo", rank=rank, world_size=size
            )
            self._model = nn.parallel.DistributedDataParallel(self._model)
        self._optimizer = self._torch.optim.Adam(self._model.parameters(), lr=0.003)
        zeros = self._torch.zeros(1, batch, HIDDEN)
        self._state: Any = (zeros, zeros) if cell == "lstm" else zeros

    def update(self, chunk: Any) -> None:
        chunk = self._torch.from_numpy(chunk).long()
        logits, state = self._model(chunk[:-1], self._state)
        loss = self._torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk[1:].flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()

    def agree(self, updates: int) -> int:
        count = self._torch.tensor(updates)
        if self._size > 1:
            self._distributed.broadcast(count, 0)
        return int(count)


def main(library: str, cell: str, batch: str, steps: str, folder: str, rank: str = "0", size: str = "1") -> None:
    N, T = int(batch), int(steps)
    made: Rank = (
        XrnnRank(cell)
        if library == "xrnn"
        else TorchRank(cell, N, Path(folder), int(rank), int(size), library == "xrnn.torch")
    )
    chunks = np.random.default_rng(made.rank).integers(0, VOCABULARY, (8, T + 1, N), dtype=np.int32)
    ours = Path(folder, f"{made.rank}.new")
    ours.write_text(str(os.getpid()))
    ours.rename(Path(folder, str(made.rank)))
    while True:
        updates = made.agree(int(sys.stdin.readline() or 0) if made.rank == 0 else 0)
        if not updates:
            return
        before = made.reduced
        start = time.perf_counter()
        for k in range(updates):
            made.update(chunks[k % len(chunks)])
        result = {"seconds": time.perf_counter() - start, "reduced": made.reduced - before, "sent": made.sent}
        if made.rank == 0:
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
