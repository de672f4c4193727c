"""V and V̇ for pairs that are not degenerate: one square root, one polynomial, no branch.

These are the forms for inner loops. What depends on one variance alone comes as an argument, so that it is computed once per
sample: s = √q and w = 1/√(q + e), or 0 at q + e = 0. Angles are in turns, so that no factor 2π remains. The last number returned
is a margin: where it is positive the form has full precision, and elsewhere (NaN included) the pair must go to the function of
``primitives`` with the same name, near ρ = ±1 for one. It is a number, not a truth value, so that a loop over lanes tests it
without leaving the vector unit. Functions called ``…_single`` take the place of their namesakes in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import sympy as sp

from tp.gaussian.codegen import Source, digest, merge, sources_of


def arcsine_turns(z: float) -> float:
    """arcsin(√z)/(2π √z) for 0 ≤ z ≤ ½ (Chebyshev interpolation, relative error 8e-16)."""
    p = (0.08947416061620674 * z - 0.28441224906500334) * z + 0.43243453974078316
    p = ((p * z - 0.398984125947977) * z + 0.25192272312264247) * z - 0.11082457309415651
    p = ((p * z + 0.037797457071215255) * z - 0.007196414547903716) * z + 0.0033856047424118316
    p = ((p * z + 0.0020230430838326457) * z + 0.0027801724161953412) * z + 0.0035594673223791136
    p = ((p * z + 0.0048354856852727965) * z + 0.007105130148203815) * z + 0.011936620748328035
    return (p * z + 0.02652582384856327) * z + 0.1591549430918954


def arcsine_turns_single(z: float) -> float:
    """``arcsine_turns`` with relative error 5e-8."""
    p = (0.01745515689253807 * z - 0.01433766633272171) * z + 0.012022525072097778
    p = ((p * z + 0.0026628831401467323) * z + 0.007397656794637442) * z + 0.011917704716324806
    return (p * z + 0.026526281610131264) * z + 0.15915493667125702


def arcsine(x: float, y: float, y2: float) -> float:
    """arcsin x in turns, for y = √y2 = √(1 − x²): from the smaller of |x| and y."""
    flat = y2 > 0.5
    arc = (x if flat else math.copysign(y, x)) * arcsine_turns(min(1.0 - y2, y2))
    return arc if flat else math.copysign(0.25, x) - arc


def relu_easy(s1: float, w1: float, c: float, s2: float, w2: float) -> tuple[float, float, float]:
    """``relu_pair`` for ρ > −0.98: (√D + c ψ)/2π and ψ/2π with sin ψ = √(1 − ρ²), ψ > 0.002; both 0 at zero variance."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    psi = 0.25 + arcsine(x, y, y2) if w > 0.0 else 0.0
    return 0.15915494309189535 * s1 * s2 * y + c * psi, psi, min(y2 - 4e-6, x + 0.98)


def relu_easy_single(s1: float, w1: float, c: float, s2: float, w2: float) -> tuple[float, float, float]:
    """``relu_easy`` for ψ > 0.03, where single precision still has five digits of the slope."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    psi = 0.25 + arcsine(x, y, y2) if w > 0.0 else 0.0
    return 0.15915494309189535 * s1 * s2 * y + c * psi, psi, min(y2 - 1e-3, x + 0.98)


def slopes_easy(
    s1: float, w1: float, c: float, s2: float, w2: float, a1: float, b1: float, a2: float, b2: float
) -> tuple[float, float, float]:
    """``slopes_pair`` for ρ > −0.98, from its odd and even parts: (a1+b1)(a2+b2)/4 u v and (b1−a1)(b2−a2)/4 |u| |v|."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    arc = arcsine(x, y, y2)
    odd, even = 0.25 * (a1 + b1) * (a2 + b2), (b1 - a1) * (b2 - a2)
    v = odd * c + even * (0.15915494309189535 * s1 * s2 * y + c * arc)
    return v, odd + even * arc, w * min(y2 - 4e-6, x + 0.98)


def erf_easy(s1: float, w1: float, c: float, s2: float, w2: float, e1: float, e2: float) -> tuple[float, float, float]:
    """``erf_pair``: (2/π) arcsin x and (2/π) w/√(1 − x²) with w = 1/√((q1+e1)(q2+e2)), x = c w, x² < 0.99."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    return 4.0 * arcsine(x, y, y2), 0.6366197723675814 * w / y, y2 - 0.01


def cdf_easy(s1: float, w1: float, c: float, s2: float, w2: float, e1: float, e2: float) -> tuple[float, float, float]:
    """``cdf_pair``: arccos(−x)/2π and w/(2π √(1 − x²)), w and x as for ``erf_easy``."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    return 0.25 + arcsine(x, y, y2), 0.15915494309189535 * w / y, y2 - 0.01


