"""Equations made ready to compile: constants as numbers, bound indices unique, what one sample decides set apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, DataError, Message, NoFormula, Span, with_values
from tp.gaussian.expectation import Expectation
from tp.kernel.cells import Largest, Over, Total, hull, parts
from tp.limit.equations import Entry, I, J, Limit, Value, Z
from tp.program.ir import Domain, Range, Ref, Softmax

Edge = tuple[str | None, int, int]


@dataclass(frozen=True, slots=True)
class Clause:
    """One equation, ``kind[a, b](i, j) = rhs``, or ``kind[a](i) = rhs`` when ``b`` is None, for all of ``domain``."""

    kind: str
    a: Ref
    b: Ref | None
    domain: Domain
    rhs: sp.Expr
    span: Span = field(default=NOWHERE, compare=False)


@dataclass
class System:
    """A limit's equations by family, with the extent and the boundary of every index slot."""

    limit: Limit
    clauses: dict[tuple[str, ...], list[Clause]] = field(default_factory=dict)
    edges: dict[str, tuple[Edge, ...]] = field(default_factory=dict)

    def add(self, clause: Clause) -> None:
        key = (clause.kind, clause.a.name) if clause.b is None else (clause.kind, clause.a.name, clause.b.name)
        self.clauses.setdefault(key, []).append(clause)

    def edge(self, name: str, slot: int) -> tuple[str | None, int | None, int | None]:
        """What lies beyond a family's slot, and its range where that is declared."""
        slots = self.edges.get(name, ())
        return slots[slot] if slot < len(slots) else (None, None, None)


@dataclass
class Bounds:
    """Names for bound indices, each used once; and what softmaxes over the same logits share."""

    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    shares: dict[tuple[sp.Expr, ...], tuple[sp.Expr, sp.Expr]] = field(default_factory=dict)


def prepare(limit: Limit, constants: Mapping[str, Any]) -> System:
    """The system of equations that is compiled."""
    values = numbers(limit, constants)
    system = System(limit)
    for name, slots in limit.program.boundary.items():
        system.edges[name] = tuple(
            (None if mode == "valid" else mode, _int(lo, values), _int(hi, values)) for mode, lo, hi in slots
        )
    hoisting = _Sites(system)
    fresh = Bounds()
    for e in limit.equations:
        domain = tuple(_range(r, values) for r in e.domain)
        lhs, rhs = e.lhs.xreplace(values), plain(e.rhs.xreplace(values), fresh)
        _check_free(rhs, domain)
        b = lhs.b if isinstance(lhs, Entry) else None
        clause = Clause(lhs.kind_name, lhs.a, b, domain, rhs, e.span)
        if b is not None:
            clause = replace(clause, rhs=hoisting.hoist(rhs, domain))
        if not _empty(clause.domain):
            system.add(clause)
    return system


def numbers(limit: Limit, constants: Mapping[str, Any]) -> dict[sp.Symbol, sp.Expr]:
    """Values for the symbolic constants; all must be given."""
    program = limit.program
    wanted = {s.name: s for s in program.constants}
    families = {name for name, (_, rows) in program.tables.items() if rows is None}
    for name in constants:
        if name not in wanted and name not in families:
            listed = f"it has {', '.join(map(str, wanted))}" if wanted else "all of them have values: give another when loading"
            reason = f"`{name}` is no constant that this network leaves open"
            raise DataError(Message(NOWHERE, reason, listed, "unknown constant"))
    missing = [name for name in wanted if name not in constants]
    if missing:
        names = ", ".join(f"`{n}`" for n in missing)
        remedy, command = with_values("give", missing, after=" when loading")
        raise DataError(Message(NOWHERE, f"numbers need a value for {names}", remedy, "symbolic constant", command))
    return {symbol: exact(constants[name]) for name, symbol in wanted.items()}


