"""How time grows: with samples, depth, recurrent steps and image size: ``python -m benchmarks.growth``.

Writes
``results/growth.{json,md,png}``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tp
from benchmarks import machine
from benchmarks.workloads import WORKLOADS, Workload

RESULTS = Path(__file__).parent / "results"
BY_NAME = {w.name: w for w in WORKLOADS}


def warm(w: Workload, shape: tuple[int, ...], lets: dict[str, Any]) -> float:
    """Shortest of three warm calls, in seconds."""
    kernel = tp.parse(w.text(), **(dict(w.lets) | lets)).kernel("nngp", "ntk", progress=False)
    x = w.data("float64", shape)
    kernel.load()
    kernel(x)
    return machine.best(lambda: kernel(x), 3)


def samples(n: int) -> float:
    return warm(BY_NAME["relu3"], (n, 784), {})


def depth(layers: int) -> float:
    return warm(BY_NAME["relu30"], (500, 20), {"L": layers})


def steps(count: int) -> float:
    return warm(BY_NAME["rnn"], (200, count, 16), {"T": count})


def image(size: int) -> float:
    return warm(BY_NAME["conv_gap32"], (2, size, size, 3), {"P": size})


CURVES: dict[str, tuple[str, Callable[[int], float], tuple[int, ...]]] = {
    "samples": ("ReLU MLP, depth 3, d = 784: samples", samples, (250, 500, 1000, 2000, 4000, 8000)),
    "depth": ("ReLU MLP, d = 20, N = 500: layers", depth, (3, 10, 30, 100, 300)),
    "steps": ("ReLU RNN, N = 200: steps", steps, (5, 10, 20, 50, 100, 200)),
    "image": ("convolution ×3 and global average pooling, N = 2: side", image, (4, 8, 16, 32)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    path = options.out / "growth.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in options.only:
        title, measure, sizes = CURVES[name]
        found[name] = {"title": title, "sizes": list(sizes), "seconds": []}
        for size in sizes:
            found[name]["seconds"].append(measure(size))
            print(f"{title} {size}: {found[name]['seconds'][-1]:.4f} s", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    path.with_suffix(".md").write_text(table(found), "utf-8")
    picture(found, path.with_suffix(".png"))


def table(found: dict[str, Any]) -> str:
    out = [
        "# How time grows",
        "",
        "Warm calls, NNGP and NTK, float64. Exponent: slope between the last two sizes, doubly logarithmic.",
        "",
    ]
    for curve in found.values():
        sizes, seconds = curve["sizes"], curve["seconds"]
        slope = np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2])
        out += [
            f"**{curve['title']}** (exponent {slope:.2f})",
            "",
            "| " + " | ".join(map(str, sizes)) + " |",
            "|" + "---|" * len(sizes),
        ]
        out += ["| " + " | ".join(f"{s:.3g} s" for s in seconds) + " |", ""]
    return "\n".join(out)


def picture(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(1, len(found), figsize=(3.4 * len(found), 3), layout="constrained", squeeze=False)
    for axes, curve in zip(grid[0], found.values(), strict=True):
        axes.loglog(curve["sizes"], curve["seconds"], "o-")
        axes.set_title(curve["title"], fontsize=7)
        axes.set_ylabel("seconds")
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
