"""The tables of README.md and of the docs in Markdown, from the results that the benchmarks wrote.

Each function takes one or several files of results and returns the lines of a table. `benchmarks.figures` says which
files, and which page has the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from benchmarks import company
from benchmarks.cases import COMMON, STATED, Case
from benchmarks.mamba import MODEL_PEERS, share_of_limit
from benchmarks.peers import BARE_READ, FROZEN, TORCH
from benchmarks.ratios import Ratio, fastest, ratio
from benchmarks.report import KINDS, NAMES, TITLES, Row, against_base, against_peers, frozen, mean

Results = Mapping[str, Any]  # a file
Lines = list[str]

# The sizes of the tables of times; the means are over all sizes.
_SIZES: Final = (
    (50, 1, 64, 64),
    (50, 16, 256, 256),
    (50, 64, 256, 256),
    (35, 48, 100, 200),
    (20, 1, 512, 1024),
    (20, 1, 1024, 1024),
)
_PEERS: Final = {
    "torch": "PyTorch",
    "torch-minimal": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "jax-1": "JAX",
    "jax-8": "JAX",
    "jax-associative": "JAX",
    "numpy": "NumPy loop",
    "reservoirpy": "reservoirpy",
}
# The cells that neither PyTorch nor JAX has, and the code that they are compared with, by its name.
_RECENT: Final = ("min-gru", "min-lstm", "slstm", "lru")
_PEERS_OF_RECENT: Final = {
    "PyTorch": ("torch-minimal",),
    "JAX, `lax.scan`": ("jax-1", "jax-8"),
    "JAX, `associative_scan`": ("jax-associative",),
}
_OF_A_STEP: Final = {"xrnn": "xrnn", FROZEN: "frozen", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
_OF_MODULES: Final = {"forward": "inference", "train": "training", "train on data": "training as first layer"}


# ---- benchmarks.compare ----


def about(*files: Results) -> Lines:
    """One sentence: the machine, the days, the versions of the libraries."""
    machines = {(file["machine"]["cpu"], file["machine"]["threads"]) for file in files}
    (cpu, threads), *others = machines
    if others:
        raise ValueError(f"the results come from different machines: {sorted(machines)}")
    days = sorted({file["machine"]["date"][:10] for file in files})
    peers = {peer: found for file in files for peer, found in file["versions"].items()}
    versions = {name: _version(peers[peer]) for peer, name in _PEERS.items() if peer in peers and peer != "numpy"}
    versions["NumPy"] = peers["xrnn"]["NumPy"]
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    when = " and ".join(dict.fromkeys((days[0], days[-1])))
    return [f"{'One thread' if threads == 1 else f'{threads} threads'} of {cpu}, float32, {when}; {libraries}."]


def means_of_common(rnn: Results, lstm: Results, gru: Results, mamba: Results) -> Lines:
    """README's table: forward and training of the cells that PyTorch has, and the Mamba models."""
    lines = _head("", *(TITLES[operation] for operation in ("forward", "train")))
    for cell, file in zip(COMMON, (rnn, lstm, gru), strict=True):
        lines.append(_line([NAMES[cell], *(_mean(file, (cell, False), op)[0] for op in ("forward", "train"))]))
    of_models: dict[str, list[float]] = {"forward": [], "training": []}
    for row in mamba["models"]:
        if row["operation"] in of_models and (compared := _best(row)):
            of_models[row["operation"]].append(compared)
    threads = "one thread" if mamba["machine"]["threads"] == 1 else f"{mamba['machine']['threads']} threads"
    name = f"[Mamba models](docs/speed.md#mamba) of transformers, {threads}"
    lines.append(_line([name, *(f"{statistics.geometric_mean(ratios):.1f}" for ratios in of_models.values())]))
    return lines


def means_of_training(*files: Results) -> Lines:
    """RNN, LSTM, GRU: training beside the fastest other library."""
    lines = _head(*(NAMES[cell] for cell in COMMON), text=0)
    return [*lines, _line([_mean(file, (cell, False), "train")[0] for cell, file in zip(COMMON, files, strict=True)])]


