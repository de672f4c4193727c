"""``take_limit``: Program → Limit. Asks for the output's kernels and writes an equation for all they need.

The derivation is driven by demand. An equation is about a *pattern*: for two members of families, which index
slots coincide. ``K[h[l], h[l]]`` stays diagonal in l unless something asks for two different layers (a tied
weight does), and a flatten readout never asks for two different positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import sympy as sp

from tp.errors import LimitError, Message, NoFormula, Span
from tp.gaussian.expectation import Expectation
from tp.limit.clauses import Clause, Families, at, fresh, provably
from tp.limit.equations import Entry, Equation, I, J, Limit, Value
from tp.limit.forms import Ambiguous, Forms
from tp.limit.hats import hats_apart
from tp.limit.independence import gradient_dependence, transposed
from tp.limit.moments import Moments, Reading
from tp.limit.poles import refuse_poles
from tp.limit.powers import Family, family, leading
from tp.limit.readout import Readout
from tp.limit.rules import RULES
from tp.limit.terms import MOST, TooMany
from tp.limit.tidy import merge_scalars, share_direct_terms, share_means, tidy
from tp.program.ir import Domain, MatMul, Nonlin, Program, Range, Ref, spelled
from tp.program.parts import within
from tp.progress import tick

MANY = "too many terms"
Side = tuple[Clause, dict[sp.Symbol, sp.Expr], Ref]  # a clause, its index binding, the ref it then defines


def take_limit(program: Program, kinds: tuple[str, ...] = ("K",), literal: bool = False) -> Limit:
    """The infinite-width limit of a program: recursions where gradients are independent of its weights, else the Z-calculus.

    ``kinds``: ``("K",)`` the covariance of the outputs (NNGP), ``("K", "Theta")`` also the tangent kernel.
    ``literal`` reads every rate and multiplier as written (``ntk("as written")``).
    Raises ``LimitError`` where no rule gives a limit, naming the line.
    Sources: Yang 2019, *Tensor Programs I* (NNGP); Yang 2020, *Tensor Programs II* (NTK), simple GIA check.
    """
    if gradient_dependence(program) is None:
        return _recursions(hats_apart(program), kinds, Reading(literal))
    if kinds == ("K",) and not transposed(program):
        found = Derivation(hats_apart(program), kinds, Reading(literal)).averages()
        if found is not None:
            return found
    from tp.limit.zcalculus.kernels import z_kernels

    return z_kernels(program, kinds, literal)


def _recursions(program: Program, kinds: tuple[str, ...], reading: Reading) -> Limit:
    """The limit under gradient independence; chains of vectors are carried on link by link where their moments close.

    Where that is found out only on the way, and unfolding them is no formula either, the reason is that they do not close.
    """
    chained = Derivation(program, kinds, reading, chained=True)
    try:
        return chained.limit()
    except (LimitError, TooMany) as open_chain:
        if not chained.forms.links:
            raise
        try:
            return Derivation(program, kinds, reading).limit()
        except LimitError as error:
            many = any(isinstance(d, Message) and d.heading == MANY for d in error.diagnostics)
            if many and isinstance(open_chain, LimitError):
                raise open_chain from None
            raise


@dataclass
class Derivation:
    """One derivation: the work list of demanded entries and the equations found."""

    program: Program
    kinds: tuple[str, ...]
    reading: Reading
    patterns: dict[Family, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    queue: list[Family] = field(default_factory=list)
    found: dict[Family, list[Equation]] = field(default_factory=dict)
    order: list[Family] = field(default_factory=list)
    chained: bool = False

    def __post_init__(self) -> None:
        self.families = Families(self.program)
        self.forms = Forms(self.families, self.program.temps, self.chained)
        self.moments = Moments(self.families, self.forms, self.reading, self.demand, self.scalar)
        self.readout = Readout(self.moments, "Theta" in self.kinds)
        self.constants: dict[str, sp.Expr | None] = {}

    def limit(self) -> Limit:
        """Equations of the outputs and, transitively, of everything they ask for."""
        for kind in self.kinds:
            for output in self.program.outputs:
                self.demand(kind, output, output)
        return self._limit([(kind, f.name, f.name) for kind in self.kinds for f in self.program.outputs])

    def averages(self) -> Limit | None:
        """The limit where all outputs are averages over the width, which do not vary: K is 0; None where they are not.

        Without transposes nothing has a dot part, so that readout weights may stand elsewhere too.
        Source: Yang 2020, *Tensor Programs III*, Master Theorem 2.10.
        """
        roots: list[Family] = []
        try:
            for f in self.program.outputs:
                self._derive(key := ("theta", f.name, f.name))
                if any(e.rhs == 0 for e in self.found[key]):
                    return None
                roots += [("K", f.name, f.name), key]
                self.order.append(roots[-2])
                self.found[roots[-2]] = []
                for clause in self.families.defining(f.name):
                    self._record("K", (clause.out, clause.out), sp.S.Zero, clause.domain, clause)
            return self._limit(roots)
        except (LimitError, TooMany):
            return None

    def _limit(self, roots: list[Family]) -> Limit:
        """The equations of what is demanded, as far as the roots reach them."""
        while self.queue:
            self._derive(self.queue.pop())
        found = share_means(merge_scalars([e for key in self.order for e in self.found[key]]))
        equations = _used(share_direct_terms(found), roots)
        used = {r.name for e in equations for r in within(e.lhs, Ref) | within(e.rhs, Ref)}
        limit = Limit(
            self.program,
            self.kinds,
            self.program.outputs,
            tuple(_ordered(equations, roots)),
            tuple(n for n in self.forms.named if n[0].name in used),
        )
        return leading(limit)

    # ------------------------------------------------------------ demand

    def demand(self, kind: str, a: Ref, b: Ref) -> None:
        """Note that an entry is used; queue its family when it is new or asked for more freely than before."""
        key = (kind, a.name, b.name)
        pattern = _pattern(a, b)
        if key not in self.patterns:
            self.patterns[key] = pattern
            self.queue.append(key)
        elif any(pair not in pattern for pair in self.patterns[key]):
            self.patterns[key] = tuple(p for p in self.patterns[key] if p in pattern)
            self.queue.append(key)

    def scalar(self, ref: Ref) -> sp.Expr | None:
        """The limit of a deterministic scalar when it is a number; else its equations are demanded."""
        if ref.name not in self.constants:
            self.constants[ref.name] = None
            self._derive(("theta", ref.name, ref.name))
            values = {e.rhs for e in self.found[("theta", ref.name, ref.name)]}
            if len(values) == 1 and (value := values.pop()).is_number:
                self.constants[ref.name] = value
        return self.constants[ref.name]

    # ------------------------------------------------------------ equations of one family

    def _derive(self, key: Family) -> None:
        kind, first, second = key
        if key not in self.found:
            self.order.append(key)
        self.found[key] = []
        saved, opened = self.moments.context, self.moments.opened
        for one in self.families.defining(first):
            if kind in ("theta", "m"):
                self._split(kind, one.out, one.domain, one, one)
                continue
            for two in self.families.defining(second):
                joined = _join(one, two, self.patterns[key])
                if joined is not None:
                    a, b, domain = joined
                    self._split(kind, (a, b), domain, one, two)
        self.moments.context, self.moments.opened = saved, opened

    def _split(self, kind: str, lhs: Ref | tuple[Ref, Ref], domain: Domain, one: Clause, two: Clause) -> None:
        """Derive an equation; where a definition changes within the domain, once for each part."""
        self.moments.context, self.moments.opened = {r.index: r for r in domain}, set()
        self.forms.span = one.ins.span
        try:
            rhs = self._right(kind, lhs, domain, one, two)
        except Ambiguous as where:
            for part, binding in _parts(domain, where, one.ins.span):
                bound = tuple(at(x, binding) for x in lhs) if isinstance(lhs, tuple) else at(lhs, binding)
                self._split(kind, bound, part, one, two)
            return
        self._record(kind, lhs, rhs, domain, one if one.out.name in self.families.clauses else two)

    def _right(self, kind: str, lhs: Ref | tuple[Ref, Ref], domain: Domain, one: Clause, two: Clause) -> sp.Expr:
        try:
            return self._value(kind, lhs, domain, one, two)
        except TooMany:
            names = " or ".join(f"`{x}`" for x in dict.fromkeys((one.out, two.out)))
            reason = f"{names} multiplies out to more than {MOST} terms, exponentially many in its factors"
            remedy = "use fewer factors, or apply a weight matrix to some of the sums before they are multiplied"
            raise LimitError(Message(one.ins.span, reason, remedy, MANY)) from None

    def _value(self, kind: str, lhs: Ref | tuple[Ref, Ref], domain: Domain, one: Clause, two: Clause) -> sp.Expr:
        if kind == "theta":
            return self.readout.deterministic(one, _bind(one, lhs), domain)
        if kind == "m":
            return self.moments.mean(at(one.expr, _bind(one, lhs)), I, domain)
        a, b = lhs
        if self.families.is_scalar(a):
            return self.readout.covariance(kind, one, _bind(one, a), two, _bind(two, b), domain)
        return self._vectors(kind, (one, _bind(one, a), a), (two, _bind(two, b), b), domain)

    def _vectors(self, kind: str, left: Side, right: Side, domain: Domain) -> sp.Expr:
        """Expand the definitions that :meth:`_expanded` names.

        A vector of initial data is independent of every hat, and there is nothing to expand.
        """
        (one, b1, a), (two, b2, b) = left, right
        if isinstance(one.ins, MatMul) and isinstance(two.ins, MatMul):
            return self.moments.matmuls(kind, (one.ins, b1), I, (two.ins, b2), J)
        hats = isinstance(one.ins, MatMul) or isinstance(two.ins, MatMul)
        if hats and not {one.out.name, two.out.name} <= self.families.clauses.keys():
            return sp.S.Zero
        expand_one, expand_two = self._expanded(one, two, a.name == b.name)
        x = at(one.expr, b1) if expand_one else a
        y = at(two.expr, b2) if expand_two else b
        self.moments.opened = set(self.families.vectors(x)) | set(self.families.vectors(y))
        if kind == "Theta":
            return self.moments.tangent(x, I, y, J, domain)
        return self.moments.second(x, I, y, J, domain)

    def _expanded(self, one: Clause, two: Clause, same: bool) -> tuple[bool, bool]:
        """Which definitions are put in: both of one family, and where both hold the same initial weights; else the later one.

        A vector of initial weights alone, ``U @ x``, comes before all others and is not taken apart into its columns.
        """
        first, second = isinstance(one.ins, Nonlin), isinstance(two.ins, Nonlin)
        if not (first and second):
            return first, second
        (mine, bare), (theirs, other) = self.forms.weights_in(one), self.forms.weights_in(two)
        if mine & theirs:
            return True, True
        if bare != other:
            return not bare, not other
        if same:
            return True, True
        names = [*self.families.weights, *self.families.clauses]
        later = names.index(one.out.name) > names.index(two.out.name)
        return later, not later

    def _record(self, kind: str, lhs: Ref | tuple[Ref, Ref], rhs: sp.Expr, domain: Domain, clause: Clause) -> None:
        if isinstance(lhs, tuple):
            left: Entry | Value = Entry(kind, lhs[0], lhs[1], I, J)
            key = (kind, lhs[0].name, lhs[1].name)
        else:
            left, key = Value(kind, lhs, I), (kind, lhs.name, lhs.name)
        self._check_bound(rhs, (left, *domain), clause)
        refuse_poles(rhs, clause.ins.span)
        rule = RULES[_rule(kind, clause, self.families, self.forms)]
        tick()
        self.found[key].append(Equation(left, tidy(self.families.natural(rhs)), domain, rule.name, rule.source, clause.ins.span))

    def _check_bound(self, rhs: sp.Expr, known: tuple[Entry | Value | Range, ...], clause: Clause) -> None:
        """Outside expectations every index must be one of the equation's own: a sum inside a nonlinearity may leave others."""
        names = {s for k in known if not isinstance(k, Range) for s in k.free_symbols} | {
            k.index for k in known if isinstance(k, Range)
        }
        sizes = {s for space in self.program.spaces for s in sp.sympify(space.size).free_symbols}
        free = rhs.xreplace({e: sp.Dummy() for e in within(rhs, Expectation)}).free_symbols
        lost = sorted(str(s) for s in free - names - sizes - set(self.program.constants) - {I, J} if s.is_integer)
        if lost:
            reason = f"the tangent of a nonlinearity of a sum over an index ({', '.join(lost)}) has no rule yet"
            remedy = "has its numbers, by nodes; for formulas write the terms of the sum as arguments of their own"
            texts = (reason, f"net.kernel() {remedy}", "sum inside a nonlinearity", f"`tp gram` {remedy}")
            raise NoFormula(Message(clause.ins.span, *texts))


