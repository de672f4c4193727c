"""Notation shared by every face: how the names, indices and random variables of a limit are written.

A kernel is written ``K_h^l(x_p, x'_q)``. An index on which both variables of every kernel entry agree (a layer) goes
up, next to the name; an index that may differ (a position, a time) goes to the sample it belongs to. What each
printer does with this is its own business; nothing here knows LaTeX.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, I, J, Limit, Value, Z
from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, Program, Ref

GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma",
    "Upsilon", "Phi", "Psi", "Omega",
)  # fmt: skip


def ascii_name(name: str) -> str:
    """A name with Greek letters spelled out and anything else beyond ASCII folded or given by code point."""
    return "".join(_ascii_char(c) for c in name)


def _ascii_char(char: str) -> str:
    if char.isascii():
        return char
    words = unicodedata.name(char, "").split()
    if words[:1] == ["GREEK"] and words[-1].lower() in {g.lower() for g in GREEK}:
        return words[-1].capitalize() if "CAPITAL" in words else words[-1].lower()
    folded = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return folded or f"U{ord(char):04X}"


@dataclass(frozen=True, slots=True)
class NameParts:
    """A user's name taken apart: ``sw2`` is base sigma, subscript w, power 2; ``h1`` is h with subscript 1."""

    base: str
    sub: str = ""
    power: str = ""
    primes: int = 0
    literal: bool = False  # print the base as it is: another name has the customary reading


def name_parts(name: str) -> NameParts:
    """The customary reading of a name; ``NameParts(name)`` when there is none."""
    name = ascii_name(name)
    bare = re.sub(r"(?<=[A-Za-z])_$", "'", name).rstrip("'")  # `s_`, bound beside a free `s`, is s'
    primes = len(name) - len(bare)
    if match := re.fullmatch(r"s([a-z])2", bare):  # sw2: the house's name for a variance
        return NameParts("sigma", match[1], "2", primes)
    letter = rf"[A-Za-z]|{'|'.join(GREEK)}"
    if match := re.fullmatch(rf"({letter})_?([0-9]+)", bare) or re.fullmatch(r"([A-Za-z0-9]+)_([A-Za-z0-9]+)", bare):
        return NameParts(match[1], match[2], "", primes)
    return NameParts(bare, "", "", primes)


# ---------------------------------------------------------------- which index stands where


@dataclass(frozen=True)
class Notation:
    """Where the indices of each family are written, and what the two samples are called.

    ``paired`` holds, per family, which index slots may differ between the two sides of an entry. ``up`` are the
    names of indices that stand above a name: layers.
    """

    paired: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    up: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()
    sample: str = "x"
    letter: str = "u"
    literal: frozenset[str] = frozenset()

    def parts(self, name: str) -> NameParts:
        """How a name is printed: no two names of a limit print alike."""
        bare = name.rstrip("'")
        return NameParts(bare, primes=len(name) - len(bare), literal=True) if bare in self.literal else name_parts(name)

    def split(self, ref: Ref) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
        """The index expressions of ``ref`` written above the name, and those written below it or on the sample."""
        slots = self.paired.get(ref.name, ())
        above: list[sp.Expr] = []
        below: list[sp.Expr] = []
        for k, index in enumerate(ref.index):
            is_below = slots[k] if k < len(slots) else not self._rises(index)
            (below if is_below else above).append(index)
        return tuple(above), tuple(below)

    def _rises(self, index: sp.Expr) -> bool:
        names = {str(s) for s in index.free_symbols}
        return bool(names) and not names & self.down and bool(names & self.up)


