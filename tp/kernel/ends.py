"""Ends of ranges that depend on an offset."""

from __future__ import annotations

from functools import cache

import sympy as sp

from tp.program.affine import affine
from tp.program.ir import Range

SMALL = 8
"""Terms of a sum that are written out."""


def small(r: Range) -> bool:
    """Whether a sum's terms are few and written out."""
    return bool(r.lo.is_Integer and r.hi.is_Integer) and int(r.hi - r.lo) < SMALL


def clipped(r: Range, offset: sp.Expr) -> Range:
    """Both p and p + offset within the range."""
    return Range(r.index, latest(r.lo, r.lo - offset), earliest(r.hi, r.hi - offset))


@cache
def latest(*ends: sp.Expr) -> sp.Expr:
    """The largest of some beginnings, left as it stands: SymPy's comparisons are slow."""
    return sp.Max(*ends, evaluate=False)


@cache
def earliest(*ends: sp.Expr) -> sp.Expr:
    """The least of some ends."""
    return sp.Min(*ends, evaluate=False)


def guarded(r: Range, sign: int, value: sp.Expr, gone: Range) -> Range:
    """``r`` where lo ≤ value ≤ hi, value = sign · index + rest."""
    rest = sp.expand(value - sign * r.index)
    ends = sorted((sp.expand(sign * (e - rest)) for e in (gone.lo, gone.hi)), key=lambda e: affine(e).const)  # type: ignore[union-attr]
    return Range(r.index, latest(r.lo, ends[0]), earliest(r.hi, ends[1]))
