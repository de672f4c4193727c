"""Coordinate checks of many networks at widths 128 to 4096: every derived exponent against finite networks.

    nice python -m benchmarks.coord_checks            # all, writes benchmarks/results/coord_checks.{md,png}
    python -m benchmarks.coord_checks --widths 128,256,512,1024 --only mlp,rnn --out /tmp/checks

All settings are those of ``net.coord_check``, the same for all networks: standard normal inputs, a learning rate by one rule
(``tp.readings.measure``), seeds in inverse proportion to the width, more networks while exponents are undecided. Matrices are
float64; at width 4096 one takes 128 MiB, and a check with SGD needs two copies of the network's weights (it is run with the rate
and with its negative).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tp
from tp.readings.coord_report import MARKS, CoordCheck
from tp.readings.slopes import UNDECIDED

HEAD = """  width n
  dim   d = 8
"""

MLP = f"""network mlp
{HEAD}  let L = 3
  input  x : [d]
  weight W[1] : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 2..L
  weight v    : [n]    ~ N(0, 1/n)
  h[1] = W[1] @ x
  h[l] = W[l] @ tanh(h[l-1]) for l in 2..L
  output f = v @ tanh(h[L])
"""

RESIDUAL = f"""network residual
{HEAD}  let L = 3
  input  x : [d]
  weight U    : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight v    : [n]    ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = h[l-1] + 1/sqrt(L) * (W[l] @ tanh(h[l-1])) for l in 1..L
  output f = v @ h[L]
"""

ATTENTION = f"""network attention
{HEAD}  index t, s in 1..4
  input  x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d), frozen
  weight Q : [n, n] ~ N(0, 1/n)
  weight K : [n, n] ~ N(0, 1/n)
  weight V : [n, n] ~ N(0, 1/n)
  weight O : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n)
  e[t] = E @ x[t]
  q[t] = Q @ e[t]
  k[t] = K @ e[t]
  a[t, s] = dot(q[t], k[s]) / n
  o[t] = e[t] + O @ sum(softmax(a[t, s] over s) * (V @ e[s]) for s)
  output f = v @ mean(relu(o[t]) for t)
"""

LAYERNORM = f"""network layernorm
{HEAD}  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight g : [n] ~ 1
  weight b : [n] = 1 * N(0, 0)
  weight v : [n] ~ N(0, 1/n)
  h1 = U @ x
  h2 = W @ relu(g * layernorm(h1) + b)
  output f = v @ relu(layernorm(h2))
"""

RNN = f"""network rnn
{HEAD}  index t in 1..3
  input  x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n)
  h[0] = 0
  h[t] = W @ tanh(h[t-1]) + U @ x[t]
  output f = v @ tanh(h[3])
"""

AUTOENCODER = f"""network autoencoder
{HEAD}  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  h = W @ (U @ x)
  y = W.T @ tanh(h)
  output f = U.T @ y / n
"""

BOTTLENECK = f"""network bottleneck
{HEAD}  width m
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight D : [m, n] ~ N(0, 1/n)
  weight P : [n, m] ~ N(0, 1/m)
  weight v : [n] ~ N(0, 1/n)
  h1 = U @ x
  z = D @ tanh(h1)
  h2 = P @ tanh(z)
  output f = v @ tanh(h2)