def sizes(file: Results) -> Lines:
    """The times of some sizes of one cell, beside the fastest other library."""
    lines = _head("T, N, D, H", "forward, µs", "best peer / xrnn", "forward + backward, µs", "best peer / xrnn")
    by_size: dict[tuple[int, ...], dict[str, Row]] = {}
    cell = file["cases"][0]["cell"]
    for row in file["cases"]:
        if (row["cell"], row["ragged"]) == (cell, False):
            by_size.setdefault(tuple(row[letter] for letter in "TNDH"), {})[row["operation"]] = row
    for size, rows in by_size.items():
        if size in _SIZES:
            cells = [", ".join(map(str, size))]
            for operation in ("forward", "train"):
                compared = against_peers(rows[operation])
                cells.append(_microseconds(rows[operation]["microseconds"]["xrnn"]))
                cells.append(f"{compared[1].median:.2f} {_PEERS[compared[0]]}" if compared else "")
            lines.append(_line(cells))
    return lines


def means(*files: Results) -> Lines:
    """For each cell, the geometric means of *best peer / xrnn*, and in how many sizes xrnn is ahead."""
    lines = _head("", *TITLES.values())
    for kind, name in KINDS.items():
        for file in files:
            if _rows(file, kind, "train"):
                found = [_mean(file, kind, operation) for operation in TITLES]
                cells = [f"{value} ({count})" if value else "" for value, count in found]
                lines += [_line([name, *cells])] if any(cells) else []
    return lines


def behind(*files: Results) -> Lines:
    """The rows in which another library is faster in at least three quarters of the rounds, slowest first."""
    found = []
    for row in (row for file in files for row in file["cases"]):
        compared = against_peers(row)
        if compared and compared[1].verdict == "behind":
            size = ", ".join(str(row[letter]) for letter in "TNDH")
            name = KINDS[row["cell"], row["ragged"]]
            found.append(
                (
                    compared[1].median,
                    [name, TITLES[row["operation"]], size, f"{compared[1].median:.2f}", _PEERS[compared[0]]],
                )
            )
    found.sort(key=lambda entry: entry[0])
    head = _head("", "", "T, N, D, H", "best peer / xrnn", "best peer", text=3)
    return [*head, *(_line(cells) for _, cells in found)]


def recent(*files: Results) -> Lines:
    """For each recent cell and other library, the geometric mean over the sizes of its time divided by xrnn's."""
    rows = [row for file in files for row in file["cases"]]
    lines = _head("", *TITLES.values())
    for cell in _RECENT:
        for title, peers in _PEERS_OF_RECENT.items():
            cells = [f"{NAMES[cell]} beside {title}"]
            for operation in TITLES:
                of_cell = [row for row in rows if (row["cell"], row["operation"]) == (cell, operation)]
                ratios = [r for row in of_cell if (r := _of(row, peers))]
                ahead = sum(r.verdict == "ahead" for r in ratios)
                value = statistics.geometric_mean(r.median for r in ratios) if ratios else 0
                cells.append(f"{value:.2f} ({ahead} of {len(ratios)})" if ratios else "")
            lines += [_line(cells)] if any(cells[1:]) else []
    return lines


def heads(file: Results) -> Lines:
    """An LSTM of four heads: its time divided by that of an ordinary one."""
    lines = _head("T, N, D, H", "forward", "forward + backward")
    by_size: dict[str, list[str]] = {}
    for row in file["cases"]:
        if row["operation"] != "step" and (compared := against_base(row)):
            by_size.setdefault(", ".join(str(row[letter]) for letter in "TNDH"), []).append(f"{compared.median:.2f}")
    return [*lines, *(_line([size, *cells]) for size, cells in by_size.items())]


def steps(file: Results) -> Lines:
    """Microseconds of each library in one step."""
    names = [name for name in _OF_A_STEP if any(name in row["microseconds"] for row in file["cases"])]
    lines = _head("one step: N, D, H", *(f"{_OF_A_STEP[name]}, µs" for name in names))
    for row in file["cases"]:
        if row["operation"] == "step":
            size = ", ".join(str(row[letter]) for letter in "NDH")
            times = row["microseconds"]
            lines.append(_line([f"{NAMES[row['cell']]} {size}", *(_microseconds(times[name]) for name in names)]))
    return lines


