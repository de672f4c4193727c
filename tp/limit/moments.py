"""Second moments, tangents and expectations of vectors: the rules of the Z-calculus without dot parts.

Everything is asked of two vectors at two samples and answered by an expression in ``Entry``, ``Value`` and
``Expectation`` atoms; entries that are asked for are reported to ``demand``, whose equations the derivation
then writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import sympy as sp

from tp.errors import LimitError, Message, NoFormula
from tp.gaussian.expectation import Expectation
from tp.limit.clauses import Families, at, provably
from tp.limit.contraction import State, contract
from tp.limit.equations import Entry, I, J, Value, Z
from tp.limit.forms import Forms
from tp.limit.integrands import even_shares, rescaled, two_bare
from tp.limit.sums import sum_over
from tp.limit.terms import Term, times
from tp.program.derivative import derivative
from tp.program.ir import Domain, MatMul, Range, Ref, Weight, spelled
from tp.program.parts import within
from tp.program.replace import replaced

Demand = Callable[[str, Ref, Ref], None]
Pair = tuple[Ref, Ref]
Both = tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr, Domain]
"""Two expressions, each followed by its sample, for indices in a domain."""

LONGEST, INSIDE = 16, 0
"""Expectations in the covariance of two unnamed products written where it is used; longer ones have equations of their own.

In a law, inside an expectation, there are none: formulas inside one another grow exponentially, and nobody can read them.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """How trained weights are read: in the NTK parametrization (``~ N(0, V)`` is sqrt(V) w at rate 1) or as written."""

    literal: bool = False

    def rate(self, weight: Weight) -> sp.Expr:
        """Coefficient of the tangent kernel's direct term per unit of ⟨x, x'⟩: (multiplier)² × rate."""
        if weight.frozen:
            return sp.S.Zero
        if weight.short and not self.literal:
            return weight.variance
        return weight.multiplier**2 * weight.rate


