"""What a user waits for before the first number: ``python -m benchmarks.first_call``.

Every figure is that of a fresh process: ``import tp``; the first kernel call with an empty cache and with a warm one, process
start included; the derivation of each shipped spec. Writes ``results/first_call.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tp

RESULTS = Path(__file__).parent / "results"

KERNEL = """
import sys
import numpy as np
import tp
kernel = tp.zoo(sys.argv[1]).kernel("nngp", "ntk")
rng = np.random.default_rng(0)
kernel({name: rng.normal(size=(2, *shape)) for name, shape in kernel.compiled.data.items()})
"""

DERIVE = """
import sys, time
import tp
start = time.perf_counter()
tp.zoo(sys.argv[1]).ntk().closed()
print(time.perf_counter() - start)
"""

TIED = ("hopfield", "autoencoder", "symmetric_rnn", "transformer")
"""Specs whose limit needs the Z-calculus."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of shipped specs (default: all but those that need the Z-calculus)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    found: dict[str, Any] = {"import": [process("import tp") for _ in range(options.repeats)], "python": process("pass")}
    print(f"import tp: {statistics.median(found['import']):.2f} s (an empty process: {found['python']:.2f} s)", flush=True)
    names = options.only or [name for name in tp.zoo() if name not in TIED]
    found["kernels"] = {name: first_kernel(name, options.repeats) for name in names}
    found["derivations"] = {name: derivation(name, options.repeats) for name in names}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "first_call.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (options.out / "first_call.md").write_text(table(found), "utf-8")


def process(code: str, *arguments: str, cache: str | None = None) -> float:
    """Seconds from start to end of a fresh process that runs ``code``."""
    start = time.perf_counter()
    output(code, *arguments, cache=cache)
    return time.perf_counter() - start


def output(code: str, *arguments: str, cache: str | None = None) -> str:
    environment = os.environ | ({"TP_CACHE_DIR": cache} if cache else {})
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: modules are compiled
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, env=environment, capture_output=True, text=True
    ).stdout


def first_kernel(name: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of a process that ends with the first kernel: with an empty cache, then with that cache."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(process(KERNEL, name, cache=cache))
            warm.append(process(KERNEL, name, cache=cache))
    print(f"{name:>14}: first kernel cold {statistics.median(cold):6.2f} s, warm {statistics.median(warm):5.2f} s", flush=True)
    return {"cold": cold, "warm": warm}


def derivation(name: str, repeats: int) -> list[float]:
    """Seconds from spec to the NTK recursion with its expectations closed, imports apart."""
    times = [float(output(DERIVE, name)) for _ in range(repeats)]
    print(f"{name:>14}: derivation {statistics.median(times):6.2f} s", flush=True)
    return times


def table(found: dict[str, Any]) -> str:
    """Markdown: medians of fresh processes."""
    out = [
        "# Before the first number",
        "",
        f"Fresh processes, medians. `import tp` takes {statistics.median(found['import']):.2f} s, "
        f"of which an empty Python {found['python']:.2f} s.",
        "First kernel: NNGP and NTK of two samples, process start, imports, derivation and compilation included.",
        "",
        "| spec | derivation, s | first kernel, cold cache, s | warm cache, s |",
        "|---|---|---|---|",
    ]
    for name, times in found["kernels"].items():
        derived = statistics.median(found["derivations"][name])
        out.append(
            f"| {name} | {derived:.2f} | {statistics.median(times['cold']):.2f} | {statistics.median(times['warm']):.2f} |"
        )
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