def means_of_frozen(file: Results) -> Lines:
    """The time of ONNX Runtime and of an ordinary layer divided by that of a frozen one: means and lowest."""
    columns = {"ONNX Runtime": f"best peer / {FROZEN}", "ordinary": f"xrnn / {FROZEN}"}
    names = [f"{name}, {TITLES[operation]}" for name in columns for operation in ("step", "forward")]
    lines = _head("", *names)
    for cell in COMMON:
        cells = [NAMES[cell]]
        for title in columns.values():
            for operation in ("step", "forward"):
                ratios = [_without_torch(row)[title].median for row in _rows(file, (cell, False), operation)]
                cells.append(f"{statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f})")
        lines.append(_line(cells))
    return lines


def frozen_of_one_row(file: Results) -> Lines:
    """Forward passes of one row: a frozen layer, and the other forms divided by it."""
    lines = _head("", "T, D, H", "frozen, µs", "loop that reads", "ordinary", "ONNX Runtime", text=2)
    for row in file["cases"]:
        if row["operation"] == "forward" and row["N"] == 1 and row["cell"] in ("lstm", "gru"):
            compared = _without_torch(row)
            titles = (f"{BARE_READ} / {FROZEN}", f"xrnn / {FROZEN}", f"best peer / {FROZEN}")
            ratios = [f"{compared[title].median:.2f}" for title in titles]
            ours = _microseconds(row["microseconds"][FROZEN])
            lines.append(_line([NAMES[row["cell"]], _list(row, "TDH"), ours, *ratios]))
    return lines


def wide(file: Results) -> Lines:
    """Ordinary layers with few rows and wide weights beside the faster of PyTorch and ONNX Runtime."""
    lines = _head("", *TITLES.values())
    for cell in COMMON:
        cells = [NAMES[cell]]
        for operation in TITLES:
            ratios = [compared[1] for row in _rows(file, (cell, False), operation) if (compared := against_peers(row))]
            value = statistics.geometric_mean(r.median for r in ratios)
            least = min(r.median for r in ratios)
            ahead = sum(r.verdict == "ahead" for r in ratios)
            cells.append(f"{value:.2f} ({least:.2f}; {ahead} of {len(ratios)})")
        lines.append(_line(cells))
    return lines


# ---- the other commands ----


def one_step(file: Results) -> Lines:
    """`benchmarks.step`: the latency of one step, in microseconds."""
    lines = _head("", "a call", "`stream`", "forward + backward", "PyTorch's cell")
    for case in file["cases"]:
        times = case["microseconds"]
        ours = [f"{statistics.median(times[operation]['xrnn']):.3g}" for operation in ("step", "stream", "train")]
        lines.append(_line([NAMES[case["cell"]], *ours, f"{statistics.median(times['step']['torch']):.3g}"]))
    return lines


def modules(packed: bool) -> Callable[[Results], Lines]:
    """`benchmarks.torch_modules`: geometric means of PyTorch's time divided by xrnn.torch's."""

    def lines(file: Results) -> Lines:
        found = _head("packed" if packed else "", *_OF_MODULES.values())
        theirs, ours = file["peers"]
        for cell in COMMON:
            cases = [case["microseconds"] for case in file["cases"] if (case["cell"], case["packed"]) == (cell, packed)]
            cells = []
            for operation in _OF_MODULES:
                times = [case[operation] for case in cases if theirs in case[operation]]
                ratios = [ratio(of_case[ours], of_case[theirs]).median for of_case in times]
                cells.append(f"{statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f})" if ratios else "")
            found += [_line([NAMES[cell], *cells])] if any(cells) else []
        return found

    return lines


def memory(file: Results) -> Lines:
    """`benchmarks.memory`: the peak memory of training."""
    lines = _head("", "xrnn, MB", "PyTorch, MB", "xrnn / PyTorch", "h, MB")
    for row in file["cases"]:
        cell = row["case"].rpartition("-T")[0] or "rnn"
        peaks = row["peak_bytes"]["train"]
        ours = peaks["xrnn"]
        theirs = next(peaks[name] for name in TORCH if name in peaks)
        sizes_of = [f"{size / 1e6:,.0f}" for size in (ours, theirs)]
        lines.append(_line([NAMES[cell], *sizes_of, f"{ours / theirs:.2f}", f"{row['h_bytes'] / 1e6:,.0f}"]))
    return lines