@dataclass
class Moments:
    """The rules. ``demand(kind, a, b)`` and ``scalar(ref)`` are called for every entry and scalar that is used.

    ``opened`` are products of a recursion that are written out: parts of the pre-activation an equation is about.
    """

    families: Families
    forms: Forms
    reading: Reading
    demand: Demand
    scalar: Callable[[Ref], sp.Expr | None]
    context: dict[sp.Symbol, Range] = field(default_factory=dict)
    opened: set[Ref] = field(default_factory=set)
    _known: dict[tuple[sp.Expr, Domain], sp.Expr] = field(default_factory=dict)
    _seconds: dict[Both, sp.Expr] = field(default_factory=dict)
    _tangents: dict[Both, sp.Expr] = field(default_factory=dict)

    # ------------------------------------------------------------ E[Z^a Z^b]

    def second(self, a: sp.Expr, s: sp.Expr, b: sp.Expr, t: sp.Expr, domain: Domain) -> sp.Expr:
        """E[Z^a(s) Z^b(t)] of two coordinatewise expressions, bilinear in their terms."""
        key = (a, s, b, t, domain)
        if key not in self._seconds:
            pairs = self._apart(self.forms.prepared(a, domain, True), self.forms.prepared(b, domain, True))
            self._seconds[key] = sp.Mul(*(self._bilinear(one, s, two, t) for one, two in pairs))
        return self._seconds[key]

    def _apart(self, left: sp.Expr, right: sp.Expr) -> list[tuple[sp.Expr, sp.Expr]]:
        """Two products as pairs of factors, each pair independent of all others: the mean is the product of their means."""
        if not (left.is_Mul or right.is_Mul):
            return [(left, right)]
        groups: list[tuple[list[Ref], sp.Expr, sp.Expr]] = []
        for factor, side in [(f, 0) for f in sp.Mul.make_args(left)] + [(f, 1) for f in sp.Mul.make_args(right)]:
            vectors = self.families.vectors(factor)
            met = [g for g in groups if any(not self.forms.letters.independent(u, v) for u in vectors for v in g[0])]
            one, two = (sp.S.One, factor) if side else (factor, sp.S.One)
            joined = (
                [*vectors, *(v for g in met for v in g[0])],
                sp.Mul(one, *(g[1] for g in met)),
                sp.Mul(two, *(g[2] for g in met)),
            )
            groups = [g for g in groups if g not in met] + [joined]
        return [(one, two) for _, one, two in groups]

    def _bilinear(self, a: sp.Expr, s: sp.Expr, b: sp.Expr, t: sp.Expr) -> sp.Expr:
        left = [self.at_sample(one, s) for one in self.forms.terms(a)]
        right = [self.at_sample(two, t) for two in self.forms.terms(b)]
        return sp.Add(*(self.average(times(ta, tb)) for ta in left for tb in right))

    def mean(self, a: sp.Expr, s: sp.Expr, domain: Domain) -> sp.Expr:
        """E[Z^a(s)]."""
        return sp.Add(*(self.average(self.at_sample(t, s)) for t in self.forms.terms(self.forms.prepared(a, domain, True))))

    def at_sample(self, term: Term, s: sp.Expr) -> Term:
        return Term(self.scalars_at(term.coef, s), self.variables_at(term.core, s), term.bounds)

    def scalars_at(self, expr: sp.Expr, s: sp.Expr) -> sp.Expr:
        """Scalars and data of one sample in place of their names."""
        swap = {}
        for ref in within(expr, Ref):
            if ref.name in self.families.data:
                swap[ref] = Value("data", ref, s)
            elif self.families.is_scalar(ref):
                known = self.scalar(ref)
                swap[ref] = Value("theta", ref, s) if known is None else known
        return even_shares(replaced(expr, swap)) if swap else expr

    def variables_at(self, expr: sp.Expr, s: sp.Expr) -> sp.Expr:
        expr = self.scalars_at(expr, s)
        return replaced(expr, {r: Z(r, s) for r in self.families.vectors(expr)})

    # ------------------------------------------------------------ Θ

    def tangent(self, a: sp.Expr, s: sp.Expr, b: sp.Expr, t: sp.Expr, domain: Domain) -> sp.Expr:
        """Mean over coordinates of Σ_params rate ∂a_α(s) ∂b_α(t): Σ_gh E[∂_g a ∂_h b] Θ(g, h).

        Source: Yang 2020, *Tensor Programs II*, Theorem (NTK of any architecture), in forward form.
        """
        key = (a, s, b, t, domain)
        if key not in self._tangents:
            pairs = self._apart(self.forms.prepared(a, domain, False), self.forms.prepared(b, domain, False))
            self._tangents[key] = sp.Add(*(self._tangent_factor(k, pairs, s, t, domain) for k in range(len(pairs))))
        return self._tangents[key]

    def _tangent_factor(self, k: int, pairs: list[tuple[sp.Expr, sp.Expr]], s: sp.Expr, t: sp.Expr, domain: Domain) -> sp.Expr:
        """The tangent of the ``k``-th of independent pairs, times the means of the others."""
        left = self._derivatives(pairs[k][0], s, domain)
        right = self._derivatives(pairs[k][1], t, domain)
        value = sp.Add(
            *(
                self._tangent_term(ga, ta, gb, tb)
                for ga, ta in left
                for gb, tb in right
                if not self.forms.letters.independent(ga.a, gb.a)
            )
        )
        if value == 0:
            return sp.S.Zero
        others = (tuple(map(self.forms.constants, pair)) for i, pair in enumerate(pairs) if i != k)
        return value * sp.Mul(*(self._bilinear(one, s, two, t) for one, two in others))

    def _tangent_term(self, ga: Z, ta: Term, gb: Z, tb: Term) -> sp.Expr:
        """One product of derivatives; the vectors differentiated by travel with their term's bound indices."""
        if ta.coef == 0 or tb.coef == 0:
            return sp.S.Zero
        tag_a, tag_b = _Tag(ga), _Tag(gb)
        product = times(Term(ta.coef * tag_a, ta.core, ta.bounds), Term(tb.coef * tag_b, tb.core, tb.bounds))
        tags = sorted(product.coef.atoms(_Tag), key=lambda g: (g.args[0].s != ga.s, str(g)))
        if len(tags) == 1:  # the same vector at the same sample
            tags = tags * 2
        first = next(g for g in tags if g.args[0].s == ga.s)
        other = next((g for g in tags if g is not first and g != first), first)
        coef = product.coef / (first * other)
        return self.average(Term(coef, product.core, product.bounds), (first.args[0], other.args[0]))

    def _derivatives(self, a: sp.Expr, s: sp.Expr, domain: Domain) -> list[tuple[Z, Term]]:
        """(g, ∂a/∂g) for every Gaussian (or weight, or recursive vector) g that ``a``, prepared, depends on."""
        found = []
        for term in self.forms.terms(a):
            inner = domain + term.bounds
            for g in self.families.vectors(term.core):
                constant, varying = term.core.as_independent(g, as_Add=False)
                slope = constant * derivative(varying, g)  # not multiplied out
                if slope.has(sp.DiracDelta):
                    raise LimitError(
                        Message(
                            self.families.span(g.name),
                            f"`{term.core}` jumps and its derivative is not square integrable, so the tangent kernel is infinite",
                            "use a continuous activation, or ask for nngp()",
                            "no finite NTK",
                        )
                    )
                for piece in self.forms.terms(self.forms.prepared(slope, inner, True)):
                    piece = self.at_sample(piece, s)
                    found.append(
                        (Z(g, s), Term(self.scalars_at(term.coef, s) * piece.coef, piece.core, term.bounds + piece.bounds))
                    )
        return found

    # ------------------------------------------------------------ averages of one term

    def average(self, term: Term, theta: tuple[Z, Z] | None = None) -> sp.Expr:
        """Σ_bounds coef · [Θ(g, h)] · E[core], with the sums that meet fresh weights contracted first."""
        deltas: list[sp.Expr] = []
        state = State(term.coef, term.core, list(term.bounds), theta)
        while True:
            meeting = self._meeting(state, deltas)
            if meeting is None:
                break
            if not contract(state, meeting, deltas, self.context):
                return sp.S.Zero
        value = state.coef * sp.Mul(*deltas) * self._theta(state.theta) * self.expectation(state.core)
        return sum_over(value, state.bounds)

    def _meeting(self, state: State, done: list[sp.Expr]) -> tuple[sp.Expr, sp.Expr] | None:
        """An index pair that must coincide because a fresh weight stands on both sides."""
        pairs = [(state.theta[0].a, state.theta[1].a)] if state.theta else []
        pairs += [(a.a, b.a) for a, b in self._bare_pairs(state.core)]
        for a, b in pairs:
            for e1, e2 in zip(*self._weight_indices(a, b), strict=True):
                if sp.expand(e1 - e2) != 0 and sp.KroneckerDelta(e1, e2) not in done:
                    return e1, e2
        return None

    def _weight_indices(self, a: Ref, b: Ref) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
        """The weight indices behind two Gaussians that are correlated only when those coincide."""
        if a.name in self.families.clauses and b.name in self.families.clauses:
            one, two = self.matmul(a), self.matmul(b)
            if one and two and one[0].W.name == two[0].W.name:
                return tuple(at(e, one[1]) for e in one[0].W.index), tuple(at(e, two[1]) for e in two[0].W.index)
        elif a.name == b.name and len(a.index) == len(b.index):
            return a.index, b.index
        return (), ()

    def matmul(self, ref: Ref) -> tuple[MatMul, dict[sp.Symbol, sp.Expr]] | None:
        """The MatMul behind a temporary; a vector with a name of its own keeps its own equation."""
        if ref.name not in self.forms.temps:
            return None
        clause, binding = self.families.covering(ref)[0]
        return (clause.ins, binding) if isinstance(clause.ins, MatMul) else None

    def _theta(self, pair: tuple[Z, Z] | None) -> sp.Expr:
        return sp.S.One if pair is None else self.theta(pair[0].a, pair[0].s, pair[1].a, pair[1].s)

    # ------------------------------------------------------------ pairs of Gaussians

    def cov(self, a: Ref, s: sp.Expr, b: Ref, t: sp.Expr, inside: bool = False) -> sp.Expr:
        """Cov(Z^a(s), Z^b(t)): δ σ² E[xx'] for two MatMuls by one matrix, δ V for weights, an Entry where a name is kept.

        ``inside`` an expectation it is no formula that holds another one. Source: Yang 2020, *Tensor Programs III*, rule ZHat.
        """
        return self._pair("K", a, s, b, t, INSIDE if inside else LONGEST)

    def theta(self, a: Ref, s: sp.Expr, b: Ref, t: sp.Expr) -> sp.Expr:
        """Θ(a, b): the direct term of the shared weight plus what flows through it.

        Source: Yang 2020, *Tensor Programs II*; W and Wᵀ of the backward pass independent (gradient independence).
        """
        return self._pair("Theta", a, s, b, t, LONGEST)

    def _pair(self, kind: str, a: Ref, s: sp.Expr, b: Ref, t: sp.Expr, longest: int) -> sp.Expr:
        computed = a.name in self.families.clauses, b.name in self.families.clauses
        if not any(computed):
            return self._weights(kind, a, b)
        if self.forms.letters.independent(a, b):
            return sp.S.Zero
        one, two = (self.matmul(r) if c else None for r, c in zip((a, b), computed, strict=True))
        if one and two and {r for r in (a, b) if r.name in self.forms.carried} <= self.opened:
            value = self.matmuls(kind, one, s, two, t)
            if not _long(value, longest):
                return value
        return self.entry(kind, a, s, b, t)

    def _weights(self, kind: str, a: Ref, b: Ref) -> sp.Expr:
        if a.name != b.name or len(a.index) != len(b.index):
            return sp.S.Zero
        delta = sp.Mul(*(sp.KroneckerDelta(e, f) if sp.expand(e - f) != 0 else 1 for e, f in zip(a.index, b.index, strict=True)))
        weight = self.families.weight(a)
        binding = self.families.binding(weight, a)
        size = self.reading.rate(weight) if kind == "Theta" else weight.multiplier**2 * weight.variance
        return delta * self.families.natural(at(size, binding))

    def matmuls(
        self,
        kind: str,
        one: tuple[MatMul, dict[sp.Symbol, sp.Expr]],
        s: sp.Expr,
        two: tuple[MatMul, dict[sp.Symbol, sp.Expr]],
        t: sp.Expr,
    ) -> sp.Expr:
        """Two MatMuls: σ² E[xx'], and for Θ  rate·n E[xx'] + σ² Θ(x, x'); 0 for different matrices."""
        (i1, b1), (i2, b2) = one, two
        if i1.W.name != i2.W.name or i1.transpose != i2.transpose:
            return sp.S.Zero
        W1, W2 = at(i1.W, b1), at(i2.W, b2)
        delta = sp.S.One
        for e, f in zip(W1.index, W2.index, strict=True):
            if provably(e - f, 1) or provably(f - e, 1):
                return sp.S.Zero
            delta *= sp.KroneckerDelta(e, f) if sp.expand(e - f) != 0 else 1
        weight = self.families.weight(W1, matrix=True)
        binding = self.families.binding(weight, W1)
        fan = weight.rows if i1.transpose else weight.cols
        assert fan is not None
        x1, x2 = at(i1.x, b1), at(i2.x, b2)
        domain = tuple(self.context.values())
        sigma2 = self.families.natural(at(weight.multiplier**2 * weight.variance, binding) * fan.size)
        self._finite(sigma2, i1, weight)
        if kind == "K":
            return delta * sigma2 * self.second(x1, s, x2, t, domain)
        rate = self.families.natural(at(self.reading.rate(weight), binding) * fan.size)
        direct = rate * self.second(x1, s, x2, t, domain) if rate != 0 else sp.S.Zero
        return delta * (direct + sigma2 * self.tangent(x1, s, x2, t, domain))

    def _finite(self, sigma2: sp.Expr, ins: MatMul, weight: Weight) -> None:
        widths = sigma2.free_symbols & set().union(*(space.size.free_symbols for space in self.families.program.spaces))
        if widths:
            n = sorted(widths, key=str)[0]
            raise LimitError(
                Message(
                    ins.span,
                    f"the coordinates of `{ins.out}` have variance proportional to `{sigma2}`, which has no limit as {n} grows",
                    f"give `{weight.ref}` a variance proportional to 1/{weight.rows if ins.transpose else weight.cols}",
                    "no Θ(1) limit",
                )
            )

    def entry(self, kind: str, a: Ref, s: sp.Expr, b: Ref, t: sp.Expr) -> Entry:
        """A kernel entry in canonical order (names sorted; sample i before j), reported to ``demand``."""
        if (b.name, s == J, _order(b)) < (a.name, t == J, _order(a)) if s != t else (b.name, _order(b)) < (a.name, _order(a)):
            a, s, b, t = b, t, a, s
        if a.name == b.name and (s, t) == (J, I):
            a, s, b, t = b, t, a, s
        self.demand(kind, a, b)
        return Entry(kind, a, b, s, t)

    # ------------------------------------------------------------ expectations

    def _bare_pairs(self, core: sp.Expr) -> list[tuple[Z, Z]]:
        """Pairs of bare factors that meet only each other: E of the two is their covariance."""
        groups = self._groups(core)
        return [pair for group in groups if (pair := two_bare(group)) is not None]

    def _groups(self, core: sp.Expr) -> list[sp.Expr]:
        """The factors of a product, multiplied together as far as they are correlated."""
        groups: list[tuple[set[Z], sp.Expr]] = []
        for factor in sp.Mul.make_args(core):
            atoms = within(factor, Z)
            joined = [g for g in groups if atoms and any(self._correlated(u, v) for u in atoms for v in g[0])]
            groups = [g for g in groups if g not in joined]
            merged = (atoms.union(*(g[0] for g in joined)), factor * sp.Mul(*(g[1] for g in joined)))
            groups.append(merged)
        return [expr for _, expr in groups]

    def _correlated(self, u: Z, v: Z) -> bool:
        return u == v or not self.forms.letters.independent(u.a, v.a)

    def expectation(self, core: sp.Expr) -> sp.Expr:
        """E[core]: independent groups factor; a pair of bare Gaussians is a covariance; the rest is an Expectation."""
        key = (core, tuple(self.context.values()))
        if key not in self._known:
            self._known[key] = self._expectation(core)
        return self._known[key]

    def _expectation(self, core: sp.Expr) -> sp.Expr:
        result = sp.S.One
        for group in self._groups(core):
            result *= self._group(group)
            if result == 0:
                return sp.S.Zero
        return result

    def _group(self, group: sp.Expr) -> sp.Expr:
        atoms = sorted(within(group, Z), key=lambda z: (spelled(z.s), spelled(z.a)))
        if not atoms:
            return group
        recursive = [z for z in atoms if self._recursive(z.a)]
        pair = two_bare(group)
        if recursive:
            return self._recursive_moment(group, atoms, pair)
        if group in atoms:
            return sp.S.Zero
        if pair is not None:
            return self.cov(pair[0].a, pair[0].s, pair[1].a, pair[1].s)
        integrand, scale = rescaled(group, atoms)
        n = len(atoms)
        cov = [[sp.S.Zero] * n for _ in atoms]
        for i in range(n):
            for j in range(i, n):
                entry = self.cov(atoms[i].a, atoms[i].s, atoms[j].a, atoms[j].s, inside=True)
                cov[i][j] = cov[j][i] = scale[atoms[i]] * scale[atoms[j]] * entry
        live = [i for i in range(n) if cov[i][i] != 0]
        integrand = integrand.xreplace({atoms[i]: sp.S.Zero for i in range(n) if cov[i][i] == 0})
        if not live:
            return integrand
        return Expectation(integrand, [atoms[i] for i in live], [[cov[i][j] for j in live] for i in live])

    def _recursive(self, ref: Ref) -> bool:
        return ref.name in self.forms.recursive and ref.name not in self.forms.gaussian

    def _recursive_moment(self, group: sp.Expr, atoms: list[Z], pair: tuple[Z, Z] | None) -> sp.Expr:
        """Moments of a vector that is recursive but not Gaussian get their own recursion."""
        if group in atoms:
            self.demand("m", group.a, group.a)
            return Value("m", group.a, group.s)
        if pair is not None and self._recursive(pair[0].a) and self._recursive(pair[1].a):
            return self.entry("S", pair[0].a, pair[0].s, pair[1].a, pair[1].s)
        ref = next(z.a for z in atoms if self._recursive(z.a))
        reason = (
            f"`{ref}` is carried on without a weight matrix, times functions that depend on its past: it is not Gaussian,"
            " and its moments need the joint law of all steps"
        )
        remedy = (
            f"has its numbers, by nodes; for formulas apply a weight matrix to `{ref}`, `W @ {ref}`, or give all that"
            f" `{ref.name}` is made of at a step, gates and candidate, weights of each step's own"
        )
        texts = (reason, f"net.kernel() {remedy}", "no closed recursion", f"`tp gram` {remedy}")
        raise NoFormula(Message(self.families.recursion(ref.name), *texts))


def _long(value: sp.Expr, longest: int) -> bool:
    """Whether a formula holds more than so many expectations: then it is an equation of its own."""
    found = (e for e in sp.preorder_traversal(value) if isinstance(e, Expectation))
    return next(islice(found, longest, None), None) is not None


class _Tag(sp.Expr):
    """Carries the vector differentiated by through the renaming of bound indices."""

    is_commutative = True

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.args[0].free_symbols


def _order(ref: Ref) -> str:
    return spelled(ref)