def gelu_easy(s1: float, w1: float, c: float, s2: float, w2: float, e1: float, e2: float) -> tuple[float, float, float]:
    """``gelu_pair`` for −0.7 < x, x² < 0.99, w and x as for ``erf_easy``; its E is e1 w1² + e2 w2²."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    y = math.sqrt(y2)
    psi, inverse = 0.25 + arcsine(x, y, y2), w / y
    both, per_turn, r = e1 * w1 * w1 + e2 * w2 * w2, 0.15915494309189535 * inverse, s1 * s2
    v = c * psi + (r * r - c * c + c * c * both) * per_turn
    vdot = psi + c * per_turn * (both + e1 * e2 * inverse * inverse)
    return v, vdot, min(min(y2 - 0.01, x + 0.7), min(e1, e2))


def gaussian_easy(s1: float, w1: float, c: float, s2: float, w2: float, a1: float, a2: float) -> tuple[float, float, float]:
    """``gaussian_pair`` with e = 1/2a: w/√(4 a1 a2 (1 − x²)) and its c-derivative, which is c w²/(1 − x²) times it."""
    w = w1 * w2
    x = c * w
    y2 = 1.0 - x * x
    v = w / math.sqrt(y2) * math.sqrt(0.25 / (a1 * a2))
    return v, c * w * w / y2 * v, y2 - 0.01


EASY: dict[str, tuple[Callable[..., tuple[float, float, float]], str, str]] = {
    "relu_pair": (relu_easy, "", "0"),
    "relu_relu": (relu_easy, "[0]", "0"),
    "step_step": (relu_easy, "[1]", "0"),
    "slopes_pair": (slopes_easy, "", "0"),
    "slopes": (slopes_easy, "[0]", "0"),
    "levels": (slopes_easy, "[1]", "0"),
    "erf_pair": (erf_easy, "", "e"),
    "erf_erf": (erf_easy, "[0]", "e"),
    "bell_bell": (cdf_easy, "[1]", "e"),
    "cdf_pair": (cdf_easy, "", "e"),
    "cdf_cdf": (cdf_easy, "[0]", "e"),
    "gelu_pair": (gelu_easy, "", "e"),
    "gelu_gelu": (gelu_easy, "[0]", "e"),
    "gelu_slope": (gelu_easy, "[1]", "e"),
    "gaussian_pair": (gaussian_easy, "", "a"),
    "gaussian_gaussian": (gaussian_easy, "[0]", "a"),
    "gaussian_slope": (gaussian_easy, "[1]", "a"),
}
"""For a function of this package: the easy form, which of its values is meant, and what its first two parameters say of e."""

HEAD = ("s1", "w1", "c", "s2", "w2")
Call = tuple[str, tuple[str, ...]]
ZERO = sp.S.Zero


def easy_form(
    calls: Sequence[Call], params: Mapping[str, sp.Expr], cov: Sequence[sp.Expr], returned: str
) -> tuple[str, tuple[sp.Expr, ...], tuple[Source, ...]] | None:
    """Name, arguments and sources of a function that makes ``calls`` in their easy forms; None where one has none.

    ``returned`` is what is made of their values t0, t1, …; all calls must smooth alike.
    """
    lines, smoothings = [], set()
    for k, (name, texts) in enumerate(calls):
        if name not in EASY or texts[:3] != ("q1", "c", "q2"):
            return None
        function, pick, mark = EASY[name]
        smoothings.add((ZERO, ZERO) if mark == "0" else tuple(_smoothing(mark, text, params) for text in texts[3:5]))
        lines += [f"a{k} = {function.__name__}({', '.join((*HEAD, *texts[3:]))})", f"t{k} = a{k}{pick}"]
    if len(smoothings) != 1 or None in (alike := smoothings.pop()):
        return None
    (q1, c, q2), roots = cov, [(q + e) ** -sp.Rational(1, 2) for q, e in zip((cov[0], cov[2]), alike, strict=True)]
    flag = "a0[2]" if len(calls) == 1 else f"min({', '.join(f'a{k}[2]' for k in range(len(calls)))})"
    head, body = ", ".join((*HEAD, *params)), "".join(f"\n    {x}" for x in [*lines, f"return {returned}, {flag}"])
    name = f"easy_{digest(head, body)}"
    sources = merge(sources_of(*(EASY[f][0] for f, _ in calls)), ((name, f"def {name}({head}):{body}"),))
    return name, (sp.sqrt(q1), roots[0], c, sp.sqrt(q2), roots[1], *params.values()), sources


def _smoothing(mark: str, text: str, params: Mapping[str, sp.Expr]) -> sp.Expr | None:
    """e from the text of a parameter, which is e itself or a = 1/2e; None for compound text."""
    if text in params:
        value = params[text]
    else:
        try:
            value = sp.Float(float(text))
        except ValueError:
            return None
    return 1 / (2 * value) if mark == "a" and value != 0 else value
