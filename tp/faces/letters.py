"""Letters for the length of one equation: its random variables u, u', and q, q', c in closed forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations

import sympy as sp

from tp.faces.decimals import Written, is_long, rounded
from tp.faces.notation import Notation
from tp.faces.order import Short
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, J, Limit, Value, Z
from tp.program.ir import Ref


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

    @property
    def is_by_name(self) -> bool:
        """Whether every covariance of ``Z^a`` and ``Z^b`` is just the entry K of a and b, or 0."""
        n = len(self.variables)
        pairs = [(self.cov[i, j], {self.variables[i].args, self.variables[j].args}) for i in range(n) for j in range(i, n)]
        return all(c == 0 or (isinstance(c, Entry) and {(c.a, c.s), (c.b, c.t)} == refs) for c, refs in pairs)

    @property
    def moments(self) -> dict[tuple[int, int], sp.Expr]:
        """Variances, then covariances, by the places of their variables; of many by name what is 0 alone."""
        n = len(self.variables)
        places = [*((k, k) for k in range(n)), *combinations(range(n), 2)]
        return {at: self.cov[at] for at in places if self.cov[at] == 0 or n < 3 or not self.is_by_name}


@dataclass(frozen=True)
class Gaussians:
    """The random variables of one equation, and the laws that a where-clause states."""

    variables: dict[sp.Expr, Variable]
    laws: tuple[Law, ...]


LENGTH = 30
"""Operations of what one letter stands for."""

MANY = 4
"""From this many different vectors on, an equation keeps writing Z instead of letters, but where Z has a second law."""


def gaussians(equation: Equation, second: sp.Symbol) -> Gaussians:
    """Name the Z of an equation; ``second`` is the symbol of the second sample."""
    expectations = _ordered(equation.rhs.atoms(Expectation))
    summed = {limit[0] for total in equation.rhs.atoms(sp.Sum) for limit in total.limits}  # inside an integrand too
    free = equation.lhs.free_symbols | (equation.rhs.free_symbols - summed)
    atoms = list(dict.fromkeys(v for e in expectations for v in e.variables))
    laws = _laws(expectations)
    if len(set(map(_name, atoms))) >= MANY or len(atoms) > 2 * MANY:
        laws = tuple(law for law in laws if not law.is_by_name)
        atoms = [v for v in atoms if " " in _name(v)]
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
    return Gaussians(named, laws)


def _name(v: sp.Expr) -> str:
    return v.a.name if isinstance(v, Z) else str(v)


def _laws(expectations: list[Expectation]) -> tuple[Law, ...]:
    """One law per set of variables that depend on each other; a law implied by a larger one is left out."""
    laws: list[Law] = []
    for e in sorted(expectations, key=lambda e: -len(e.variables)):
        for at in _dependent(e.cov):
            variables, cov = tuple(e.variables[k] for k in at), e.cov.extract(at, at)
            if not any(set(variables) <= set(law.variables) for law in laws):
                laws.append(Law(variables, cov, _pair(cov)))
    return tuple(laws)


def _dependent(cov: sp.ImmutableDenseMatrix) -> list[list[int]]:
    """The places of variables that no covariance of 0 sets apart."""
    groups: list[list[int]] = []
    for k in range(cov.rows):
        met = [g for g in groups if any(cov[k, j] != 0 for j in g)]
        groups = [g for g in groups if g not in met] + [sorted([k, *(j for g in met for j in g)])]
    return sorted(groups)


def told_apart(equation: Equation) -> Equation:
    """An equation where a variable has one law: in expectations where it has another it is another variable."""
    expectations = sorted(_ordered(equation.rhs.atoms(Expectation)), key=lambda e: -len(e.variables))
    variances: dict[sp.Expr, list[sp.Expr]] = {}
    laws: list[dict[frozenset[sp.Expr], sp.Expr]] = []
    swap: dict[sp.Basic, sp.Basic] = {}
    for e in expectations:
        n = len(e.variables)
        new = [_another(v, _place(variances.setdefault(v, []), e.cov[k, k])) for k, v in enumerate(e.variables)]
        own = {frozenset((new[i], new[j])): e.cov[i, j] for i in range(n) for j in range(i, n)}
        which = next((k for k, law in enumerate(laws) if all(law.get(p, c) == c for p, c in own.items())), len(laws))
        laws[which:] = [laws[which] | own, *laws[which + 1 :]] if which < len(laws) else [own]
        new = [_another(v, which) for v in new]
        swap[e] = Expectation(e.integrand.xreplace(dict(zip(e.variables, new, strict=True))), new, e.cov)
    return replace(equation, rhs=equation.rhs.xreplace(swap))


def _place(found: list[sp.Expr], one: sp.Expr) -> int:
    """Where it stands, at the end if it is new."""
    if one not in found:
        found.append(one)
    return found.index(one)


def _another(v: sp.Expr, which: int) -> sp.Expr:
    """A variable of the same place; no vector of a spec has its name."""
    return Z(Ref(f"{v.a.name} {which}", *v.a.index), v.s) if which and isinstance(v, Z) else v


def written(equation: Equation) -> set[str]:
    """Names of vectors that an equation writes: those it is about, and those whose Z it spells out."""
    names = {r.name for r in equation.lhs.atoms(Ref)}
    found = equation.rhs.atoms(Z)
    return names | {z.a.name for z in found - gaussians(equation, J).variables.keys()} if found else names


def explained(limit: Limit) -> set[str]:
    """Names that a page has to say the meaning of: those equations are about, or spell out, and those these are told in."""
    told = {r.name for _, expr, _ in limit.named for r in expr.atoms(Ref)}
    return told.union(mentioned(limit), *map(written, limit.equations))


def signs(limit: Limit) -> set[str]:
    """Signs of the equations that a legend explains: kinds of values, "Z", "Lambda", two names, functions, "decimal"."""
    atoms = {a for e in limit.equations for side in (e.lhs, e.rhs) for a in side.atoms(Entry, Value)}
    found = {a.kind_name for a in atoms}
    found |= {f"{a.kind_name} of two" for a in atoms if isinstance(a, Entry) and a.a.name != a.b.name}
    found |= {type(f).__name__ for e in limit.equations for f in e.rhs.atoms(sp.Function)}
    found |= {"decimal"} if any(is_long(r) for e in limit.equations for r in e.rhs.atoms(sp.Rational)) else set()
    for equation in limit.equations:
        letters = gaussians(equation, J)
        found |= {"Lambda"} if any(law.pair is not None for law in letters.laws) else set()
        by_name = any(law.is_by_name and len(law.variables) > 2 for law in letters.laws)
        found |= {"Z"} if by_name or equation.rhs.atoms(Z) - letters.variables.keys() else set()
    return found


def mentioned(limit: Limit) -> set[str]:
    """Names in the words about names that the derivation introduced."""
    return {name for _, text in limit.words for name in re.findall("`(.*?)`", text)}


def _pair(cov: sp.ImmutableDenseMatrix) -> Entry | None:
    """The entry whose 2 x 2 matrix of variances and covariance is ``cov``, if that is what it is."""
    c = cov[0, 1] if cov.rows == 2 else None
    if not isinstance(c, Entry) or c.kind_name != "K":
        return None
    kind = c.args[0]
    expected = (Entry(kind, c.a, c.a, c.s, c.s), Entry(kind, c.b, c.b, c.t, c.t))
    return c if (cov[0, 0], cov[1, 1]) == expected and c.a.name == c.b.name else None


def _ordered(expectations: set[Expectation]) -> list[Expectation]:
    return sorted(expectations, key=sp.default_sort_key)


# ---------------------------------------------------------------- parts of closed forms


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """``letter`` stands for ``meaning``; with a number when several things go by the letter."""

    symbol: Short
    letter: str
    number: int
    bound: tuple[sp.Symbol, ...]
    meaning: sp.Expr


def shortened(equation: Equation, style: Notation) -> tuple[Equation, tuple[Abbreviation, ...]]:
    """Write q, q', c for two variances and their covariance where a closed form is made of them, D for what recurs.

    Where it takes all three over scalars of their samples, as behind a layer's norm, the letters are what is left.
    """
    equation = told_apart(replace(equation, rhs=rounded(equation.rhs)))
    hidden = {e: sp.Dummy(real=True) for e in equation.rhs.atoms(Expectation)}  # their covariances speak for themselves
    rhs = equation.rhs.xreplace(hidden)
    free = equation.lhs.free_symbols | equation.rhs.free_symbols
    q, c, d = style.shorts
    found: dict[sp.Expr, Abbreviation] = {}
    triples = _triples(rhs)
    for number, triple in enumerate(triples, 1):
        symbols = tuple(Short(f"{number}.{order}", real=True) for order in range(3))
        entries: tuple[sp.Expr, ...] = _variances(triple)
        over = _over_norms(rhs, triple, symbols) if len(triples) == 1 else None
        if over is not None:
            rhs, entries = over
        for symbol, letter, entry in zip(symbols, (q, f"{q}'", c), entries, strict=True):
            bound = tuple(sorted(entry.free_symbols - free, key=str))
            found.setdefault(entry, Abbreviation(symbol, letter, number if len(triples) > 1 else 0, bound, entry))
        rhs = rhs.xreplace({e: found[e].symbol for e in entries})
    rhs, again = _recurring(rhs)
    for number, (symbol, part) in enumerate(again, 1):
        bound = tuple(dict.fromkeys(s for a in found.values() if part.has(a.symbol) for s in a.bound))
        found[part] = Abbreviation(symbol, d, number if len(again) > 1 else 0, bound, part)
    rhs = rhs.xreplace({v: k for k, v in hidden.items()})
    inner = _arguments(rhs, free) if not again else []
    for number, part in enumerate(inner, 1):
        found[part] = Abbreviation(Short(f"A{number}", real=True), d, number if len(inner) > 1 else 0, (), part)
    return replace(equation, rhs=rhs.xreplace({part: found[part].symbol for part in inner})), tuple(found.values())


def _arguments(expr: sp.Expr, free: set[sp.Basic]) -> list[sp.Expr]:
    """Sums of some length of which functions inside expectations are taken, again and again; the largest of them."""
    counts: dict[sp.Expr, int] = {}
    for expectation in (e for e in sp.preorder_traversal(expr) if isinstance(e, Expectation)):
        for part in sp.preorder_traversal(expectation.integrand):
            arguments = part.args if isinstance(part, sp.Function) else ()
            for sum_ in (a for a in arguments if a.is_Add and a.has(Z) and a.count_ops() > 5 and a.free_symbols <= free):
                counts[sum_] = counts.get(sum_, 0) + 1
    again = [part for part, count in counts.items() if count > 1]
    return sorted((p for p in again if not any(p != o and o.has(p) for o in again)), key=lambda p: (J in p.free_symbols, str(p)))


def _over_norms(
    rhs: sp.Expr, triple: Entry, symbols: tuple[Short, ...]
) -> tuple[sp.Expr, tuple[sp.Expr, sp.Expr, sp.Expr]] | None:
    """``rhs`` in q = K(i,i)/θ(i), q' = K(j,j)/θ(j), c = K(i,j)/√(θ(i) θ(j)), and these; None where its functions take more."""
    first, second, both = _variances(triple)
    norms = _norm(rhs, first), _norm(rhs, second)
    if norms[0] is None or norms[1] is None or norms[0] == norms[1]:
        return None
    one, two = (sp.Dummy(positive=True) for _ in norms)
    q, r, c = symbols
    scaled = {first: q * one, second: r * two, both: c * sp.sqrt(one) * sp.sqrt(two), norms[0]: one, norms[1]: two}
    terms = []
    for term in sp.Add.make_args(rhs):
        new = sp.expand_power_base(term.xreplace(scaled))
        parts = new.atoms(sp.Function, sp.Pow)
        if any(x.has(one, two) and x.has(*symbols) for x in parts):
            return None
        grows = any(new.as_coeff_exponent(x)[1].is_positive for x in (one, two))
        terms.append(term if grows else new.xreplace({one: norms[0], two: norms[1]}))
    return sp.Add(*terms), (first / norms[0], second / norms[1], both / (sp.sqrt(norms[0]) * sp.sqrt(norms[1])))