def notation(limit: Limit) -> Notation:
    """Read off the notation that fits a limit."""
    program = limit.program
    paired = _paired_slots(limit)
    up, down = _directions(limit, paired)
    _follow(program, paired, up - down)
    names = _all_names(limit)
    inputs = [d.ref.name for d in program.data]
    sample = inputs[0] if len(inputs) == 1 and (len(inputs[0]) == 1 or inputs[0] in GREEK) else "x"
    if len(inputs) > 1 or (sample == "x" and inputs != ["x"] and "x" in names):
        sample = next(s for s in ("xi", "zeta", "chi", "omega", "xi_0") if s not in names)
    bases = {name_parts(name).base for name in names} | {sample}
    letter = next((s for s in ("u", "z", "zeta", "omega", "y") if s not in bases), "u")
    return Notation(paired, frozenset(up), frozenset(down), sample, letter, _ambiguous(names))


def _paired_slots(limit: Limit) -> dict[str, tuple[bool, ...]]:
    """Per family, the slots whose index is not shared by the two sides of the defining equations."""
    found: dict[str, list[bool]] = {}
    for equation in limit.equations:
        if not isinstance(equation.lhs, Entry):
            continue
        a, b = equation.lhs.a, equation.lhs.b
        common = a.free_symbols & b.free_symbols
        for ref, other in ((a, b), (b, a)):
            slots = found.setdefault(ref.name, [False] * len(ref.index))
            for k, index in enumerate(ref.index[: len(slots)]):
                differs = a.name == b.name and len(other.index) > k and other.index[k] != index
                slots[k] = slots[k] or differs or bool(index.free_symbols - common)
    return {name: tuple(slots) for name, slots in found.items()}


def _directions(limit: Limit, paired: dict[str, tuple[bool, ...]]) -> tuple[set[str], set[str]]:
    """Names of the indices that stand above, and of those that stand below."""
    up: set[str] = set()
    down: set[str] = set()
    for equation in limit.equations:
        refs = (equation.lhs.a, equation.lhs.b) if isinstance(equation.lhs, Entry) else ()
        for ref in refs:
            for index, is_paired in zip(ref.index, paired[ref.name], strict=False):
                (down if is_paired else up).update(str(s) for s in index.free_symbols)
    return up, down


def _follow(program: Program, paired: dict[str, tuple[bool, ...]], up: set[str]) -> None:
    """Weights and scalars, which have no kernel entry, follow the names of their indices."""
    members: dict[str, list[Ref]] = {}
    for ref in _defined(program):
        if ref.name not in paired:
            members.setdefault(ref.name, []).append(ref)
    for name, refs in members.items():
        slots = max(len(ref.index) for ref in refs)
        rises = [any(k < len(r.index) and {str(s) for s in r.index[k].free_symbols} & up for r in refs) for k in range(slots)]
        paired[name] = tuple(not up_here for up_here in rises)


def _defined(program: Program) -> Iterator[Ref]:
    """The left side of every family member the program defines."""
    for weight in program.weights:
        yield weight.ref
    for data in program.data:
        yield data.ref
    for instruction in instructions(program.body):
        yield instruction.out


def instructions(body: Iterable[Instruction], outer: Domain = ()) -> Iterator[MatMul | Nonlin | Moment]:
    """The straight-line instructions of a body, loops opened: their range joins the domain."""
    for instruction in body:
        if isinstance(instruction, Loop):
            yield from instructions(instruction.body, (*outer, instruction.range))
        else:
            yield replace(instruction, domain=_join(outer, instruction.domain)) if outer else instruction


def _join(outer: Domain, inner: Domain) -> Domain:
    own = {r.index for r in inner}
    return (*(r for r in outer if r.index not in own), *inner)


def _ambiguous(names: set[str]) -> frozenset[str]:
    """Names whose customary reading another name has already: ``h_1`` beside ``h1``."""
    readings: set[NameParts] = set()
    found = set()
    for name in sorted(names, key=lambda n: (len(n), n)):
        if name_parts(name) in readings:
            found.add(name)
        readings.add(name_parts(name))
    return frozenset(found)


