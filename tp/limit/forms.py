"""Vectors in terms of Gaussians: what stays a name, what is unfolded, what gets a name.

Three forms of a coordinatewise expression:

- *unfolded*: in Gaussian vectors, weights around their mean, and scalars only;
- *prepared*: the arguments of nonlinearities are single Gaussians, a new name standing for an affine
  combination of several (the pre-activation ``e[t] + o[t]`` of an attention block, say);
- *valued*: prepared, with weights that start constant put at that constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message, NoFormula, Span
from tp.gaussian.functions import rectified, relu
from tp.limit.alike import same_up_to_indices
from tp.limit.clauses import Clause, Families, at
from tp.limit.integrands import in_units, slope, unit
from tp.limit.letters import LetterTable
from tp.limit.recursion import is_factor, misses, read_beyond, recursive
from tp.limit.terms import Term, TooMany, terms
from tp.program.ir import Domain, MatMul, Moment, Nonlin, Range, Ref, Softmax, Sum
from tp.program.parts import parts, within
from tp.program.replace import rebuilt, replaced

FEW = 16
"""Terms that a product of functions of one Gaussian is multiplied out to, at most: it is a function of one Gaussian itself."""
HIGHEST = 2
"""Powers of a sum over an index that are multiplied out; the number of their terms' indices grows with the power."""


class Ambiguous(Exception):
    """Several clauses may define a vector that has to be unfolded; split the equation at ``index == value``."""

    def __init__(self, index: sp.Symbol, value: sp.Expr) -> None:
        super().__init__(f"{index} = {value}")
        self.index, self.value = index, value