def _norm(rhs: sp.Expr, variance: Entry) -> Value | None:
    """The scalar that a variance stands over, where there is one."""
    found = {
        f.base
        for product in rhs.atoms(sp.Mul)
        if variance in product.args
        for f in product.args
        if f.is_Pow and f.exp == -1 and isinstance(f.base, Value) and f.base.s == variance.s
    }
    return found.pop() if len(found) == 1 else None


def _recurring(expr: sp.Expr) -> tuple[sp.Expr, list[tuple[Short, sp.Expr]]]:
    """``expr`` with letters for sums of some length, made of letters alone, that occur more than once.

    Short sums come first, and are letters in longer ones; what then occurs once only is written out again.
    """
    found: list[tuple[Short, sp.Expr]] = []
    while again := _again([expr, *(part for _, part in found)]):
        part = min(again, key=lambda p: (p.count_ops(), sp.default_sort_key(p)))
        symbol = Short(f"D{len(found) + 1}", real=True)
        expr, found = expr.xreplace({part: symbol}), [(s, p.xreplace({part: symbol})) for s, p in found]
        found.append((symbol, part))
    for symbol, part in list(found):
        others = [expr, *(p for s, p in found if s != symbol)]
        if sum(x == symbol for e in others for x in sp.preorder_traversal(e)) == 1:
            expr, found = expr.xreplace({symbol: part}), [(s, p.xreplace({symbol: part})) for s, p in found if s != symbol]
    return expr, found


def _again(exprs: list[sp.Expr]) -> list[sp.Expr]:
    """Sums of some length that are made of letters alone and occur more than once."""
    counts: dict[sp.Expr, int] = {}
    for part in (p for e in exprs for p in sp.preorder_traversal(e)):
        letters = part.free_symbols if part.is_Add else set()
        if letters and all(isinstance(s, (Short, Written)) for s in letters) and 5 < part.count_ops() <= LENGTH:
            counts[part] = counts.get(part, 0) + 1
    return [part for part, count in counts.items() if count > 1]


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
