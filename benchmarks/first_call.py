"""What a user waits for before the first number: ``python -m benchmarks.first_call``.

Every figure is that of a fresh process: ``import tp``; the first kernel call with an empty cache and with a warm one, process
start included, until the number is there and until the process has ended, for few samples and for some hundred;
the derivation of each shipped spec. Writes ``results/first_call.{json,md}``.
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
kernel({name: rng.normal(size=(int(sys.argv[2]), *shape)) for name, shape in kernel.compiled.data.items()})
print("there", flush=True)
"""

DERIVE = """
import sys, time
import tp
ways = {
    "NTK": lambda net: net.ntk().closed(),
    "NNGP": lambda net: net.nngp().closed(),
    "nodes": lambda net: net.kernel("nngp", "ntk"),
}
for way, derive in ways.items():
    start = time.perf_counter()
    try:
        derive(tp.zoo(sys.argv[1]))
    except tp.LimitError:
        continue
    print(way, time.perf_counter() - start)
    break
"""
"""The first of these that a spec has."""

SAMPLES = (2, 300)
"""Few, and some hundred: where samples are lanes, neither takes a compiler."""

APART = ("hopfield", "autoencoder", "symmetric_rnn", "transformer", "gru", "lstm")
"""Specs whose kernels are not compiled, or not both: pair by pair, by nodes, or with an NNGP alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of shipped specs (default: all; kernels of those with compiled ones)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    found: dict[str, Any] = {"import": [process("import tp")[1] for _ in range(options.repeats)], "python": process("pass")[1]}
    print(f"import tp: {statistics.median(found['import']):.2f} s (an empty process: {found['python']:.2f} s)", flush=True)
    names = options.only or tp.zoo()
    found["kernels"] = {name: first_kernel(name, options.repeats) for name in names if name not in APART}
    found["derivations"] = {name: derivation(name, options.repeats) for name in names}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "first_call.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (options.out / "first_call.md").write_text(table(found), "utf-8")


def process(code: str, *arguments: str, cache: str | None = None) -> tuple[float, float]:
    """Seconds from the start of a fresh process that runs ``code`` to what it prints, and to its end."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        there = time.perf_counter() - start
    if running.returncode:
        raise SystemExit(f"failed: {arguments}")
    return there, time.perf_counter() - start


def environment(cache: str | None = None) -> dict[str, str]:
    found = os.environ | ({"TP_CACHE_DIR": cache} if cache else {})
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: modules are compiled
    return found


def output(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, env=environment(), capture_output=True, text=True
    ).stdout


def first_kernel(name: str, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds to the first kernel, and to the end of its process: with an empty cache, then with that cache; by samples."""
    found: dict[str, list[tuple[float, float]]] = {}
    for samples in map(str, SAMPLES):
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                for state in ("cold", "warm"):
                    found.setdefault(f"{state} {samples}", []).append(process(KERNEL, name, samples, cache=cache))
                    settle(Path(cache))
    shown = ", ".join(f"{key} {median(times):5.2f} s" for key, times in found.items())
    print(f"{name:>14}: first kernel {shown}", flush=True)
    return found


def settle(cache: Path) -> None:
    """Until what the process has left to be compiled is there: nothing is locked, and nothing written for three seconds."""
    seen: set[Path] = set()
    since = time.perf_counter()
    while time.perf_counter() - since < 3.0:
        there = {*cache.rglob("*")}
        if there != seen or any(path.suffix == ".lock" for path in there):
            seen, since = there, time.perf_counter()
        time.sleep(0.1)


def median(times: list[tuple[float, float]], which: int = 0) -> float:
    return statistics.median(t[which] for t in times)


def derivation(name: str, repeats: int) -> dict[str, list[float]]:
    """Seconds from spec to the NTK recursion with its expectations closed, imports apart; or to the first limit that there is."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        way, seconds = output(DERIVE, name).split()
        found.setdefault(way, []).append(float(seconds))
    print(f"{name:>14}: derivation {', '.join(f'{w} {statistics.median(t):.2f} s' for w, t in found.items())}", flush=True)
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown: medians of fresh processes."""
    out = [
        "# Before the first number",
        "",
        f"Fresh processes, medians. `import tp` takes {statistics.median(found['import']):.2f} s, "
        f"of which an empty Python {found['python']:.2f} s.",
        "First kernel: NNGP and NTK of so many samples, cold (an empty cache) and warm (what the first process left to be",
        "compiled is there): until the number is there, with process start, imports, derivation and compilation; in brackets",
        "until the process has ended. Derivation: of the NTK, or what stands there; by nodes there are no equations.",
        "",
        "| spec | derivation, s |" + "".join(f" {n} samples, cold, s | warm, s |" for n in SAMPLES),
        "|---|---|" + "---|---|" * len(SAMPLES),
    ]
    for name, derived in found["derivations"].items():
        times = found["kernels"].get(name, {})
        cells = [f"{median(t):.2f} ({median(t, 1):.2f})" for t in times.values()] or ["–"] * (2 * len(SAMPLES))
        of = ", ".join(f"{statistics.median(t):.2f}{'' if way == 'NTK' else f' ({way})'}" for way, t in derived.items())
        out.append(f"| {name} | {of} | {' | '.join(cells)} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