def _all_names(limit: Limit) -> set[str]:
    """Every name the reader may meet: variables, constants, spaces, tables, indices."""
    program = limit.program
    names = {ref.name for ref in _defined(program)} | {s.name for s in program.spaces} | set(program.tables)
    names |= {str(c) for c in program.constants}
    for equation in limit.equations:
        names |= {str(s) for e in (equation.lhs, equation.rhs) for s in e.atoms(sp.Symbol)}
    return names


class Short(sp.Symbol):
    """A letter that stands for a kernel entry within one equation."""


# ---------------------------------------------------------------- the Gaussian variables of one equation


@dataclass(frozen=True, slots=True)
class Variable:
    """A random variable of an equation by its letter: a number when several, a prime for the second sample."""

    number: int  # 0: the only one
    primed: bool
    bound: tuple[sp.Symbol, ...]  # summation indices it depends on


@dataclass(frozen=True, slots=True)
class Law:
    """``(u, u') ~ N(0, cov)``. ``pair`` is the entry K(a, b) when the covariance is its 2 x 2 matrix."""

    variables: tuple[sp.Expr, ...]
    cov: sp.ImmutableDenseMatrix
    pair: Entry | None = None


@dataclass(frozen=True)
class Gaussians:
    """The random variables of one equation, and the laws that a where-clause states."""

    variables: dict[sp.Expr, Variable]
    laws: tuple[Law, ...]


MANY = 4
"""From this many different vectors on, an equation keeps writing Z instead of letters."""


def gaussians(equation: Equation, second: sp.Symbol) -> Gaussians:
    """Name the Z of an equation; ``second`` is the symbol of the second sample."""
    expectations = _ordered(equation.rhs.atoms(Expectation))
    free = equation.lhs.free_symbols | equation.rhs.free_symbols
    atoms = list(dict.fromkeys(v for e in expectations for v in e.variables))
    if len(set(map(_name, atoms))) >= MANY or len(atoms) > 2 * MANY:
        return Gaussians({}, ())
    order: dict[str, int] = {}
    for v in atoms:
        order.setdefault(_name(v), len(order))
    named = {}
    for primed in (False, True):
        of_sample = [v for v in atoms if (isinstance(v, Z) and v.s == second) == primed]
        of_sample.sort(key=lambda v: order[_name(v)])
        for number, v in enumerate(of_sample, 1):
            bound = tuple(sorted(v.free_symbols - free, key=str)) if isinstance(v, Z) else ()
            named[v] = Variable(number if len(of_sample) > 1 else 0, primed, bound)
    return Gaussians(named, _laws(expectations))


def _name(v: sp.Expr) -> str:
    return v.a.name if isinstance(v, Z) else str(v)


def _laws(expectations: list[Expectation]) -> tuple[Law, ...]:
    """One law per set of variables; a law implied by a larger one is left out."""
    laws: list[Law] = []
    for e in sorted(expectations, key=lambda e: -len(e.variables)):
        if not any(set(e.variables) <= set(law.variables) for law in laws):
            laws.append(Law(e.variables, e.cov, _pair(e)))
    return tuple(laws)


def _pair(e: Expectation) -> Entry | None:
    """The entry whose 2 x 2 matrix of variances and covariance is ``e.cov``, if that is what it is."""
    if len(e.variables) != 2 or not isinstance(e.cov[0, 1], Entry):
        return None
    c = e.cov[0, 1]
    kind = c.args[0]
    expected = (Entry(kind, c.a, c.a, c.s, c.s), Entry(kind, c.b, c.b, c.t, c.t))
    return c if (e.cov[0, 0], e.cov[1, 1]) == expected and c.a.name == c.b.name else None


def _ordered(expectations: set[Expectation]) -> list[Expectation]:
    return sorted(expectations, key=sp.default_sort_key)


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """``letter`` (q, q' or c) stands for ``entry``; a number when there are several triples."""

    symbol: Short
    letter: str
    number: int
    bound: tuple[sp.Symbol, ...]
    entry: Entry