def passes_beside_products(file: Results) -> Lines:
    """`benchmarks.company`: the time of forward + backward beside products, divided by that alone."""
    columns = [(setting, product) for setting in list(company.SETTINGS)[:3] for product in company.PRODUCTS]
    lines = _head("cell; T, N, D, H", *_settings(columns, "beside "))
    for case in company.CASES:
        alone = _company(file, "beside", case, None, "as installed", "passes")
        ratios = [ratio(alone, _company(file, "beside", case, of, setting, "passes")) for setting, of in columns]
        lines.append(_line([_named(case), *(f"{r.median:.2f}" for r in ratios)]))
    return lines


def products_beside_passes(file: Results) -> Lines:
    """`benchmarks.company`: the time of a product beside passes, divided by that in a loop of products alone."""
    columns = [(setting, product) for setting in list(company.SETTINGS)[:3] for product in company.PRODUCTS]
    lines = _head("beside cell; T, N, D, H", *_settings(columns, ""))
    for case in company.CASES:
        ratios = [
            ratio(
                _company(file, "beside", None, of, "as installed", "product"),
                _company(file, "beside", case, of, setting, "product"),
            )
            for setting, of in columns
        ]
        lines.append(_line([_named(case), *(f"{r.median:.2f}" for r in ratios)]))
    return lines


def ported_loops(file: Results) -> Lines:
    """`benchmarks.company`: the time of an update in NumPy alone divided by that of the ported loop."""
    columns = [(setting, form) for setting in list(company.SETTINGS)[:3] for form in company.FORMS[1:]]
    names = {company.FORMS[1]: "`h @ W`", company.FORMS[2]: "`Linear`"}
    lines = _head("cell; T, N, D, H", *_settings([(setting, names[form]) for setting, form in columns], ""))
    for case in company.LOOPS:
        before = _company(file, "loop", case, company.FORMS[0], "as installed", "update")
        ratios = [ratio(_company(file, "loop", case, form, setting, "update"), before) for setting, form in columns]
        kind = ", with noise and Dale's law" if case.cell == "leak" else ""
        lines.append(_line([_named(case) + kind, *(f"{r.median:.2f}" for r in ratios)]))
    return lines


def mamba_scans(file: Results) -> Lines:
    """`benchmarks.mamba`: the selective scan beside the other libraries."""
    peers = {
        "transformers": "transformers",
        "mamba.py": "mamba.py",
        "JAX lax.scan": "JAX `lax.scan`",
        "JAX associative_scan": "JAX `associative_scan`",
    }
    lines = _head("", "N, T, D, K", "xrnn, ms", "of the limit", *peers.values(), text=2)
    for row in file["scans"]:
        share = f"{share_of_limit(row):.0%}".replace("%", " %")
        lines.append(_line([row["operation"], _list(row, "NTDK"), _milliseconds(row), share, *_quotients(row, peers)]))
    return lines


def mamba_operations(part: str, columns: str) -> Callable[[Results], Lines]:
    """`benchmarks.mamba`: a part that is compared with transformers alone; columns: the sizes, with commas between."""

    def lines(file: Results) -> Lines:
        found = _head("", columns, "xrnn, ms", "transformers / xrnn", text=2)
        for row in file[part]:
            size = ", ".join(str(row[column]) for column in columns.split(", "))
            found.append(_line([row["operation"], size, _milliseconds(row), *_quotients(row, ["transformers"])]))
        return found

    return lines


def mamba_models(file: Results) -> Lines:
    """`benchmarks.mamba`: Mamba models before and after `accelerate`."""
    lines = _head("", "hidden, N, T", "xrnn, ms", "transformers", "mamba.py", text=2)
    for row in file["models"]:
        size = ", ".join(str(row[column]) for column in ("hidden", "N", "T"))
        lines.append(
            _line([row["operation"], size, _milliseconds(row), *_quotients(row, ["transformers", "mamba.py"])])
        )
    return lines