@dataclass
class Forms:
    """Forms of a program's vectors; remembers the names it has introduced.

    ``span`` is the place of the spec that is being read, which names given there belong to.
    """

    families: Families
    temps: frozenset[str]
    chained: bool = False
    letters: LetterTable = field(init=False)
    gaussian: set[str] = field(init=False)
    vanishing: set[str] = field(init=False, default_factory=set)
    recursive: set[str] = field(init=False)
    links: set[str] = field(init=False)
    carried: set[str] = field(init=False)
    named: list[tuple[Ref, sp.Expr, Domain]] = field(default_factory=list)
    _memo: dict[tuple[sp.Expr, Domain, bool], sp.Expr] = field(default_factory=dict)
    span: Span = NOWHERE
    _weights_in: dict[Ref, tuple[frozenset[str], bool]] = field(default_factory=dict)
    _known_affine: dict[tuple[sp.Expr, Ref], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recursive = recursive(self.families)
        self.letters = LetterTable(self.families)
        self.gaussian = self._gaussian_families()
        self.recursive |= read_beyond(self.families) - self.temps
        self.links = self._chain() if self.chained else set()
        self.recursive |= self.links
        self.carried = self._carried()

    # ------------------------------------------------------------ which vectors are Gaussian

    def has_vector(self, expr: sp.Basic) -> bool:
        return any(isinstance(r, Ref) and self.families.is_vector(r) for r in parts(expr))

    def terms(self, expr: sp.Expr) -> list[Term]:
        return terms(expr, self.has_vector, self._one_function)

    def _one_function(self, expr: sp.Basic) -> bool:
        """Whether a sum is a nonlinear function of one Gaussian, of one over a scalar such as its norm, or of one product.

        So is a product that would be many terms.
        """
        if expr.has(sp.Sum) or not (isinstance(expr, sp.Add) or _many(expr)):
            return False
        if self._one_product(expr):
            return True
        refs = within(expr, Ref)
        scalars = {r for r in refs if self.families.is_scalar(r)}
        if len(refs) != len(scalars) + 1:
            return False
        (ref,) = refs - scalars
        if not self._stays(ref) or self._recursive_sum(ref):
            return False
        if not isinstance(expr, sp.Add):
            return True
        if self._affine(expr, ref):
            return False
        c = unit(expr, ref) if scalars else None
        return not scalars or (c is not None and not in_units(expr, ref, c).has(*scalars))

    def _one_product(self, expr: sp.Basic) -> bool:
        """Whether it is a function of one product of Gaussians: ``1 - tanh(g*h)^2``, which multiplied out says less."""
        arguments = {f.args for f in expr.atoms(sp.Function) if self.has_vector(f)}
        if len(arguments) != 1:
            return False
        (argument, *more) = arguments.pop()
        return not more and argument.is_Mul and not self.has_vector(expr.xreplace({argument: sp.Dummy()}))

    def _affine(self, expr: sp.Expr, ref: Ref) -> bool:
        if (expr, ref) not in self._known_affine:
            c = slope(expr, ref)
            self._known_affine[expr, ref] = c is not None and bool(c.is_number)
        return self._known_affine[expr, ref]

    def _recursive_sum(self, ref: Ref) -> bool:
        return ref.name in self.recursive and ref.name not in self.gaussian

    def affine(self, expr: sp.Expr) -> list[Term] | None:
        """``expr`` as a combination of bare vectors and a constant (core 1); None when it is none."""
        try:
            found = self.terms(expr)
        except TooMany:
            return None
        return found if all(t.core == 1 or isinstance(t.core, Ref) for t in found) else None

    def centred(self, ref: Ref) -> bool:
        """Whether ``ref`` is a centred Gaussian that keeps its name."""
        if ref.name in self.families.clauses:
            return ref.name in self.gaussian
        return self.families.weight(ref).mean == 0

    def _gaussian_families(self) -> set[str]:
        """Families all of whose clauses are MatMuls or linear in centred Gaussians: the greatest fixed point."""
        clauses = self.families.clauses
        self.gaussian = {n for n in clauses if self.families.space(n) is not None and self._may_keep_name(n)}
        while True:
            self.vanishing = self._vanishing_averages()
            keep = {n for n in self.gaussian if all(self._linear(c) for c in clauses[n])}
            if keep == self.gaussian:
                return keep
            self.gaussian = keep

    def _chain(self) -> set[str]:
        """Links of a chain ``h3 = (1 - g) * h2 + …`` written out line by line, which a loop would carry on as they are.

        They are made of vectors like themselves, and multiplied by others, but stand in no function, nor does what they are part
        of; and each is independent of what it is added to or multiplied by, for else its moments need the joint law of both.
        """
        reads: dict[str, list[str]] = {}
        bodies = {name: self._bodies(name) for name in self.families.clauses if name not in self.temps}
        for name, written in bodies.items():
            for body in written:
                for ref in self.families.vectors(body):
                    if ref.name in self.families.clauses and ref.name not in self.gaussian | self.recursive:
                        reads.setdefault(ref.name, []).append(name if is_factor(body, ref) else "")
        links = {name: set(by) for name, by in reads.items() if "" not in by}
        while unfolded := {name for name, by in links.items() if by & (reads.keys() - links.keys())}:
            links = {name: by for name, by in links.items() if name not in unfolded}
        found = {name for name, by in links.items() if by & links.keys() or any(name in others for others in links.values())}
        return found if all(self._closes(body, found) for written in bodies.values() for body in written) else set()

    def _bodies(self, name: str) -> list[sp.Expr]:
        """What a family's members are made of, without temporaries."""
        return [self._unfold_temps(c.expr) for c in self.families.clauses[name] if not isinstance(c.ins, MatMul)]

    def _closes(self, body: sp.Expr, links: set[str]) -> bool:
        """Whether second moments of ``body`` are made of those of links, and of means independent of them."""
        vectors = self.families.vectors(body)
        carried = [r for r in vectors if r.name in links]
        others = [r for r in vectors if r.name not in links | self.recursive]
        return all(self.letters.independent(r, other) for r in carried for other in others)

    def _carried(self) -> set[str]:
        """Products without a name, ``W[l] @ h[l-1]``, that a loop leads back to through no Gaussian that has one.

        They are what the recursion is about: ``h[l] = relu(W[l] @ h[l-1])``.
        """
        named = self.gaussian - self.temps
        products = {
            n for n, cs in self.families.clauses.items() if n in self.temps and all(isinstance(c.ins, MatMul) for c in cs)
        }
        return recursive(self.families, leave=named) & products

    def _may_keep_name(self, name: str) -> bool:
        """A temporary that is merely linear is unfolded; MatMuls and what the user named keep their names."""
        return name not in self.temps or all(isinstance(c.ins, MatMul) for c in self.families.clauses[name])

    def _vanishing_averages(self) -> set[str]:
        """Scalars that average a combination of centred Gaussians, such as the mean in a layernorm: their limit is 0.

        They average over the width, so their fluctuations are of order n^(-1/2).
        """
        found: set[str] = set()
        for name, clauses in self.families.clauses.items():
            if all(isinstance(c.ins, Moment) and not c.ins.coeff.free_symbols for c in clauses) and all(
                self._linear(c, found) for c in clauses
            ):
                found.add(name)
        return found

    def without_vanishing(self, expr: sp.Expr, names: set[str] | None = None) -> sp.Expr:
        """``expr`` with the scalars that vanish put at 0."""
        zero = {r: sp.S.Zero for r in within(expr, Ref) if r.name in (self.vanishing if names is None else names)}
        return expr.xreplace(zero) if zero else expr

    def _linear(self, clause: Clause, vanishing: set[str] | None = None) -> bool:
        if isinstance(clause.ins, MatMul):
            return True
        unfolded = self.without_vanishing(self._unfold_temps(clause.expr), vanishing)
        found = self.affine(unfolded)
        return found is not None and all(t.core != 1 and self.centred(t.core) for t in found)

    def _unfold_temps(self, expr: sp.Expr) -> sp.Expr:
        for _ in range(50):
            swap = {}
            for ref in self.families.vectors(expr):
                if ref.name in self.temps and not isinstance(self.families.clauses[ref.name][0].ins, MatMul):
                    clause, binding = self.families.covering(ref)[0]
                    swap[ref] = at(clause.expr, binding)
            if not swap:
                return expr
            expr = replaced(expr, swap)
        return expr

    # ------------------------------------------------------------ unfolding

    def unfolded(self, expr: sp.Expr, values: bool = True, domain: Domain = ()) -> sp.Expr:
        """``expr``, for indices in ``domain``, in centred Gaussians.

        A vector that is not Gaussian but recursive, or read beyond its range, stays: its moments get equations of their own.
        """
        expr = self.without_vanishing(expr)
        for _ in range(200):
            known = _ranges(expr, domain)
            swap = {r: self._definition(r, values, known) for r in self.families.vectors(expr) if not self._stays(r)}
            swap = {r: e for r, e in swap.items() if e != r}
            if not swap:
                return expr
            sums = [r for r, e in swap.items() if e.has(sp.Sum)]
            expr = self.without_vanishing(replaced(rectified(expr, sums), swap))
        raise AssertionError("unfolding does not end")

    def _stays(self, ref: Ref) -> bool:
        if ref.name in self.families.clauses:
            return ref.name in self.gaussian or ref.name in self.recursive
        return isinstance(ref, Deviation) or self.centred(ref)

    def _definition(self, ref: Ref, values: bool, domain: Domain) -> sp.Expr:
        if ref.name not in self.families.clauses:
            weight = self.families.weight(ref)
            binding = self.families.binding(weight, ref)
            return at(weight.multiplier * weight.mean, binding) + Deviation(ref.args[0], *ref.index)
        covering = [(c, b) for c, b in self.families.covering(ref) if not misses(c.out, ref, domain)]
        if len(covering) > 1:
            raise _ambiguity(ref, covering)
        if not covering:
            span = self.families.span(ref.name)
            raise LimitError(Message(span, f"nothing defines `{ref}`", "give a base case", "undefined index"))
        clause, binding = covering[0]
        try:
            return at(self.clause_form(clause, values), binding)
        except Ambiguous:  # in general, though perhaps not at this index
            return at(clause.expr, binding)

    def clause_form(self, clause: Clause, values: bool) -> sp.Expr:
        """The prepared form of a clause, in its own indices: names are given once, with the clause's ranges."""
        asked, self.span = self.span, clause.ins.span
        try:
            return self.prepared(clause.expr, clause.domain, values)
        finally:
            self.span = asked

    def weights_in(self, clause: Clause) -> tuple[frozenset[str], bool]:
        """Names of the weights that stand in a definition as vectors, and whether no other vectors do."""
        if clause.out not in self._weights_in:
            names = {r.name for r in self.families.vectors(self._unfold_temps(clause.expr))}
            found = frozenset(names - self.families.clauses.keys())
            self._weights_in[clause.out] = found, bool(found) and found == names
        return self._weights_in[clause.out]

    # ------------------------------------------------------------ names for arguments of nonlinearities

    def prepared(self, expr: sp.Expr, domain: Domain, values: bool) -> sp.Expr:
        """Unfolded, with one Gaussian per nonlinearity's argument; ``values`` puts constant weights at their constant."""
        key = (expr, domain, values)
        if key not in self._memo:
            unfolded = self.unfolded(expr, values, domain)
            self._memo[key] = self._named_arguments(self.constants(unfolded) if values else unfolded, domain)
        return self._memo[key]

    def constants(self, expr: sp.Expr) -> sp.Expr:
        """Weights that do not vary at initialization, put at their value (their deviation at 0)."""
        swap = {}
        for ref in self.families.vectors(expr):
            if (
                ref.name in self.families.weights
                and ref.name not in self.families.clauses
                and self.families.weight(ref).variance == 0
            ):
                swap[ref] = sp.S.Zero
        return expr.xreplace(swap) if swap else expr

    def _named_arguments(self, expr: sp.Expr, domain: Domain) -> sp.Expr:
        if not expr.args or isinstance(expr, (Ref, Softmax)) or not self.has_vector(expr):
            return expr
        if isinstance(expr, sp.Sum):
            inner = domain + tuple(Range(s, lo, hi) for s, lo, hi in expr.limits)
            return Sum(self._named_arguments(expr.function, inner), *expr.limits)
        if isinstance(expr, (sp.Add, sp.Mul)) or _power(expr):
            expr = self._named_sums(expr, domain) if _degree(expr) > HIGHEST else expr
            args = [self._named_arguments(a, domain) for a in expr.args]
            if isinstance(expr, sp.Add):
                return rebuilt(expr, [self._whole(a, args, domain) for a in args])
            return rebuilt(expr, [self._by_name(a, args) for a in args] if expr.is_Mul else args)
        if self._is_ramp(expr):
            low, high = sorted(expr.args, key=lambda a: (a.count_ops(), a.sort_key()))
            ramp, first = relu(self._argument(high - low, domain)), low if isinstance(expr, sp.Max) else high
            return self._argument(first, domain) + (ramp if first is low else -ramp)
        return rebuilt(expr, [self._argument(a, domain) for a in expr.args])

    def _is_ramp(self, expr: sp.Expr) -> bool:
        """Whether it is ``max(u, v) = u + relu(v - u)`` or ``min(u, v) = v - relu(v - u)`` of two combinations of Gaussians.

        Terms of one Gaussian each have laws, functions of two at once have not.
        """
        if not (isinstance(expr, (sp.Max, sp.Min)) and len(expr.args) == 2 and len(self.families.vectors(expr)) > 1):
            return False
        return all(self.has_vector(a) and self.affine(a) is not None for a in expr.args)

    def _named_factors(self, expr: sp.Expr, domain: Domain) -> sp.Expr:
        """A polynomial inside a nonlinearity, ``log(1 + (W @ h + b)^2)``: it is not multiplied out, its factors get names."""
        if isinstance(expr, sp.Add):
            return rebuilt(expr, [self._named_factors(a, domain) for a in expr.args])
        if isinstance(expr, sp.Mul) or _power(expr):
            return rebuilt(expr, [self._argument(a, domain) for a in expr.args])
        return self._named_arguments(expr, domain)

    def _named_sums(self, expr: sp.Expr, domain: Domain) -> sp.Expr:
        """A polynomial of sums over an index, ``(1 + U @ x)^4``, as one of single Gaussians."""
        if isinstance(expr, sp.Sum):
            return self._argument(expr, domain)
        if isinstance(expr, (sp.Add, sp.Mul)) or _power(expr):
            return rebuilt(expr, [self._named_sums(a, domain) for a in expr.args])
        return expr

    def _argument(self, arg: sp.Expr, domain: Domain) -> sp.Expr:
        """An argument that combines several Gaussians becomes a name, plus what is deterministic in it."""
        if not self.has_vector(arg):
            return arg
        found = self.affine(arg)
        if found is None:
            return self._named_factors(arg, domain)
        linear = [t for t in found if t.core != 1]
        for t in linear:
            if t.core.name in self.recursive and t.core.name not in self.gaussian:
                carried = t.core.name in recursive(self.families) | self.links
                what = "carried on" if carried else "read beyond its range"
                reason = f"`{t.core}` is not Gaussian and {what}, and stands in a nonlinearity: its second moments do not suffice"
                remedy = f"has its numbers, by nodes; for formulas put a matrix between `{t.core.name}` and the nonlinearity"
                texts = (reason, f"net.kernel() {remedy}", "no closed recursion", f"`tp gram` {remedy}")
                raise NoFormula(Message(self.families.recursion(t.core.name), *texts))
        if len(linear) == 1 and not linear[0].bounds:
            return arg
        constant = sp.Add(*(_total(t) for t in found if t.core == 1))
        return self._name(linear, domain) + constant

    def _by_name(self, factor: sp.Expr, factors: list[sp.Expr]) -> sp.Expr:
        """The sum in ``(b + W @ h) * sigmoid(b + W @ h)``, or in ``U @ x``, is what the function beside it is of."""
        base, power = (factor.base, factor.exp) if _power(factor) else (factor, sp.S.One)
        found = self.affine(base) if isinstance(base, sp.Add | sp.Sum) else None
        linear = [t for t in found or () if t.core != 1]
        name = self._known(linear) if linear else None
        if found is None or name is None or not any(f.has(*name.atoms(Ref)) for f in factors):
            return factor
        return (name + sp.Add(*(_total(t) for t in found if t.core == 1))) ** power

    def _whole(self, term: sp.Expr, terms: list[sp.Expr], domain: Domain) -> sp.Expr:
        """``U @ x`` in ``U @ x + relu(A @ x - U @ x)`` is one Gaussian, for a function beside it has met the columns of U."""
        if not isinstance(term, sp.Sum) or self.affine(term) is None:
            return term
        met = {v for other in terms if not other.is_Add for f in other.atoms(sp.Function) for v in self._columns(f)}
        return self._argument(term, domain) if met.intersection(self._columns(term)) else term

    def _columns(self, expr: sp.Expr) -> set[str]:
        """The weights that Gaussians are made of, by name."""
        found: set[str] = set()
        for ref in self.families.vectors(expr):
            made = [e for name, e, _ in self.named if name.name == ref.name]
            found |= set().union(*map(self._columns, made)) if made else {ref.name}
        return found

    def _known(self, combination: list[Term]) -> sp.Expr | None:
        """The name of a combination of Gaussians, or a multiple of the name that a multiple of it has."""
        linear = sp.Add(*(_total(t) for t in combination))
        for ref, expr, _ in self.named:
            if _names(expr) != _names(linear):
                continue
            for c in dict.fromkeys(t.number / combination[0].number for t in self.affine(expr) or ()):
                found = same_up_to_indices(ref, expr, sp.Add(*(_total(t, c) for t in combination)))
                if found is not None:
                    return found / c
        return None

    def _name(self, combination: list[Term], domain: Domain) -> sp.Expr:
        known = self._known(combination)
        if known is not None:
            return known
        linear = sp.Add(*(_total(t) for t in combination))
        index = tuple(r.index for r in domain if r.index in linear.free_symbols)
        number = len({r.name for r, _, _ in self.named}) + 1
        taken = self.families.clauses.keys() | self.families.weights.keys() | self.families.data
        name = next(n for n in (f"u{k}" for k in range(number, 10**6)) if n not in taken)
        ref, ranges = Ref(name, *index), tuple(r for r in domain if r.index in linear.free_symbols)
        first = self.families.vectors(linear)[0]
        space = self.families.space(first.name, len(first.index))
        self.families.clauses[name] = [Clause(Nonlin(ref, linear, space, ranges, self.span), ranges)]
        self.gaussian.add(name)
        self.named.append((ref, linear, ranges))
        self.letters.add(name)
        return ref


def _many(expr: sp.Basic) -> bool:
    """Whether a product is more terms multiplied out than anyone reads."""
    return isinstance(expr, sp.Mul) and math.prod(len(f.args) for f in expr.args if isinstance(f, sp.Add)) > FEW


def _power(expr: sp.Expr) -> bool:
    return isinstance(expr, sp.Pow) and bool(expr.exp.is_Integer) and bool(expr.exp > 0)


def _degree(expr: sp.Expr) -> int:
    """The highest power of a sum over an index in a polynomial."""
    if isinstance(expr, sp.Sum):
        return 1
    if isinstance(expr, (sp.Add, sp.Mul)):
        return max(map(_degree, expr.args))
    return int(expr.exp) * _degree(expr.base) if _power(expr) else 0


class Deviation(Ref):
    """A weight minus the mean it starts with; a centred Gaussian, or 0."""


def _names(expr: sp.Expr) -> set[str]:
    return {r.name for r in expr.atoms(Ref)}


def _total(term: Term, times: sp.Expr = sp.S.One) -> sp.Expr:
    body = times * term.coef * term.core
    return Sum(body, *((r.index, r.lo, r.hi) for r in reversed(term.bounds))) if term.bounds else body


def _ranges(expr: sp.Expr, domain: Domain) -> Domain:
    """The ranges of the indices of ``expr``, those of its sums included; an index that has several is left out."""
    sums = sorted(expr.atoms(sp.Sum), key=str)
    ranges = dict.fromkeys((*domain, *(Range(*limit) for total in sums for limit in reversed(total.limits))))
    return tuple(r for r in ranges if sum(r.index == other.index for other in ranges) == 1)


def _ambiguity(ref: Ref, covering: list[tuple[Clause, dict[sp.Symbol, sp.Expr]]]) -> Exception:
    """Where to split so that one clause is left: at the index that a constant slot asks for."""
    for clause, _ in covering:
        for slot, e in zip(clause.out.index, ref.index, strict=True):
            if slot.is_number and not e.is_number:
                symbols = sorted(e.free_symbols, key=str)
                if len(symbols) == 1 and e.coeff(symbols[0]) in (1, -1):
                    solution = sp.solve(e - slot, symbols[0])
                    return Ambiguous(symbols[0], solution[0])
    span = covering[0][0].ins.span
    return LimitError(
        Message(span, f"several definitions may give `{ref}`", "write the ranges so that one applies", "ambiguous index")
    )