def exact(value: Any) -> sp.Expr:
    """A Python number as a SymPy number."""
    if isinstance(value, (Fraction, int)):
        return sp.Rational(Fraction(value).numerator, Fraction(value).denominator)
    if isinstance(value, sp.Expr):
        return value
    number = float(value)
    return sp.Integer(int(number)) if number.is_integer() else sp.Float(number)


def _int(e: sp.Expr, numbers: Mapping[sp.Symbol, sp.Expr]) -> int:
    return int(sp.sympify(e).xreplace(numbers))


def _range(r: Range, numbers: Mapping[sp.Symbol, sp.Expr]) -> Range:
    return Range(r.index, sp.expand(r.lo.xreplace(numbers)), sp.expand(r.hi.xreplace(numbers)))


def _empty(domain: Domain) -> bool:
    return any(hull(r, domain[:k])[0] > hull(r, domain[:k])[1] for k, r in enumerate(domain))


def _check_free(rhs: sp.Expr, domain: Domain) -> None:
    """An index is left where the nonlinear function of a sum over it has an expectation: an integral over all of its members."""
    unknown = rhs.free_symbols - {I, J} - {r.index for r in domain}
    if unknown:
        names = ", ".join(f"`{s}`" for s in sorted(unknown, key=str))
        reason = f"an expectation of a nonlinear function of a sum over an index ({names}) has no numerical rule"
        raise NoFormula(Message(NOWHERE, reason, "net.simulate(X, width) has it at finite width", "no numerical rule"))


def plain(expr: sp.Expr, fresh: Bounds) -> sp.Expr:
    """``expr`` with sums as nested :class:`Total` nodes, softmax written out, and a name of its own for every bound index."""
    if not expr.args or isinstance(expr, (Ref, Entry, Value, Z)):
        return expr
    if isinstance(expr, sp.Sum):
        body = expr.function
        for index, lo, hi in expr.limits:
            body = _total(body.xreplace({index: (new := _bound(fresh))}), new, lo, hi)
        return _inside(body, fresh)
    if isinstance(expr, Softmax):
        at, body, bound, lo, hi = expr.args
        top, norm = _shares(body.xreplace({bound: _BOUND}), lo, hi, fresh)
        return sp.exp(plain(at, fresh) - top) / norm
    return expr.func(*(plain(a, fresh) if isinstance(a, sp.Basic) else a for a in expr.args))


_BOUND = sp.Symbol("_bound", integer=True)


def _shares(body: sp.Expr, lo: sp.Expr, hi: sp.Expr, fresh: Bounds) -> tuple[sp.Expr, sp.Expr]:
    """A softmax's largest logit and its normalisation: one pair of expressions for all softmaxes over the same logits."""
    key = (body, lo, hi)
    if key not in fresh.shares:
        one, two = _bound(fresh), _bound(fresh)
        top = Largest(plain(body.xreplace({_BOUND: one}), fresh), one, lo, hi)
        fresh.shares[key] = top, Total(sp.exp(plain(body.xreplace({_BOUND: two}), fresh) - top), two, lo, hi)
    return fresh.shares[key]


def _inside(expr: sp.Expr, fresh: Bounds) -> sp.Expr:
    """:func:`plain` below totals that already have their names."""
    if isinstance(expr, Total):
        return Total(_inside(expr.body, fresh), *expr.args[1:])
    if isinstance(expr, sp.Mul) and any(isinstance(a, Total) for a in expr.args):
        return expr.func(*(_inside(a, fresh) for a in expr.args))
    return plain(expr, fresh)


def _bound(fresh: Bounds) -> sp.Symbol:
    return sp.Symbol(f"_b{next(fresh.numbers)}", integer=True)


def _total(body: sp.Expr, index: sp.Symbol, lo: sp.Expr, hi: sp.Expr) -> sp.Expr:
    """Σ_index body, with the factors that do not vary before it."""
    factors = sp.Mul.make_args(body)
    inner = [f for f in factors if index in f.free_symbols]
    outer = [f for f in factors if index not in f.free_symbols]
    return sp.Mul(*outer, Total(sp.Mul(*inner), index, lo, hi))