def _rule(kind: str, clause: Clause, families: Families, forms: Forms) -> str:
    if kind in ("theta", "m", "S"):
        return kind
    if families.is_scalar(clause.out):
        return f"{kind} readout"
    if any(clause.out.name == ref.name for ref, _, _ in forms.named):
        return f"{kind} named"
    return f"{kind} {'matmul' if isinstance(clause.ins, MatMul) else 'linear'}"


def _bind(clause: Clause, lhs: Ref | tuple[Ref, Ref]) -> dict[sp.Symbol, sp.Expr]:
    assert isinstance(lhs, Ref)
    return {s: e for s, e in zip(clause.out.index, lhs.index, strict=True) if isinstance(s, sp.Symbol) and s != e}


def _pattern(a: Ref, b: Ref) -> tuple[tuple[int, int], ...]:
    """The index slots of a and b that coincide."""
    tied, used = [], set()
    for j, f in enumerate(b.index):
        candidates = [j] if a.name == b.name else range(len(a.index))
        for k in candidates:
            if k not in used and sp.expand(a.index[k] - f) == 0:
                tied.append((k, j))
                used.add(k)
                break
    return tuple(tied)


def _join(one: Clause, two: Clause, tied: tuple[tuple[int, int], ...]) -> tuple[Ref, Ref, Domain] | None:
    """Left sides for a pair of clauses: the second's indices equal the first's where tied and are primed elsewhere."""
    ranges = {r.index: r for r in one.domain}
    theirs = {r.index: r for r in two.domain}
    fixed: dict[sp.Symbol, sp.Expr] = {}  # of the first clause
    binding: dict[sp.Symbol, sp.Expr] = {}  # of the second
    for k, j in tied:
        e, f = one.out.index[k], two.out.index[j]
        if f in theirs:
            inside = ranges.get(e)
            lo, hi = theirs[f].lo, theirs[f].hi
            if inside is None:
                if provably(e - hi, 1) or provably(lo - e, 1):
                    return None
            elif (inside.lo, inside.hi) != (lo, hi):
                if provably(inside.lo - hi, 1) or provably(lo - inside.hi, 1):
                    return None
                ranges[e] = Range(e, _larger(inside.lo, lo), _smaller(inside.hi, hi))
            binding[f] = e
        elif e in ranges:
            if provably(f - ranges[e].hi, 1) or provably(ranges[e].lo - f, 1):
                return None
            fixed[e] = f
        elif sp.expand(e - f) != 0:
            return None
    taken: set[sp.Basic] = set(ranges)
    extra = []
    for r in two.domain:
        if r.index not in binding:
            binding[r.index] = fresh(r.index, taken)
            taken.add(binding[r.index])
            extra.append(r)
    domain = [r for s, r in ranges.items() if s not in fixed] + [
        Range(binding[r.index], at(r.lo, binding), at(r.hi, binding)) for r in extra
    ]
    b = at(at(two.out, binding), fixed)
    return at(one.out, fixed), b, tuple(Range(r.index, at(r.lo, fixed), at(r.hi, fixed)) for r in domain)