def mamba_memory(family: str) -> Callable[[Results], Lines]:
    """`benchmarks.mamba`: the peak memory above the loaded model, in MiB."""

    def lines(file: Results) -> Lines:
        peers = MODEL_PEERS[family]
        found = _head("hidden, N, T", *peers)
        for row in file["memory"]:
            if row["family"] == family:
                peaks = [
                    f"{row['peak_bytes'][peer] / 2**20:,.0f}" if peer in row["peak_bytes"] else "" for peer in peers
                ]
                found.append(_line([f"{row['operation']}, {row['hidden']}, {row['N']}, {row['T']}", *peaks]))
        return found

    return lines


# ---- what they share ----


def _rows(file: Results, kind: tuple[str, bool], operation: str) -> list[Row]:
    return [row for row in file["cases"] if (row["cell"], row["ragged"], row["operation"]) == (*kind, operation)]


def _mean(file: Results, kind: tuple[str, bool], operation: str) -> tuple[str, str]:
    """The geometric mean over the stated sizes, "1.23", and in how many of them xrnn is ahead, "9 of 11"."""
    stated = {case.name for case in STATED}
    found = mean([row for row in _rows(file, kind, operation) if row["case"] in stated])
    return (f"{found[0]:.2f}", f"{found[1].count('ahead')} of {len(found[1])}") if found else ("", "")


def _of(row: Row, peers: Sequence[str]) -> Ratio | None:
    """The time of the fastest of these peers divided by xrnn's; None if none of them was measured."""
    times = {name: rounds for name, rounds in row["microseconds"].items() if name in peers}
    return ratio(row["microseconds"]["xrnn"], times[fastest(times)]) if times else None


def _without_torch(row: Row) -> dict[str, Ratio]:
    """`frozen` beside ONNX Runtime alone."""
    times = {name: rounds for name, rounds in row["microseconds"].items() if name != "torch"}
    return frozen(row | {"microseconds": times})


def _best(row: Mapping[str, Any]) -> float | None:
    """The time of the fastest other library divided by xrnn's; None if there is no other."""
    others = {peer: times for peer, times in row["microseconds"].items() if peer != "xrnn"}
    return ratio(row["microseconds"]["xrnn"], others[fastest(others)]).median if others else None


def _quotients(row: Mapping[str, Any], peers: Sequence[str] | Mapping[str, str]) -> list[str]:
    times = row["microseconds"]
    ratios = [ratio(times["xrnn"], times[peer]).median if peer in times else None for peer in peers]
    return ["" if r is None else f"{r:.1f}" if r < 100 else f"{r:,.0f}" for r in ratios]


def _company(file: Results, part: str, case: Case | None, of: object, setting: str, call: str) -> list[float]:
    name = case.name if case else None
    rows = (row for row in file[part] if (row["case"], row["of"], row["setting"]) == (name, of, setting))
    return [one_round[call] for one_round in next(rows)["us"]]


def _settings(columns: Sequence[tuple[str, object]], before: str) -> list[str]:
    """Titles of columns: the first column of each setting names it."""
    names = {"as installed": "", "no polling": "variable: ", "shared threads": "`share_threads`: "}
    titles = []
    last = None
    for setting, what in columns:
        titles.append(f"{names[setting] if setting != last else ''}{before}{what}")
        last = setting
    return titles


def _named(case: Case) -> str:
    return f"{NAMES[case.cell]} {', '.join(map(str, case.sizes))}"


def _list(row: Mapping[str, Any], letters: str) -> str:
    return ", ".join(str(row[letter]) for letter in letters)


def _milliseconds(row: Mapping[str, Any]) -> str:
    milliseconds = statistics.median(row["microseconds"]["xrnn"]) / 1e3
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def _microseconds(rounds: Sequence[float]) -> str:
    median = statistics.median(rounds)
    return f"{median:,.1f}" if median < 100 else f"{median:,.0f}"


def _version(found: Mapping[str, str]) -> str:
    """The first version that a peer names, without the kind of its build."""
    return next(iter(found.values())).removesuffix("+cpu")


def _head(*titles: str, text: int = 1) -> Lines:
    """The head of a table, whose first `text` columns hold text and are aligned left."""
    return [_line(titles), "|" + "---|" * text + "--:|" * (len(titles) - text)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