def shortened(equation: Equation) -> tuple[Equation, tuple[Abbreviation, ...]]:
    """Write q, q', c for two variances and their covariance where a closed form is made of them."""
    triples = [] if equation.rhs.has(Expectation) else _triples(equation.rhs)
    free = equation.lhs.free_symbols | equation.rhs.free_symbols
    found: dict[sp.Expr, Abbreviation] = {}
    for number, c in enumerate(triples, 1):
        bound = tuple(sorted(c.free_symbols - free, key=str))
        for order, letter, entry in zip(range(3), ("q", "q'", "c"), _variances(c), strict=True):
            symbol = Short(f"{number}.{order}", real=True)
            found.setdefault(entry, Abbreviation(symbol, letter, number if len(triples) > 1 else 0, bound, entry))
    swap = {entry: short.symbol for entry, short in found.items()}
    return replace(equation, rhs=equation.rhs.xreplace(swap)), tuple(found.values())


def _variances(c: Entry) -> tuple[Entry, Entry, Entry]:
    return Entry(c.args[0], c.a, c.a, c.s, c.s), Entry(c.args[0], c.b, c.b, c.t, c.t), c


def _triples(expr: sp.Expr) -> list[Entry]:
    """Covariances that stand together with both their variances inside a function or a root."""
    inside: set[Entry] = set()
    for part in expr.atoms(sp.Function, sp.Pow):
        if isinstance(part, sp.Function) or not part.exp.is_Integer:
            inside |= part.atoms(Entry)
    found = [c for c in inside if c.kind_name in ("K", "S") and (c.a, c.s) != (c.b, c.t) and set(_variances(c)) <= inside]
    return sorted(found, key=sp.default_sort_key)


# ---------------------------------------------------------------- the order of terms and factors


def is_theta(expr: sp.Basic) -> bool:
    """Does the tangent kernel stand in it?"""
    return any(str(e.args[0]) == "Theta" for e in expr.atoms(Entry))


def terms(expr: sp.Expr) -> list[sp.Expr]:
    """The terms of a sum as a paper orders them: kernels, tangent kernels, constants."""

    def rank(term: sp.Expr) -> tuple[int, int]:
        if is_theta(term):
            return 2, 0
        if not term.has(Entry, Value, Expectation, Z, Ref, sp.Sum, Short):
            return 3, 0
        bracket = any(f.is_Add for f in sp.Mul.make_args(term))
        return 1, 2 if bracket else 0 if term.has(sp.Sum, Expectation) else 1

    ordered = sorted(expr.as_ordered_terms(), key=rank)
    if ordered[0].could_extract_minus_sign():  # do not begin with a minus where there is a choice
        ordered.sort(key=lambda t: t.could_extract_minus_sign())
    return ordered


@dataclass(frozen=True, slots=True)
class Factors:
    """A product as a paper writes it: a scalar coefficient over its denominator, then what varies."""

    negative: bool
    scalar: tuple[sp.Expr, ...]
    scalar_below: tuple[sp.Expr, ...]
    rest: tuple[sp.Expr, ...]
    rest_below: tuple[sp.Expr, ...]


_VARYING = (Entry, Value, Expectation, Z, Ref, Short, sp.Sum, sp.Piecewise, sp.Function)


def factors(expr: sp.Expr) -> Factors:
    """Sort the factors of a product into coefficient and rest, numerator and denominator."""
    negative = False
    parts: dict[tuple[bool, bool], list[sp.Expr]] = {(v, b): [] for v in (False, True) for b in (False, True)}
    for factor in sp.Mul.make_args(expr):
        if isinstance(factor, sp.Rational):
            negative ^= factor < 0
            for number, below in ((abs(factor.p), False), (factor.q, True)):
                if number != 1:
                    parts[False, below].insert(0, sp.Integer(number))
            continue
        if isinstance(factor, sp.Float) and factor < 0:
            negative, factor = not negative, -factor
        varies = factor.has(*_VARYING)
        base, power = factor.as_base_exp()
        below = bool(power.is_Rational and power < 0) and base != sp.E
        parts[varies, below].append(sp.Pow(base, -power) if below else factor)
    parts[False, False].sort(key=_scalar_rank)
    parts[False, True].sort(key=_scalar_rank)
    parts[True, False].sort(key=_factor_rank)
    return Factors(negative, *(tuple(parts[v, b]) for v in (False, True) for b in (False, True)))