def _larger(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return a if provably(a - b, 1) or a == b else b if provably(b - a, 1) else sp.Max(a, b)


def _smaller(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return a if provably(b - a, 1) or a == b else b if provably(a - b, 1) else sp.Min(a, b)


def _parts(domain: Domain, where: Ambiguous, span: Span) -> list[tuple[Domain, dict[sp.Symbol, sp.Expr]]]:
    """The domain with ``index == value`` set apart."""
    r = next((r for r in domain if r.index == where.index), None)
    if r is None:
        remedy = "let the argument of the nonlinearity be the recursion, `u[t] = W @ tanh(u[t-1]) + …`, or split the sum"
        raise LimitError(
            Message(span, f"the definition read depends on the summed index `{where.index}`", remedy, "ambiguous index")
        )
    binding = {r.index: where.value}
    if provably(r.lo - where.value, 1) or provably(where.value - r.hi, 1):
        reason = f"which definition is read does not depend on `{r}` alone"
        raise LimitError(Message(span, reason, "write the ranges so that one applies", "ambiguous index"))
    others = tuple(x for x in domain if x is not r)
    parts: list[tuple[Domain, dict[sp.Symbol, sp.Expr]]] = [
        (tuple(Range(x.index, at(x.lo, binding), at(x.hi, binding)) for x in others), binding)
    ]
    for lo, hi in ((r.lo, where.value - 1), (where.value + 1, r.hi)):
        if not provably(lo - hi, 1):
            parts.append((tuple(replace(r, lo=lo, hi=hi) if x is r else x for x in domain), {}))
    return parts


def _used(equations: list[Equation], roots: list[Family]) -> list[Equation]:
    """The equations that the roots reach; a scalar whose limit turned out to be a number is written as that number."""
    reads: dict[Family, set[Family]] = {}
    for e in equations:
        reads.setdefault(family(e.lhs), set()).update(family(a) for a in within(e.rhs, Entry) | within(e.rhs, Value))
    seen: set[Family] = set()
    stack = list(roots)
    while stack:
        key = stack.pop()
        if key not in seen:
            seen.add(key)
            stack.extend(reads.get(key, ()))
    return [e for e in equations if family(e.lhs) in seen]


def _ordered(equations: list[Equation], roots: list[Family]) -> list[Equation]:
    """Each after those it uses, as far as there is no recursion: depth first from the output."""
    families: dict[Family, list[Equation]] = {}
    for e in equations:
        families.setdefault(family(e.lhs), []).append(e)
    done: list[Family] = []
    seen: set[Family] = set()

    def visit(key: Family) -> None:
        if key in seen or key not in families:
            return
        seen.add(key)
        for e in families[key]:
            for atom in sorted(within(e.rhs, Entry) | within(e.rhs, Value), key=lambda a: (a.kind_name == "Theta", spelled(a))):
                visit(family(atom))
        done.append(key)

    for key in [*roots, *families]:
        visit(key)
    return [e for key in done for e in families[key]]
