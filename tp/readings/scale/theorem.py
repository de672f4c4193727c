"""The classification of an MLP's parametrizations in closed form, for any number of layers, and a picture of it.

Exponents enter by w_l = a_l + b_l and u_l = 2 a_l + c_l, which the symmetry of parametrizations leaves alone. The general engine
derives the same, program by program; here is the theorem that it has to agree with.

Source: Yang & Hu 2021, *Tensor Programs IV*, Definition 3.2, Theorems 3.3, 3.4, 3.8 and 5.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Verdict:
    """r, and what it makes of a parametrization of an L-hidden-layer MLP."""

    r: Fraction
    stable_at_init: bool
    stable: bool
    nontrivial: bool

    @property
    def feature_learning(self) -> bool:
        """Of a stable, nontrivial parametrization: features move by Θ(1). Otherwise it is a kernel method."""
        return self.nontrivial and self.r == 0


def classify(w: Sequence[Fraction], u: Sequence[Fraction]) -> Verdict:
    """The theorem at w = (w_1, …, w_{L+1}), u likewise."""
    *hidden, out = w
    r = min(out, u[-1]) + min(x - 1 + (k == 0) for k, x in enumerate(u[:-1]))
    begins = hidden[0] == 0 and all(x == HALF for x in hidden[1:]) and out >= HALF
    stable = begins and r >= 0 and u[-1] >= 1 and out + r >= 1
    return Verdict(r, begins, stable, stable and (u[-1] == 1 or out + r == 1))


def latex() -> str:
    """The theorem with symbolic L and exponents, for a paper."""
    return r"""\begin{align*}
w_l &= a_l + b_l, \qquad u_l = 2a_l + c_l \qquad (1 \le l \le L+1),\\
r &= \min(w_{L+1}, u_{L+1}) + \min_{1 \le l \le L}\bigl(u_l - 1 + \mathbf 1[l{=}1]\bigr).
\end{align*}
\textbf{Stability at initialization:} $w_1 = 0$, $w_l = \tfrac12$ for $2 \le l \le L$, $w_{L+1} \ge \tfrac12$.

\textbf{Stability in training}, with its facets: $r \ge 0$ (features), $u_{L+1} \ge 1$ (the update of the read-out acts on
features), $w_{L+1} + r \ge 1$ (the initial read-out acts on the change of features).

\textbf{Nontriviality:} $u_{L+1} = 1$ or $w_{L+1} + r = 1$.

\textbf{Dichotomy:} a stable, nontrivial parametrization learns features if $r = 0$, $\Delta x^L = \Theta(1)$; if $r > 0$ then
$\Delta x^L = \Theta(n^{-r})$ and it is kernel gradient descent.

\textbf{Maximal update:} all of $\Delta W^l x^{l-1}$, $\Delta W^{L+1} x^L$ and $W^{L+1}_0 \Delta x^L$ are $\Theta(1)$ at
exactly one point: $w = (0, \tfrac12, \dots, \tfrac12, 1)$, $u = (-1, 0, \dots, 0, 1)$.
"""


def picture(path: str | Path) -> None:
    """The plane of stable initializations with equal hidden rates: r against w_{L+1}, with SP, NTP, MFP and μP."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(6, 4.5))
    panel.fill([HALF, HALF, 1, 1.6, 1.6], [1.2, HALF, 0, 0, 1.2], color="0.92", label="stable")
    panel.plot([0.5, 1], [0.5, 0], color="C0", linewidth=3, label=r"$w_{L+1} + r = 1$: UP$_s$")
    panel.plot([1, 1.6], [0, 0], color="C3", linewidth=3, label=r"$r = 0$: feature learning")
    marks = [("NTP, SP at rate 1/n", 0.5, 0.5), ("μP, MFP", 1.0, 0.0), ("SP at rate 1", 0.5, -1.0)]
    for name, x, y in marks:
        panel.plot([x], [y], marker="o", color="black")
        panel.annotate(name, (x, y), textcoords="offset points", xytext=(8, 6))
    panel.set_xlim(0.3, 1.6)
    panel.set_ylim(-1.2, 1.2)
    panel.set_xlabel(r"$w_{L+1}$: the initial read-out is $n^{-w_{L+1}}$")
    panel.set_ylabel(r"$r$: features move by $n^{-r}$")
    panel.legend(loc="upper right", fontsize="small")
    figure.tight_layout()
    suffix = Path(path).suffix.lstrip(".").lower()
    figure.savefig(path, format=suffix if suffix in ("png", "pdf", "svg") else "png")
    pyplot.close(figure)
