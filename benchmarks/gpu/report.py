"""What `make gpu-check` found, as text."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.ratios import Ratio, ratio

Results = Mapping[str, Any]
NEAR: Final = 1.1  # a choice is good if no form is faster by more
# The columns of a line. The last two are cuDNN's, without and with TF32.
FORMS: Final = ("plain", "stepwise", "one-block", "group", "scan", "torch", "torch tf32")


def lines(results: Results) -> list[str]:
    """The whole report."""
    text = [f"{results['device'].get('device 0', 'GPU')}, {results['date']}", ""]
    text += [f"{name}: {fact}" for name, fact in results["device"].items()]
    text += ["", "parts:"]
    text += [f"  {name:12} {part['outcome']}" for name, part in results["parts"].items()]
    if not results["complete"]:
        text.append("  incomplete: not every part has run")
    if "variants" in results:
        failed = {variant: why for variant, why in results["variants"].items() if why}
        text += ["", f"variants: {len(results['variants'])} compared with the plain form, {len(failed)} disagree"]
        kinds = Counter(" ".join(variant.replace(",", "").split()[1:4]) for variant in results["variants"])
        wrong = Counter(" ".join(variant.replace(",", "").split()[1:4]) for variant in failed)
        text += [f"  {kind:32} {number - wrong[kind]:3} of {number} agree" for kind, number in kinds.items()]
        text += [f"  {variant}: {why}" for variant, why in failed.items()]
    if "costs" in results:
        from benchmarks.gpu import costs

        text += ["", "costs that the selection rests on:", *(f"  {line}" for line in costs.lines(results["costs"]))]
        if changed := costs.changes(results["costs"]):
            text += ["lines to change in backends/cupy/choice.py:", *(f"  {line}" for line in changed)]
    if "forms" in results:
        text += ["", *form_lines(results)]
    return text


def page(results: Results) -> str:
    """The report as a page to attach to an issue."""
    state = "" if results["complete"] else ", incomplete"
    return "\n".join([f"# gpu-check on {results['date']}{state}", "", "```text", *lines(results), "```", ""])


def form_lines(results: Results) -> list[str]:
    """A line a cell: the fastest layout of each form, cuDNN, the choice; then the sums, then what is missing."""
    forms = results["forms"]
    lengths = forms["lengths"]
    of_best, against = [_of_best(cell) for cell in forms["cells"]], [_against_cudnn(cell) for cell in forms["cells"]]
    columns = "".join(f" {name:>9}" for name in (*FORMS[:-2], "cuDNN", "TF32"))
    text = [
        f"µs a step, float32, from {lengths['long']} steps less {lengths['short']}, {forms['rounds']} rounds; "
        f"of best: a call of {lengths['short']}; host: µs to hand over a call of {lengths['long']}",
        f"{'':31}{columns}   {'chosen':22} {'of best':>7} {'predicted':>9} {'cuDNN/ours':>24} {'host':>9}",
    ]
    for cell, ratio_to_best, r in zip(forms["cells"], of_best, against, strict=True):
        fastest = (_fastest(cell, form) for form in FORMS)
        columns = "".join(f" {'-':>9}" if time is None else f" {time:9.2f}" for time in fastest)
        forward = cell["operation"] == "forward" and cell["candidates"].get(cell["chosen"])
        predicted = f"{forward[0]['step_seconds'] * 1e6:.2f}" if forward else ""
        host = max(cell["host_microseconds"][cell["chosen"]].items(), key=lambda found: int(found[0]))[1]
        text.append(
            f"{cell['case']:22} {cell['operation']:8}{columns}   {cell['chosen']:22} "
            f"{ratio_to_best:7.2f} {predicted:>9} {f'{r} {r.verdict}' if r else '':>24} {host:9.1f}"
        )
    if not any(against):
        text.append("the columns cuDNN and TF32 are left out: PyTorch is not installed, or sees no GPU")
    good = sum(ratio_to_best <= NEAR for ratio_to_best in of_best)
    text.append(f"the choice is within {NEAR:g} times the best measured form in {good} of {len(of_best)} cells")
    if ratios := [r for r in against if r]:
        verdicts = [r.verdict for r in ratios]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("ahead", "tie", "behind"))
        text.append(f"cuDNN / ours: geometric mean {statistics.geometric_mean(r.median for r in ratios):.2f}; {counts}")
    text += [f"{name} was not used: {why}" for cell in forms["cells"] for name, why in cell["not_used"].items()]
    text += [f"{name} was not timed: {why}" for cell in forms["cells"] for name, why in cell["wrong"].items()]
    text += [f"{case} failed: {why}" for case, why in forms["failed"].items()]
    if forms["dropped"]:
        text.append(f"no time was left for {', '.join(forms['dropped'])}")
    return text


def _of_best(cell: Mapping[str, Any]) -> float:
    """A call of the chosen form over one of the fastest of ours."""
    times = {name: statistics.median(rounds) for name, rounds in cell["microseconds"].items()}
    own = [time for name, time in times.items() if name in cell["candidates"] or name == "plain"]
    return float(times[cell["chosen"]] / min(own))


def _against_cudnn(cell: Mapping[str, Any]) -> Ratio | None:
    """The time of cuDNN's step / that of the chosen form's. None if PyTorch was not measured."""
    times = cell["step_microseconds"]
    return ratio(times[cell["chosen"]], times["torch"]) if "torch" in times else None


def _fastest(cell: Mapping[str, Any], form: str) -> float | None:
    """The microseconds of a step in the form's fastest layout. None if no layout was measured."""
    several = form in ("one-block", "group")
    names = [name for name in cell["step_microseconds"] if name == form or (several and name.startswith(f"{form} "))]
    return min((statistics.median(cell["step_microseconds"][name]) for name in names), default=None)
