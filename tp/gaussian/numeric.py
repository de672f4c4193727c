"""Numbers for expectations: ``lower`` turns ``Expectation`` nodes into self-contained scalar Python functions.

What the kernel compiler needs to know is all here::

    V    = Expectation(relu(u) * relu(v), (u, v), [[q1, c], [c, q2]])
    Vdot = Expectation(step(u) * step(v), (u, v), [[q1, c], [c, q2]])
    low  = lower(V, Vdot)          # one variable or two; all expectations given share variables and covariance
    low.function                   # 'relu_pair': the name of the function to call
    low.args                       # (q1, c, q2): SymPy expressions to print and pass, in this order
    low.results                    # 2: the function returns a tuple of two floats (one result: a float, no tuple)
    low.sources                    # (('two_product', 'def two_product(…)…'), …, ('relu_pair', 'def relu_pair(…)…'))
    low.method, low.rule           # 'closed' | 'mehler' | 'quadrature', and in words with the source
    low.bound                      # error, relative to sqrt(E[φ(u)²] E[ψ(v)²]); never None

``sources`` are function definitions in dependency order. They use nothing but ``math``, ``numpy as np`` (only functions
that fill an array) and each other; equal names have equal text, so the sources of many ``Lowered`` are merged by
name. Put ``@njit(error_model="numpy", forceinline=True)`` before each (never ``fastmath``: it destroys the two-product),
or nothing at all: the same text runs in plain Python. The closed forms of relu, erf, gelu and their kin are free of branches:
in a loop over a contiguous row, ``for j in range(n): v, vdot = relu_pair(q1, c[j], q2[j])`` with the layers outside, they
become vector instructions (5 ns a pair and layer; ten times slower with the layer loop inside). Arguments and arithmetic
are float64; a float32 kernel stores float32 and calls with float64. No function raises; an input outside the domain gives nan.

``args`` holds the covariance first (``q`` for one variable, ``q1, c, q2`` for two), then means, shifts, slopes and
coefficients, whatever the integrand contains: symbols of the caller or numbers. A scaled argument is already absorbed.

The same site (u and v one variable) must not go through the two-variable function: ask ``lower(same_site(V), same_site(Vdot))``,
which has the single covariance argument ``q`` and is exact there.

**Without closed form** (tanh, a user's function) ``low.function`` always works pair by pair (adaptive quadrature,
1–100 µs a pair). When ``low.sites`` is not empty there is the fast way, with coefficients computed once per sample and layer::

    site = low.sites[0]            # for variable 0; low.sites[1] for variable 1 (same function when φ = ψ)
    site.function                  # 'site_tanh_1f2e': site_tanh_1f2e(q, *params, out) fills the float64 vector out
    site.args                      # (q1, *params): what to pass before out
    site.count                     # 'count_tanh_1f2e': count_tanh_1f2e(q, *params, eps) -> length of out for an error ≤ eps
    low.with_sites                 # name of the pair function: (a, b, q1, c, q2) -> results, where a, b are the filled vectors
    low.pair_args                  # (q1, c, q2) to pass after a and b

``K`` grows with the variance: call ``count`` with the largest one and use that K for all. ``site`` returns the tail
``t`` which the choice leaves (so that sqrt(t_a t_b) bounds the error of the pair, theory: Mehler), to be reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from tp.gaussian.expectation import Expectation


@dataclass(frozen=True, slots=True)
class Site:
    """Coefficients of one factor at one site: ``function(*args, out)``; ``count(*args, eps)`` is the length of ``out``."""

    function: str
    count: str
    args: tuple[sp.Expr, ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """How to get the numbers of ``results`` expectations: see the module's text."""

    function: str
    args: tuple[sp.Expr, ...]
    results: int
    sources: tuple[tuple[str, str], ...]
    method: str
    rule: str
    bound: float
    sites: tuple[Site, ...] = ()
    with_sites: str = ""
    pair_args: tuple[sp.Expr, ...] = ()


def same_site(e: Expectation) -> Expectation:
    """``e`` with its second variable put equal to the first: E[φ(u) ψ(u)], u ~ N(0, q1)."""
    u, v = e.variables
    return Expectation(e.integrand.subs(v, u), (u,), [[e.cov[0, 0]]])


def lower(*expectations: Expectation, eps: float = 1e-12) -> Lowered:
    """One scalar function for the expectations, which share variables and covariance (one variable or two)."""
    raise NotImplementedError