def _scalar_rank(factor: sp.Expr) -> tuple[int, str]:
    return (0 if factor.is_Integer else 1 if factor.is_number else 3 if factor.is_Add else 2), str(factor)


def is_indicator(expr: sp.Basic) -> bool:
    """1 where a condition holds, 0 elsewhere."""
    return isinstance(expr, sp.Piecewise) and [v for v, _ in expr.args] == [1, 0] and expr.args[1][1] is sp.true


def is_power_of_sum(expr: sp.Basic) -> bool:
    """``(a + b)^2``: a bracket in which a line can be broken."""
    return isinstance(expr, sp.Pow) and expr.base.is_Add and bool(expr.exp.is_Integer and expr.exp > 1)


def _factor_rank(factor: sp.Expr) -> tuple[int, int, object]:
    """Indicators, functions, expectations, kernels, tangent kernels, brackets; what swallows all to its right is last."""
    key = (_samples(factor), sp.default_sort_key(factor))
    if isinstance(factor, (sp.Sum, sp.Piecewise)) and not is_indicator(factor):
        return 9, is_theta(factor), key
    base = factor.as_base_exp()[0]
    if isinstance(base, Entry):
        return (4 if is_theta(base) else 3), 0, key
    if isinstance(base, Expectation):
        return 2, 0, key
    if isinstance(base, (Value, Ref, Z, sp.Symbol)) or is_indicator(factor):
        return 0, not is_indicator(factor), key
    return (7 if factor.is_Add or is_power_of_sum(factor) else 1), is_theta(factor), key


def _samples(factor: sp.Expr) -> int:
    """Factors of the first sample, of both, of the second."""
    free = factor.free_symbols
    return (J in free) - (I in free)


def value_of(bound: sp.Symbol, body: sp.Expr, at: sp.Expr) -> sp.Expr | None:
    """The value of ``bound`` that turns ``body`` into ``at``, when it can be read off."""
    if body == at:
        return bound
    for candidate in sorted(at.free_symbols - body.free_symbols, key=str):
        if body.xreplace({bound: candidate}) == at:
            return candidate
    return None


def index_order(*refs: Ref) -> tuple[sp.Symbol, ...]:
    """Index symbols in the order in which they stand on a left side."""
    return tuple(dict.fromkeys(s for ref in refs for e in ref.index for s in sorted(e.free_symbols, key=str)))


def index_terms(expr: sp.Expr, first: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
    """The terms of an index: the equation's own indices, those of sums, numbers."""

    def rank(term: sp.Expr) -> tuple[bool, int, str]:
        return term.is_number, min((first.index(s) for s in term.free_symbols if s in first), default=len(first)), str(term)

    return sorted(sp.Add.make_args(expr), key=rank)


def lhs_order(equation: Equation) -> tuple[sp.Symbol, ...]:
    """:func:`index_order` of an equation."""
    return index_order(*(a for a in equation.lhs.args if isinstance(a, Ref)))


def index_ranges(domain: Domain) -> list[tuple[tuple[sp.Symbol, ...], sp.Expr, sp.Expr]]:
    """Ranges with equal bounds together: ``p, p' in 0..31``."""
    merged: dict[tuple[sp.Expr, sp.Expr], list[sp.Symbol]] = {}
    for r in domain:
        merged.setdefault((r.lo, r.hi), []).append(r.index)
    return [(tuple(symbols), lo, hi) for (lo, hi), symbols in merged.items()]
