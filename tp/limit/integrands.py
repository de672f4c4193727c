"""Rewriting what stands inside an expectation."""

from __future__ import annotations

import sympy as sp

from tp.limit.equations import Entry, Value, Z
from tp.program.ir import Softmax, spelled
from tp.program.replace import replaced


def even_shares(expr: sp.Expr) -> sp.Expr:
    """A softmax of equal logits (limits that are the same number) gives every index the same share."""
    shares = {w: 1 / (w.args[4] - w.args[3] + 1) for w in expr.atoms(Softmax) if w.args[0] == w.args[1] and w.args[0].is_number}
    return expr.xreplace(shares) if shares else expr


def two_bare(group: sp.Expr) -> tuple[Z, Z] | None:
    """The two factors when ``group`` is Z·Z' or Z²."""
    if isinstance(group, sp.Pow) and isinstance(group.base, Z) and group.exp == 2:
        return group.base, group.base
    if isinstance(group, sp.Mul) and len(group.args) == 2 and all(isinstance(a, Z) for a in group.args):
        one, two = sorted(group.args, key=lambda z: (spelled(z.s), spelled(z.a)))
        return one, two
    return None


def rescaled(group: sp.Expr, atoms: list[Z]) -> tuple[sp.Expr, dict[Z, sp.Expr]]:
    """φ(c·z) with a sample-dependent c becomes φ(z') with z' = c·z: c moves into the covariance."""
    scale = dict.fromkeys(atoms, sp.S.One)
    for z in atoms:
        c = unit(group, z)
        if c is not None and c.has(Value, Entry) and not c.has(Z):
            scale[z] = c
            group = in_units(group, z, c)
    return group, scale


def unit(group: sp.Expr, z: sp.Expr) -> sp.Expr | None:
    """The one c with which ``z`` stands in the arguments of all functions, φ(±c·z + …); None where there are none or several."""
    found = {slope(arg, z) for f in group.atoms(sp.Function) for arg in f.args if arg.has(z)}
    slopes = [c for c in found if c is not None]
    if len(slopes) < len(found):
        return None
    if len(slopes) == 2 and slopes[0] == -slopes[1]:
        slopes = [c for c in slopes if not c.could_extract_minus_sign()]
    return slopes[0] if len(slopes) == 1 else None


def in_units(group: sp.Expr, z: sp.Expr, c: sp.Expr) -> sp.Expr:
    """``group`` as a function of c·z, which is written z: c·(z/c) in a nonlinearity's argument is z."""
    group = replaced(group, {z: z / c})
    swap = {f: f.func(*(sp.expand(a) for a in f.args)) for f in group.atoms(sp.Function) if f.has(z)}
    return replaced(group, swap)


def slope(arg: sp.Expr, z: sp.Expr) -> sp.Expr | None:
    """The c of an affine function c·z + …; None of any other."""
    if arg == z:
        return sp.S.One
    if not arg.has(z):
        return sp.S.Zero
    if isinstance(arg, sp.Add):
        slopes = [slope(a, z) for a in arg.args]
        return None if None in slopes else sp.Add(*slopes)
    if isinstance(arg, sp.Mul):
        varying = [a for a in arg.args if a.has(z)]
        inner = slope(varying[0], z) if len(varying) == 1 else None
        return None if inner is None else inner * sp.Mul(*(a for a in arg.args if a is not varying[0]))
    return None
