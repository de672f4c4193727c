"""A program member by member: which instruction makes ``h[3]``, with every index and finite sum written out.

The calculus asks for one member after the other; what is not asked for is not expanded. A sum over the coordinates of
an input, ``Σ_j U[j] x[j]``, stays a sum when nothing else reads the vectors U[j]: it is one Gaussian vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, Span, with_values
from tp.limit.clauses import Clause, Families, at, flatten
from tp.limit.zcalculus.atoms import Update
from tp.program.ir import Domain, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax, Sum, Weight
from tp.readings.indexing import resolve

LARGEST = 4000
"""Members of a program at most."""
LONGEST = 256
"""Terms of a sum that is written out, at most."""


@dataclass
class Members:
    """Look-up of members: ``constants`` are numbers for symbolic constants, ``data`` for coordinates of the input."""

    program: Program
    constants: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[Ref, sp.Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.families = Families(self.program)
        names = {c for c in self.program.constants if c.name in self.constants}
        self.numbers: dict[sp.Symbol, sp.Expr] = {c: _exact(self.constants[c.name]) for c in names}
        self.sampled = frozenset() if self.data else _sampled(self.families)
        self.private = frozenset() if self.data else _private(self.families)

    # ------------------------------------------------------------ all members

    def __iter__(self) -> Iterator[Ref]:
        """The vectors and scalars that instructions make, in program order."""
        count = 0
        for clause in flatten(self.program.body):
            for binding in self.points(clause.domain, clause.ins.span):
                count += 1
                if count > LARGEST:
                    reason = f"the program has more than {LARGEST} members"
                    raise LimitError(Message(clause.ins.span, reason, "use smaller ranges", "too large"))
                yield at(clause.out, binding)

    def few(self, most: int) -> bool:
        """Whether all ranges are numbers and there are at most ``most`` members."""
        try:
            return sum(1 for _ in islice(self, most + 1)) <= most
        except LimitError:
            return False

    def points(self, domain: Domain, span: Span) -> Iterator[dict[sp.Symbol, sp.Expr]]:
        """Every binding of the indices of ``domain``; its ranges have to be numbers."""
        if not domain:
            yield {}
            return
        head, rest = domain[0], domain[1:]
        for r in domain:
            if not (r.lo.free_symbols | r.hi.free_symbols) & {x.index for x in domain}:
                head, rest = r, tuple(x for x in domain if x is not r)
                break
        for value in range(self.integer(head.lo, head, span), self.integer(head.hi, head, span) + 1):
            here = {head.index: sp.Integer(value)}
            inner = tuple(Range(r.index, at(r.lo, here), at(r.hi, here)) for r in rest)
            for binding in self.points(inner, span):
                yield {**here, **binding}

    def integer(self, e: sp.Expr, r: Range, span: Span) -> int:
        """An end of a range, a number once the constants have theirs."""
        value = e.subs(self.numbers)
        if not value.is_Integer:
            names = ", ".join(sorted(f"`{s}`" for s in value.free_symbols))
            reason = f"the range `{r}` is symbolic: {names} needs a number, for the Z-calculus writes every member out"
            remedy = f"give it one, as in `tp.parse(text, {', '.join(sorted(f'{s}=3' for s in value.free_symbols))})`"
            command = with_values("give", sorted(s.name for s in value.free_symbols))[1]
            raise LimitError(Message(span, reason, remedy, "symbolic range", command))
        return int(value)

    # ------------------------------------------------------------ one member

    def find(self, ref: Ref) -> Ref | None:
        """The member a read means, by the boundary of its slots; None where it reads as 0."""
        ref = Ref(ref.args[0], *(e.subs(self.numbers) for e in ref.index))
        slots = self.program.boundary.get(ref.name, ())
        if not any(mode for mode, _, _ in slots):
            return ref
        span = self.families.span(ref.name)
        edges = []
        own = self._own(ref) if any(mode == "zero" for mode, _, _ in slots) else {}
        for mode, lo, hi in slots:
            lo, hi = lo.subs(own), hi.subs(own)
            if mode == "zero" and (lo.free_symbols | hi.free_symbols) - set(self.program.constants):
                return ref if self.clause(ref) is not None else None  # written part by part: beyond them all it is 0
            whole = Range(sp.Symbol(ref.name), lo, hi)
            edges.append((mode, self.integer(lo, whole, span), self.integer(hi, whole, span)) if mode else (None, 0, -1))
        edges += [(None, 0, -1)] * (len(ref.index) - len(edges))  # the axis of an input
        key = resolve((ref.name, *map(int, ref.index)), _within(ref, edges), tuple(edges))
        return None if key is None else Ref(key[0], *key[1:])

    def _own(self, ref: Ref) -> dict[sp.Symbol, sp.Expr]:
        """The indices of a family, at which others of them may end, s in 1..t."""
        clauses = self.families.clauses.get(ref.name, ())
        return {e: at for c in clauses[:1] for e, at in zip(c.ins.out.index, ref.index, strict=True) if e.is_Symbol}

    def clause(self, ref: Ref) -> tuple[Clause, dict[sp.Symbol, sp.Expr]] | None:
        """The clause that defines a member; None for weights and data."""
        for clause, binding in self.families.covering(ref):
            values = {**self.numbers, **binding}
            if all((at(r.lo, values) <= binding[r.index]) == True and (binding[r.index] <= at(r.hi, values)) == True  # noqa: E712
                   for r in clause.domain if r.index in binding):  # fmt: skip
                return clause, binding
        return None

    def instruction(self, ref: Ref) -> MatMul | Nonlin | Moment | None:
        """The instruction that makes a member, with numbers for its indices and its finite sums written out."""
        found = self.clause(ref)
        if found is None:
            return None
        clause, binding = found
        binding = {**self.numbers, **binding}
        ins = clause.ins
        if isinstance(ins, MatMul):
            return replace(ins, out=ref, W=at(ins.W, binding), x=at(ins.x, binding), domain=())
        inside_out = isinstance(ins.expr, Update)
        expr = self.written(self._bound(ins.expr, binding, ins.span) if inside_out else at(ins.expr, binding), ins.span)
        if isinstance(ins, Moment):
            return replace(ins, out=ref, expr=expr, coeff=self.written(at(ins.coeff, binding), ins.span), domain=())
        return replace(ins, out=ref, expr=expr, domain=())

    def written(self, expr: sp.Expr, span: Span) -> sp.Expr:
        """``expr`` with constants as numbers, finite sums and softmaxes written out, tables looked up."""
        expr = expr.subs(self.numbers) if self.numbers else expr
        if self.data:
            expr = expr.xreplace({x: decimal(float(x)) for x in expr.atoms(sp.Float)})
        return self._written(expr, span)

    def _written(self, expr: sp.Expr, span: Span) -> sp.Expr:
        if isinstance(expr, sp.Sum) and self.drive(expr) is None:
            body, limits = _coordinates(expr, self.families, self.private)
            return self._written(self._summed(body, limits, span), span)
        if isinstance(expr, Softmax):
            here, body, bound, lo, hi = expr.args
            total = sp.Add(*(sp.exp(at(body, {bound: v}) - here) for v in self._values(bound, lo, hi, span)))
            return self._written(1 / total, span)
        if isinstance(expr, Ref):
            return self._table(expr) if expr.name in self.program.tables else self.data.get(expr, expr)
        if not expr.args or isinstance(expr, sp.Sum) or not expr.has(sp.Sum, Softmax, Ref):
            return expr
        return expr.func(*(self._written(a, span) for a in expr.args))

    def _summed(self, body: sp.Expr, limits: list[Any], span: Span) -> sp.Expr:
        """All terms of a sum; the outermost limit is the last, and others may end at its index."""
        if not limits:
            return body
        *inner, (s, lo, hi) = limits
        terms = []
        for v in self._values(s, lo, hi, span):
            here = {s: v}
            within = [(i, at(first, here), at(last, here)) for i, first, last in inner]
            terms.append(self._summed(at(body, here), within, span))
        return sp.Add(*terms)

    def _bound(self, expr: sp.Basic, binding: dict[sp.Symbol, sp.Expr], span: Span) -> sp.Basic:
        """``expr`` at a point, its sums first: a maximum is not to see sums that look like numbers."""
        if isinstance(expr, sp.Sum):
            *inner, (s, lo, hi) = expr.limits
            body = Sum(expr.function, *inner) if inner else expr.function
            values = self._values(s, at(lo, binding), at(hi, binding), span)
            return sp.Add(*(self._bound(body, {**binding, s: v}, span) for v in values))
        if isinstance(expr, Ref) or not expr.args:
            return at(expr, binding)
        return expr.func(*(self._bound(a, binding, span) for a in expr.args))

    def _values(self, s: sp.Symbol, lo: sp.Expr, hi: sp.Expr, span: Span) -> list[sp.Expr]:
        r = Range(s, lo, hi)
        first, last = self.integer(lo, r, span), self.integer(hi, r, span)
        if last - first >= LONGEST:
            reason = f"a sum over `{r}` has {last - first + 1} terms that are read one by one"
            raise LimitError(Message(span, reason, f"use at most {LONGEST}", "too large"))
        return [sp.Integer(v) for v in range(first, last + 1)]

    def _table(self, ref: Ref) -> sp.Expr:
        domain, values = self.program.tables[ref.name]
        for r, e in zip(domain, ref.index, strict=True):
            values = values[int(e) - int(r.lo)]
        return decimal(float(values)) if isinstance(values, (int, float, sp.Float)) else values

    def drive(self, total: sp.Sum) -> tuple[sp.Expr, Ref] | None:
        """(coefficient, U[…, j]) of ``Σ_j coefficient · U[…, j]`` over all of a weight family that nothing else reads."""
        return _drive(total, self.families, self.private)

    def weight(self, ref: Ref, matrix: bool = False) -> tuple[Weight, dict[sp.Symbol, sp.Expr]]:
        """The declaration of a weight and its binding."""
        weight = self.families.weight(ref, matrix)
        return weight, {**self.numbers, **self.families.binding(weight, ref)}


def _within(ref: Ref, edges: list[Any]) -> dict[tuple[Any, ...], bool]:
    """The member itself, as known, when its index is within the edges; else those a boundary may mean."""
    spans = [[int(e)] if mode is None else range(lo, hi + 1) for (mode, lo, hi), e in zip(edges, ref.index, strict=True)]
    return {(ref.name, *index): True for index in product(*spans)}


def decimal(value: float) -> sp.Rational:
    """The decimal number that was written, exactly."""
    return sp.Rational(repr(value))


def _exact(value: Any) -> sp.Expr:
    return sp.Rational(value) if not isinstance(value, float) or value.is_integer() else sp.Float(value)


def _sampled(families: Families) -> frozenset[str]:
    """Names that depend on data: one value per sample."""
    found = set(families.data)
    while True:
        before = len(found)
        for name, clauses in families.clauses.items():
            if name not in found and any(r in found for c in clauses for r in _reads(c)):
                found.add(name)
        if len(found) == before:
            return frozenset(found)


def _reads(clause: Clause) -> set[str]:
    ins = clause.ins
    if isinstance(ins, MatMul):
        return {ins.x.name}
    names = {r.name for r in ins.expr.atoms(Ref)}
    return names | {r.name for r in ins.coeff.atoms(Ref)} if isinstance(ins, Moment) else names


def _private(families: Families) -> frozenset[str]:
    """Vector weight families read only as sums over their last index, with data as coefficients."""
    names = frozenset(
        name for name in families.weights if families.weights[name][0].cols is None and families.weights[name][0].rows is not None
    )
    for clauses in families.clauses.values():
        for clause in clauses:
            names -= {clause.ins.x.name} if isinstance(clause.ins, MatMul) else set(_bare(clause.expr, families, names))
    return names


def _bare(expr: sp.Basic, families: Families, names: frozenset[str]) -> Iterator[str]:
    """Names that are read otherwise than in such a sum."""
    if isinstance(expr, Ref):
        yield expr.name
    elif isinstance(expr, sp.Sum):
        body, limits = _coordinates(expr, families, names)
        if len(limits) == len(expr.limits):
            yield from _bare(body, families, names)
    else:
        for a in expr.args:
            yield from _bare(a, families, names)


def _coordinates(total: sp.Sum, families: Families, names: frozenset[str]) -> tuple[sp.Expr, list[Any]]:
    """A sum over several indices with that over a weight's last index inside, where that is one over data; and the others."""
    limits = list(total.limits)
    for limit in limits:
        inner, others = Sum(total.function, limit), [x for x in limits if x != limit]
        apart = not (limit[1].free_symbols | limit[2].free_symbols) & {x[0] for x in others}
        if apart and _drive(inner, families, names) is not None:
            return inner, others
    return total.function, limits


def _drive(total: sp.Sum, families: Families, names: frozenset[str]) -> tuple[sp.Expr, Ref] | None:
    """See :meth:`Members.drive`; ``names`` are those of the weights that may be taken so."""
    if len(total.limits) != 1:
        return None
    j = total.limits[0][0]
    vectors = families.vectors(total.function)
    if len(vectors) != 1 or vectors[0].name not in names or not vectors[0].index or vectors[0].index[-1] != j:
        return None
    (u,) = vectors
    coef = sp.expand(sp.diff(total.function.xreplace({u: (t := sp.Dummy())}), t))
    if coef.has(t) or any(r.name not in families.data for r in coef.atoms(Ref)):
        return None
    return coef, u