"""

# with tanh in the bottleneck no rates make all updates Θ(1) under SGD; these are the spectral condition's
SPECTRAL: dict[str, tuple[int | str, ...]] = {
    "U": (0, 0, -1),
    "D": (0, "3/4", "1/2"),
    "P": (0, "1/4", "-1/2"),
    "v": (0, 1, 1),
}


@dataclass(frozen=True)
class Construct:
    """A network under its maximal-update rules or those given; ``more`` multiplies the seeds where networks cost little."""

    name: str
    text: str | None = None
    lets: dict[str, int] = field(default_factory=dict)
    growth: dict[str, str] | None = None
    more: int = 1
    given: dict[str, dict[str, tuple[int | str, ...]]] = field(default_factory=dict)

    def rules(self, net: tp.Net, optimizer: str) -> Any:
        return self.given[optimizer] if optimizer in self.given else net.mup(optimizer, growth=self.growth)

    def net(self) -> tp.Net:
        return tp.zoo(self.name, **self.lets) if self.text is None else tp.parse(self.text, **self.lets)


CONSTRUCTS = (
    Construct("mlp", MLP),
    Construct("residual", RESIDUAL),
    Construct("attention", ATTENTION, more=2),
    Construct("layernorm", LAYERNORM),
    Construct("rnn", RNN),
    Construct("autoencoder", AUTOENCODER),
    Construct("bottleneck", BOTTLENECK, growth={"m": "1/2"}, more=24, given={"sgd": SPECTRAL}),
    Construct("transformer", lets={"L": 1, "T": 3}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="128,256,512,1024,2048,4096")
    parser.add_argument("--seeds", type=int, default=2, help="networks at the widest")
    parser.add_argument("--budget", type=float, default=4.0, help="of more networks where exponents are undecided")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", default=",".join(c.name for c in CONSTRUCTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coord_checks")
    given = parser.parse_args()
    widths = tuple(map(int, given.widths.split(",")))
    checks: list[tuple[Construct, CoordCheck, float]] = []
    for construct in CONSTRUCTS:
        for optimizer in ("sgd", "adam") if construct.name in given.only.split(",") else ():
            start, net = time.process_time(), construct.net()
            rules = construct.rules(net, optimizer)
            seeds = given.seeds * construct.more
            check = net.coord_check(optimizer, rules, widths, given.steps, seeds, growth=construct.growth, budget=given.budget)
            checks.append((construct, check, time.process_time() - start))
            print(f"{construct.name}, {optimizer}: {tally(check)}, {checks[-1][2]:.0f} s", flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".md").write_text(report(checks, widths))
    picture(checks, given.out.with_suffix(".png"))


def tally(check: CoordCheck) -> str:
    counts = {v: sum(r.verdict == v for r in check.rows) for v in MARKS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def report(checks: list[tuple[Construct, CoordCheck, float]], widths: tuple[int, ...]) -> str:
    """The tables, one line per network first."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = sum(seconds for *_, seconds in checks)
    lines = [
        "# Coordinate checks",
        "",
        f"Made by `benchmarks/coord_checks.py`: widths {', '.join(map(str, widths))}, maximal-update rules (for the bottleneck",
        f"with SGD those of the spectral condition). It took {total:.0f} s of one core and {memory:.1f} GiB.",
        "",
        "A slope is *confirmed* if it is within ±0.1 of the derived exponent and known to ±0.1 (two standard",
        "errors), *contradicted* if it is surely not within ±0.1, *undecided* otherwise. Step 0 is the initial",
        "size, step t the change after t updates. While exponents were undecided, more networks were trained",
        "where they tell most, for up to four times the cost of the first.",
        "",
        "A part is what decides: of a change, what is `odd` or `even` in the learning rate (with Adam all of",
        "it); of these, what the step has `added` to the one before, or, of scalars, what all networks have",
        "`shared` (products of the means over different sets of networks with flipped signs; it counts from",
        "four of Student's standard errors on, and under Adam with corrections in n^(-1/2)). Undecided attention",
        "logits `w` fluctuate by n^(-1/2), and what all networks share is too small beside that at these widths",
        "(`attention_logits.md` has the same by plain seeds), or still grows towards the whole, under Adam.",
        "",
        "| network | optimizer | exponents | deviation | networks by width | with flipped signs | rate | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for _, check, seconds in checks:
        known = [r for r in check.rows if r.verdict != UNDECIDED]
        off = max(abs(r.slope - float(r.derived)) for r in known if r.derived is not None)
        r = check.report
        flipped = f"{check.flips} × {_listed(check.sets)}" if any(check.sets) else ""
        cells = [r.network, r.optimizer, tally(check), f"{off:.3f}", _listed(check.networks), flipped, f"{check.lr:g}"]
        lines.append(f"| {' | '.join(cells)} | {seconds:.0f} |")
    lines += ["", "![slopes against derived exponents](coord_checks.png)", ""]
    for _, check, _ in checks:
        lines += [f"## {check.report.network}, {check.report.optimizer}", "", check.table(), ""]
    return "\n".join(lines)


def _listed(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts))


def picture(checks: list[tuple[Construct, CoordCheck, float]], path: Path) -> None:
    """Measured slopes against derived exponents, with two standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(11, 4.5), layout="constrained")
    place = 0
    for _, check, _ in checks:
        rows = [r for r in check.rows if r.derived is not None]
        x = range(place, place + len(rows))
        y = [r.slope - float(r.derived or 0) for r in rows]
        label = f"{check.report.network}, {check.report.optimizer}"
        axis.errorbar(x, y, [2 * r.error for r in rows], fmt=".", ms=5, lw=0.8, label=label)
        place += len(rows) + 4
    axis.axhspan(-0.1, 0.1, color="0.92", zorder=0)
    axis.axhline(0, color="0.6", lw=0.8, zorder=1)
    axis.set(ylabel="slope − derived exponent", xlabel="quantities and steps", ylim=(-0.55, 0.35))
    axis.legend(fontsize="x-small", ncols=4)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
