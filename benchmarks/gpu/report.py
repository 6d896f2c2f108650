"""What `make gpu-check` found, as text and pictures: `python -m benchmarks.gpu.report FILE` prints it again."""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ratios import Ratio, ratio

Results = Mapping[str, Any]


def lines(results: Results) -> list[str]:
    """The whole report."""
    text = [f"{results['device'].get('device 0', 'GPU')}, {results['date']}", "", "parts:"]
    text += [f"  {name:12} {part['outcome']}" for name, part in results["parts"].items()]
    if not results["complete"]:
        text.append("  incomplete: not every part has run")
    if "variants" in results:
        failed = {variant: why for variant, why in results["variants"].items() if why}
        text += ["", f"variants: {len(results['variants'])} compared with the plain form, {len(failed)} disagree"]
        text += [f"  {variant}: {why}" for variant, why in failed.items()]
    if "steps" in results:
        from benchmarks.gpu.steps import lines as step_lines

        text += ["", *step_lines(results["steps"])]
    if "costs" in results:
        from benchmarks.gpu.costs import lines as cost_lines

        text += ["", "costs that the selection rests on:", *(f"  {line}" for line in cost_lines(results["costs"]))]
    if "forms" in results:
        text += ["", *form_lines(results)]
    return text


def form_lines(results: Results) -> list[str]:
    """A line a cell, then the sums, then what is missing."""
    from benchmarks.gpu.choices import FLOOR, NEAR, judge
    from xrnn.backends.cupy.choice import Device

    forms = results["forms"]
    text = []
    verdicts = judge(forms["cells"], Device(**forms["device"]), results.get("costs", {}))
    head = f"{'':22} {'chosen':22} {'µs':>9} {'of best':>8} {'step/floor':>10}  {'cuDNN/ours':>22}  {'TF32/ours':>22}"
    for operation, title in (("forward", "forward"), ("train", "forward + backward")):
        text += [f"{title}, {forms['dtype']}, medians of {forms['rounds']} rounds", head]
        for cell, verdict in zip(forms["cells"], verdicts, strict=True):
            if cell["operation"] == operation:
                floor = f"{verdict.step / verdict.floor:.2f}" if operation == "forward" else ""
                text.append(
                    f"{cell['case']:22} {verdict.chosen:22} {verdict.time:9.1f} "
                    f"{verdict.time / verdict.best_time:8.2f} {floor:>10}  {_against(cell, 'torch'):>22}  "
                    f"{_against(cell, 'torch tf32'):>22}"
                )
    good, near = sum(v.good for v in verdicts), [v.near_floor for v in verdicts if v.operation == "forward"]
    text.append(f"the choice is within {NEAR:g} times the best measured form in {good} of {len(verdicts)} cells")
    text.append(f"a forward step is within {FLOOR:g} times its floor in {sum(near)} of {len(near)} cells")
    ratios = [r for cell in forms["cells"] if (r := against(cell, "torch"))]
    if ratios:
        verdict_counts = [r.verdict for r in ratios]
        counts = ", ".join(f"{verdict_counts.count(word)} {word}" for word in ("ahead", "tie", "behind"))
        text.append(f"cuDNN / ours: geometric mean {statistics.geometric_mean(r.median for r in ratios):.2f}; {counts}")
    text += [f"{name} was not used: {why}" for cell in forms["cells"] for name, why in cell["not_used"].items()]
    text += [f"{name} was not timed: {why}" for cell in forms["cells"] for name, why in cell["wrong"].items()]
    text += [f"{case} failed: {why}" for case, why in forms["failed"].items()]
    if forms["dropped"]:
        text.append(f"no time was left for {', '.join(forms['dropped'])}")
    return text


def against(cell: Mapping[str, Any], peer: str) -> Ratio | None:
    """The peer's time over the chosen form's; None where the peer wasn't there."""
    times = cell["microseconds"]
    return ratio(times[cell["chosen"]], times[peer]) if peer in times else None


def _against(cell: Mapping[str, Any], peer: str) -> str:
    r = against(cell, peer)
    return f"{r.median:.2f} ({r.low:.2f}–{r.high:.2f}) {r.verdict}" if r else ""


def draw(results: Results, folder: Path, stem: str) -> list[Path]:
    """A panel for each hidden size: microseconds over batch sizes, a line a form → the files that were written."""
    if "forms" not in results or not results["forms"]["cells"]:
        return []
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: matplotlib is not installed")
        return []
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    cells = results["forms"]["cells"]
    cells = [cell for cell in cells if cell["cell"] == cells[0]["cell"]]  # the pictures show the first cell
    sizes = sorted({cell["H"] for cell in cells})
    paths = []
    for operation, title in (("forward", "forward"), ("train", "forward + backward")):
        figure, row = pyplot.subplots(
            1, len(sizes), figsize=(max(2.6 * len(sizes), 7), 3.6), squeeze=False, sharey="row", layout="constrained"
        )
        for axes, H in zip(row[0], sizes, strict=True):
            here = sorted((c for c in cells if c["H"] == H and c["operation"] == operation), key=lambda c: c["N"])
            for number, (name, points) in enumerate(_series(here).items()):
                axes.plot(*points, label=name, color=f"C{number}", marker="o", markersize=3, linewidth=1.2)
            axes.set(xscale="log", yscale="log", title=f"H={H}", xlabel="batch size")
            batches = sorted({cell["N"] for cell in here})
            axes.set_xticks(batches, [str(batch) for batch in batches])
            axes.set_xticks([], minor=True)
            axes.grid(True, alpha=0.3)
        row[0][0].set_ylabel("microseconds")
        handles, labels = row[0][-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
        figure.suptitle(f"{title}, {results['device'].get('device 0', 'GPU').split(',')[0]}, float32", fontsize=10)
        paths.append(folder / f"{stem}-{operation}.png")
        figure.savefig(paths[-1], dpi=110)
        pyplot.close(figure)
    return paths


def _series(cells: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """The fastest of each form, cuDNN's two, over the batch sizes; every panel has the same lines in the same order."""
    series: dict[str, tuple[list[int], list[float]]] = {
        name: ([], []) for name in ("plain", "stepwise", "one-block", "group", "torch", "torch tf32")
    }
    for cell in cells:
        for name, (batches, times) in series.items():
            found = [
                statistics.median(rounds)
                for other, rounds in cell["microseconds"].items()
                if other == name or (name in ("one-block", "group") and other.startswith(f"{name} "))
            ]
            if found:
                batches.append(cell["N"])
                times.append(min(found))
    return series


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.report", description="print a result again")
    parser.add_argument("file", type=Path, help="what make gpu-check wrote")
    print("\n".join(lines(json.loads(parser.parse_args(arguments).file.read_text()))))


if __name__ == "__main__":
    main()
