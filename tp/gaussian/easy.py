"""V and V̇ for pairs that are not degenerate: one square root, one polynomial, no branch.

These are the forms for inner loops. What depends on one variance alone comes as an argument, so that it is computed once per
sample: s = √q and w = 1/√(q + e), or 0 at q + e = 0. Angles are in turns, so that no factor 2π remains. The last number returned
is a margin: where it is positive the form has full precision, and elsewhere (NaN included) the pair must go to the function of
``primitives`` with the same name, near ρ = ±1 for one. It is a number, not a truth value, so that a loop over lanes tests it
without leaving the vector unit. Functions called ``…_near`` take less time and hold near an angle only, of which they are told
``sine``, ``cosine`` and ``turns`` (``arcs.follow``). Functions called ``…_single`` take the place of their namesakes in single
precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from tp.gaussian.arcs import arcsine, arcsine_near, follow
from tp.gaussian.codegen import Source, digest, merge, sources_of


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


def relu_near(
    s1: float, w1: float, c: float, s2: float, w2: float, sine: float, cosine: float, turns: float
) -> tuple[float, float, float]:
    """``relu_easy`` near an angle."""
    w = w1 * w2
    x = c * w
    y = math.sqrt(1.0 - x * x)
    psi, margin = arcsine_near(x, y, sine, cosine, 0.25 + turns)
    return 0.15915494309189535 * s1 * s2 * y + c * psi, psi, min(margin, w)


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


def slopes_near(
    s1: float, w1: float, c: float, s2: float, w2: float, sine: float, cosine: float, turns: float,
    a1: float, b1: float, a2: float, b2: float
) -> tuple[float, float, float]:  # fmt: skip
    """``slopes_easy`` near an angle."""
    w = w1 * w2
    x = c * w
    y = math.sqrt(1.0 - x * x)
    arc, margin = arcsine_near(x, y, sine, cosine, turns)
    odd, even = 0.25 * (a1 + b1) * (a2 + b2), (b1 - a1) * (b2 - a2)
    v = odd * c + even * (0.15915494309189535 * s1 * s2 * y + c * arc)
    return v, odd + even * arc, min(margin, w)


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

NEAR: dict[Callable[..., tuple[float, float, float]], Callable[..., tuple[float, float, float]]] = {
    relu_easy: relu_near,
    slopes_easy: slopes_near,
}
"""For an easy form: its form near an angle, where that pays: of forms that divide (erf, gelu) the arc is a small part."""

HEAD = ("s1", "w1", "c", "s2", "w2")
ANGLE = ("sine", "cosine", "turns")
Call = tuple[str, tuple[str, ...]]
ZERO = sp.S.Zero


@dataclass(frozen=True, slots=True)
class Easy:
    """A function in easy form, its arguments and sources; the same near an angle, told after the first five of them, or ""."""

    name: str
    args: tuple[sp.Expr, ...]
    sources: tuple[Source, ...]
    near: str = ""
    near_sources: tuple[Source, ...] = ()


def easy_form(calls: Sequence[Call], params: Mapping[str, sp.Expr], cov: Sequence[sp.Expr], returned: str) -> Easy | None:
    """A function that makes ``calls`` in their easy forms; None where one has none.

    ``returned`` is what is made of their values t0, t1, …; all calls must smooth alike.
    """
    smoothings = set()
    for name, texts in calls:
        if name not in EASY or texts[:3] != ("q1", "c", "q2"):
            return None
        mark = EASY[name][2]
        smoothings.add((ZERO, ZERO) if mark == "0" else tuple(_smoothing(mark, text, params) for text in texts[3:5]))
    if len(smoothings) != 1 or None in (alike := smoothings.pop()):
        return None
    (q1, c, q2), roots = cov, [(q + e) ** -sp.Rational(1, 2) for q, e in zip((cov[0], cov[2]), alike, strict=True)]
    args = (sp.sqrt(q1), roots[0], c, sp.sqrt(q2), roots[1], *params.values())
    forms = [EASY[name][0] for name, _ in calls]
    name, sources = _written("easy", forms, calls, HEAD, params, returned)
    if any(form not in NEAR for form in forms):
        return Easy(name, args, sources)
    near, near_sources = _written("near", [NEAR[form] for form in forms], calls, (*HEAD, *ANGLE), params, returned)
    return Easy(name, args, sources, near, merge(near_sources, sources_of(follow)))


def _written(
    kind: str,
    forms: Sequence[Callable[..., object]],
    calls: Sequence[Call],
    first: tuple[str, ...],
    params: Mapping[str, sp.Expr],
    returned: str,
) -> tuple[str, tuple[Source, ...]]:
    """Name and sources of a function of ``first`` and ``params`` that makes the calls by ``forms``; last comes the margin."""
    if len(calls) == 1 and returned == "t0[0], t0[1]" and calls[0][1][3:] == tuple(params):
        return forms[0].__name__, sources_of(*forms)
    lines = []
    for k, ((name, texts), form) in enumerate(zip(calls, forms, strict=True)):
        lines += [f"a{k} = {form.__name__}({', '.join((*first, *texts[3:]))})", f"t{k} = a{k}{EASY[name][1]}"]
    flag = "a0[2]" if len(calls) == 1 else f"min({', '.join(f'a{k}[2]' for k in range(len(calls)))})"
    head, body = ", ".join((*first, *params)), "".join(f"\n    {x}" for x in [*lines, f"return {returned}, {flag}"])
    name = f"{kind}_{digest(head, body)}"
    return name, merge(sources_of(*forms), ((name, f"def {name}({head}):{body}"),))


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