class _Sites:
    """What a pair's equation takes from one sample alone is computed once per sample, as a ``theta`` of its own."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.known: dict[sp.Expr, str] = {}

    def hoist(self, expr: sp.Expr, ranges: Domain) -> sp.Expr:
        samples = expr.free_symbols & {I, J}
        if not samples or isinstance(expr, (Entry, Value, Z)):
            return expr
        if len(samples) == 1 and not _random(expr):
            return self._named(expr, samples.pop(), ranges) if _heavy(expr) else expr
        if isinstance(expr, Over):
            return expr.func(self.hoist(expr.body, (*ranges, expr.range)), *expr.args[1:])
        if isinstance(expr, Expectation):
            cov = expr.cov.applyfunc(lambda e: self.hoist(e, ranges))
            return Expectation(self._integrand(expr.integrand, ranges), expr.variables, cov)
        if isinstance(expr, (sp.Add, sp.Mul)):
            expr = _gathered(expr)
        return expr.func(*(self.hoist(a, ranges) if isinstance(a, sp.Expr) else a for a in expr.args))

    def _integrand(self, expr: sp.Expr, ranges: Domain) -> sp.Expr:
        if not _random(expr):
            return self.hoist(expr, ranges)
        if isinstance(expr, Z):
            return expr
        return expr.func(*(self._integrand(a, ranges) for a in expr.args))

    def _named(self, expr: sp.Expr, sample: sp.Symbol, ranges: Domain) -> sp.Expr:
        """``Value("theta", new family)``, with the indices (or whole index expressions like p + k) that ``expr`` uses."""
        body, indices = self._abstract(expr.xreplace({J: I}), ranges)
        key = sp.Tuple(body, *(sp.Tuple(r.lo, r.hi) for r, _ in indices))
        if key not in self.known:
            name = self.known[key] = f"_site{len(self.known) + 1}"
            domain = tuple(r for r, _ in indices)
            self.system.add(Clause("theta", Ref(name, *(r.index for r in domain)), None, domain, body))
            self.system.edges[name] = tuple(edge or (None, *hull(r, domain[:k])) for k, (r, edge) in enumerate(self._edges))
        return Value("theta", Ref(self.known[key], *(e for _, e in indices)), sample)

    def _abstract(self, expr: sp.Expr, ranges: Domain) -> tuple[sp.Expr, list[tuple[Range, sp.Expr]]]:
        """``expr`` over symbols of its own: (range of the symbol, the index expression it stands for)."""
        self._edges: list[tuple[Range, Edge | None]] = []
        bound = {s.args[1] for s in expr.atoms(Over)}
        swap: dict[sp.Expr, sp.Expr] = {}
        found: list[tuple[Range, sp.Expr]] = []
        for e, edge in self._compound(expr, bound):
            new = sp.Symbol(f"_s{len(found) + 1}", integer=True)
            swap[e] = new
            found.append((Range(new, sp.Integer(edge[1]), sp.Integer(edge[2])), e))
            self._edges.append((found[-1][0], edge))
        expr = _swap_index(expr, swap)
        rest: dict[sp.Symbol, sp.Symbol] = {}
        free = [s for s in _in_order(expr) if s not in bound and s not in swap.values() and any(r.index == s for r in ranges)]
        for k, r in sorted(
            ((k, r) for k, r in enumerate(ranges) if r.index in free), key=lambda x: (x[0], free.index(x[1].index))
        ):
            new = sp.Symbol(f"_s{len(found) + 1}", integer=True)
            lo, hi = hull(r, ranges[:k])
            own = (r.lo.free_symbols | r.hi.free_symbols) <= rest.keys()
            limits = (r.lo.xreplace(rest), r.hi.xreplace(rest)) if own else (sp.Integer(lo), sp.Integer(hi))
            rest[r.index] = new
            found.append((Range(new, *limits), r.index))
            self._edges.append((found[-1][0], (None, lo, hi)))
        return expr.xreplace(rest), found

    def _compound(self, expr: sp.Expr, bound: set[sp.Symbol]) -> list[tuple[sp.Expr, Edge]]:
        """Index expressions of several indices (p + k), each used for slots of one and the same range."""
        edges: dict[sp.Expr, set[Edge | None]] = {}
        for ref in _refs(expr):
            for slot, e in enumerate(ref.index):
                if len(e.free_symbols) > 1:
                    mode, lo, hi = self.system.edge(ref.name, slot)
                    usable = lo is not None and hi is not None and not e.free_symbols & bound
                    if mode == "zero" and not _quiet(expr):
                        usable = False
                    edges.setdefault(e, set()).add((mode, lo, hi) if usable and lo is not None and hi is not None else None)
        return [(e, next(iter(s))) for e, s in edges.items() if len(s) == 1 and None not in s]  # type: ignore[misc]


def _random(expr: sp.Basic) -> bool:
    """Whether ``expr`` is random: a Z outside an expectation."""
    if isinstance(expr, Expectation):
        return False
    return isinstance(expr, Z) or any(_random(a) for a in expr.args)


def _heavy(expr: sp.Expr) -> bool:
    """Worth a table of its own: more than products and sums of what is known."""
    return any(
        isinstance(e, (Over, Expectation, sp.Function)) or (isinstance(e, sp.Pow) and not (e.exp.is_Integer and e.exp > 0))
        for e in sp.preorder_traversal(expr)
        if e.free_symbols & {I, J}
    )


def _gathered(expr: sp.Expr) -> sp.Expr:
    """The arguments that one sample decides, grouped: (f(i) g(i)) K (h(j))."""
    groups: dict[Any, list[sp.Expr]] = {}
    for a in expr.args:
        samples = a.free_symbols & {I, J}
        single = len(samples) == 1 and not _random(a)
        groups.setdefault(next(iter(samples)) if single else None, []).append(a)
    parts = list(groups.pop(None, []))
    for sample in (I, J):
        members = groups.get(sample, [])
        if len(members) > 1 and any(_heavy(m) for m in members):
            parts.append(expr.func(*members, evaluate=False) if isinstance(expr, sp.Mul) else expr.func(*members))
        else:
            parts += members
    return expr.func(*parts, evaluate=False)


def _quiet(expr: sp.Expr) -> bool:
    """Whether ``expr`` is 0 where all entries in it are 0, with 0 to a negative power taken as 0."""
    match expr:
        case Entry() | Value():
            return True
        case sp.Mul():
            return any(_quiet(a) for a in expr.args)
        case sp.Add():
            return all(_quiet(a) for a in expr.args)
        case sp.Pow():
            return _quiet(expr.base) and bool(expr.exp != 0)
        case Over():
            return _quiet(expr.body)
    return isinstance(expr, (sp.sin, sp.tanh, sp.Abs, sp.erf)) and _quiet(expr.args[0])


def _refs(expr: sp.Basic) -> list[Ref]:
    return parts(expr, Ref)


def _swap_index(expr: sp.Expr, swap: Mapping[sp.Expr, sp.Expr]) -> sp.Expr:
    """Index expressions replaced where they are the index of a family."""
    if not swap:
        return expr
    refs = {r: Ref(r.args[0], *(swap.get(e, e) for e in r.index)) for r in _refs(expr)}
    return expr.xreplace(refs)


def _in_order(expr: sp.Expr) -> list[sp.Symbol]:
    """Free index symbols in the order in which they stand."""
    free = expr.free_symbols - {I, J}
    return [s for s in parts(expr, sp.Symbol) if s in free]


__all__ = ["Clause", "System", "exact", "plain", "prepare"]
