"""Runs what ``numeric.lower`` writes: as plain Python, and compiled as a generated module would be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered

u, v = sp.symbols("u v", real=True)
q1, c, q2 = sp.symbols("q1 c q2", real=True)
COV = [[q1, c], [c, q2]]


def plain(sources: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The functions, interpreted; ``math`` and ``np`` are all they see."""
    names: dict[str, Any] = {"math": math, "np": np}
    for _, text in sources:
        exec(text, names)
    return names


def compiled(sources: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The functions under numba."""
    from numba import njit

    names: dict[str, Any] = {"math": math, "np": np}
    for name, text in sources:
        exec(text, names)
        loop = "for " in text or "while " in text
        names[name] = njit(error_model="numpy", forceinline=not loop)(names[name])
    return names


def call(low: Lowered, names: dict[str, Any], *covariance: float) -> tuple[float, ...]:
    """The values at a covariance, in a tuple; parameters must be numbers."""
    value = names[low.function](*covariance, *(float(a) for a in low.args[len(covariance) :]))
    return value if low.results > 1 else (value,)


def couple(f: Any) -> tuple[Expectation, Expectation]:
    """E[φ(u)φ(v)] and E[φ'(u)φ'(v)]."""
    return Expectation(f(u) * f(v), (u, v), COV), Expectation(sp.diff(f(u), u) * sp.diff(f(v), v), (u, v), COV)


def same_site(e: Expectation) -> Expectation:
    """E[φ(u) ψ(u)], u ~ N(0, q1), of E[φ(u) ψ(v)]."""
    one, other = e.variables
    return Expectation(e.integrand.xreplace({other: one}), (one,), [[e.cov[0, 0]]])
