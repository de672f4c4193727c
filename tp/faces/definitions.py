"""A program read back as the definitions of a network: temporaries put where they are used.

``m1 = relu(h[l-1]); m2 = W[l] m1; h[l] = m2 + b[l]`` is again ``h[l] = W[l] relu(h[l-1]) + b[l]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from tp.errors import Span
from tp.faces.notation import instructions
from tp.program.ir import Domain, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple, Sum


class Times(sp.Expr):
    """A matrix times a vector; ``args = (W, x, transposed)``. The matrix is a weight, or :class:`Entries`."""

    is_commutative = True
    is_real = True

    def __new__(cls, W: sp.Expr, x: sp.Expr, transposed: object = False) -> Times:
        return sp.Expr.__new__(cls, W, x, sp.true if transposed else sp.false)


class Entries(sp.Expr):
    """The matrix of which ``args[0]`` is the entry: a function of outer products."""

    is_commutative = True
    is_real = True

    def __new__(cls, entry: sp.Expr) -> Entries:
        return sp.Expr.__new__(cls, entry)


class Inner(sp.Expr):
    """The sum over coordinates of a product of two vectors; ``args = (a, b)``."""

    is_commutative = True
    is_real = True

    def __new__(cls, a: sp.Expr, b: sp.Expr) -> Inner:
        return sp.Expr.__new__(cls, a, b)


class Coordinates(sp.Expr):
    """The sum over all coordinates of a vector; ``args = (expr, n)``."""

    is_commutative = True
    is_real = True

    def __new__(cls, expr: sp.Expr, n: sp.Expr) -> Coordinates:
        return sp.Expr.__new__(cls, expr, n)


@dataclass(frozen=True, slots=True)
class Definition:
    """``lhs = rhs`` for all indices in ``domain``."""

    lhs: Ref
    rhs: sp.Expr
    domain: Domain
    span: Span


def definitions(program: Program, keep: Iterable[str] = ()) -> list[Definition]:
    """The program's variables and what they are; temporary vectors are shown only when ``keep`` names them."""
    all_of = list(instructions(program.body))
    vectors = vector_names(program)
    weights = {w.ref.name for w in program.weights}
    moments = {ins.out.name for ins in all_of if isinstance(ins, Moment)}
    hidden = program.temps - set(keep) - moments
    bodies: dict[str, list[Definition]] = {}
    shown = []
    for ins in all_of:
        rhs = _inlined(_body(ins, vectors, weights), bodies)
        definition = Definition(ins.out, matrices(rhs), ins.domain, ins.span)
        if ins.out.name in hidden:
            bodies.setdefault(ins.out.name, []).append(definition)
        else:
            shown.append(definition)
    return shown


def vector_names(program: Program) -> set[str]:
    """Names of what has a width."""
    names = {w.ref.name for w in program.weights if w.rows is not None and w.cols is None}
    return names | {i.out.name for i in instructions(program.body) if not isinstance(i, Moment) and i.space is not None}


def _body(ins: Simple, vectors: set[str], weights: set[str]) -> sp.Expr:
    match ins:
        case MatMul():
            return Times(ins.W, ins.x, ins.transpose)
        case Nonlin():
            return ins.expr
        case OuterNonlin():
            return Times(Entries(ins.entry), ins.x, ins.transpose) / ins.over.size
        case Moment():
            factor = sp.cancel(ins.coeff / ins.space.size)
            scalar, vector = ins.expr.as_independent(*(r for r in ins.expr.atoms(Ref) if r.name in vectors), as_Add=False)
            pair = sp.Mul.make_args(vector)
            if len(pair) == 2:
                order = lambda e: (not isinstance(e, Ref), isinstance(e, Ref) and e.name not in weights, str(e))  # noqa: E731
                first, second = sorted(pair, key=order)
                return factor * scalar * Inner(first, second)
            if isinstance(vector, sp.Pow) and vector.exp == 2:
                return factor * scalar * Inner(vector.base, vector.base)
            return factor * Coordinates(ins.expr, ins.space.size)


def _inlined(expr: sp.Expr, bodies: dict[str, list[Definition]]) -> sp.Expr:
    """Every temporary replaced by what it is at the index it is read at."""
    swap = {}
    for ref in expr.atoms(Ref):
        for body in bodies.get(ref.name, ()):
            binding = _binding(body, ref)
            if binding is not None:
                swap[ref] = body.rhs.xreplace(binding)
                break
    return expr.xreplace(swap)


def _binding(body: Definition, ref: Ref) -> dict[sp.Basic, sp.Basic] | None:
    own = {r.index for r in body.domain}
    binding: dict[sp.Basic, sp.Basic] = {}
    for slot, value in zip(body.lhs.index, ref.index, strict=True):
        if slot in own:
            binding[slot] = value
        elif slot != value:
            return None
    return binding


def matrices(expr: sp.Expr) -> sp.Expr:
    """``Sum(U[j]*x[j], j)`` over a finite axis is the product of a matrix and a vector."""

    def is_product(e: sp.Basic) -> bool:
        if not isinstance(e, sp.Sum) or not isinstance(e.function, sp.Mul):
            return False
        j, refs = e.limits[0][0], e.function.args
        return (
            str(j).startswith("j_")
            and len(refs) == 2
            and all(isinstance(r, Ref) and r.index[-1:] == (j,) and j not in sp.Tuple(*r.index[:-1]).free_symbols for r in refs)
        )

    def product(e: sp.Sum) -> sp.Expr:
        first, second = sorted(e.function.args, key=lambda r: (not r.name[0].isupper(), -len(r.index), r.name))
        inner = Times(Ref(first.name, *first.index[:-1]), Ref(second.name, *second.index[:-1]))
        return Sum(inner, *e.limits[1:]) if len(e.limits) > 1 else inner

    return expr.replace(is_product, product)
