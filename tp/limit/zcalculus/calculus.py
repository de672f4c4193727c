"""The rules of the Z-calculus, member by member: ZInit, ZMatMul (hat and dot), ZNonlin, ZMoment.

Every vector becomes a function of Gaussian atoms: initial vectors, hats, and linear combinations of these. Covariances
and expected derivatives are named where they are not numbers, each by one line that uses earlier ones only.

Source: Yang 2020, *Tensor Programs III*, Definition E.3 and Remark 2.12; unequal widths: Setup F.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.gaussian.expectation import Expectation
from tp.limit.equations import I, Value, Z
from tp.limit.poles import refuse_poles
from tp.limit.sums import sum_over
from tp.limit.zcalculus.atoms import RANDOM, Cov, Dot, Drive, Hat, Image, Slope, Update
from tp.limit.zcalculus.images import Definition, derived, image
from tp.limit.zcalculus.lines import Call, Line
from tp.limit.zcalculus.mean import SINGULAR, coefficients, gaussians, mean, nested, rough
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.rules import RULES
from tp.program.derivative import derivative
from tp.program.ir import MatMul, Moment, Nonlin, Range, Ref, Simple, spelled
from tp.progress import tick

HUGE = 400
"""Nodes of a vector's formula at most: it doubles with every product where a matrix meets its transpose."""
LONGEST, MOST = 800, 3
"""Operations in the formula of a vector, and hats that a dot part is derived from, of a run that is no polynomial."""
Combination = dict[sp.Expr, sp.Expr]
"""A Gaussian variable as a linear combination of letters: initial vectors and hats."""


@dataclass
class Calculus:
    """Derives on demand; ``lines`` in an order in which each uses earlier ones. ``naive`` drops every dot part.

    ``entrywise``: functions of functions are not differentiated, whose derivatives an optimizer's Q makes long.
    """

    members: Members
    random: frozenset[str] = frozenset()
    naive: bool = False
    entrywise: bool = False
    lines: dict[sp.Expr, Line] = field(default_factory=dict)
    calls: dict[sp.Expr, Call] = field(default_factory=dict)
    combinations: dict[sp.Expr, Combination] = field(default_factory=dict)
    vectors: dict[tuple[Ref, sp.Expr], sp.Expr] = field(default_factory=dict)
    numbers: dict[tuple[Ref, sp.Expr], sp.Expr] = field(default_factory=dict)
    covariances: dict[sp.Expr, sp.Expr] = field(default_factory=dict)
    slopes: dict[sp.Expr, sp.Expr] = field(default_factory=dict)
    made: dict[tuple[Ref, bool, Ref, sp.Expr], tuple[Ref, sp.Expr]] = field(default_factory=dict)
    definitions: dict[Ref, Definition] = field(default_factory=dict)
    sizes: dict[sp.Basic, int] = field(default_factory=dict)

    def write(self, lhs: sp.Expr, rhs: sp.Expr, rule: str, span: Span) -> None:
        refuse_poles(rhs, span)
        name, source = RULES[rule]
        self.lines[lhs] = Line(lhs, rhs, name, source, span)

    def sample(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        """What does not depend on an input is the same for all samples."""
        return s if ref.name in self.members.sampled else I

    def fresh(self, name: str) -> str:
        """``name``, with underscores until the program has no such name."""
        families = self.members.families
        while name in families.clauses or name in families.weights or name in families.data:
            name += "_"
        return name

    def mean(self, expr: sp.Expr) -> sp.Expr:
        value = mean(expr, self.cov)
        for psi in sorted(value.atoms(Image), key=str):
            if any(psi.orders):
                derived(self, psi)
        return value

    def second(self, a: sp.Expr, b: sp.Expr) -> sp.Expr:
        """E[a b], a at one sample, b at one."""
        return self.mean(a * b)

    # ------------------------------------------------------------ vectors

    def vector(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        """Z^ref(s) as a function of Gaussian atoms."""
        found = self.members.find(ref)
        if found is None:
            return sp.S.Zero
        key = (found, self.sample(found, s))
        if key not in self.vectors:
            ins = self.members.instruction(found)
            match ins:
                case None:
                    self.vectors[key] = self._initial(found)
                case MatMul():
                    self.vectors[key] = self._matmul(ins, key[1])
                case Nonlin() if isinstance(ins.expr, Update):
                    self.vectors[key] = self._named(Z(found, key[1]), image(self, ins, key[1]))
                case Nonlin():
                    self.vectors[key] = self._nonlin(ins, key[1])
                case Moment():
                    raise AssertionError(f"{found} is a scalar")
            self._bounded(self.vectors[key], found, ins)
            tick()
        return self.vectors[key]

    def _bounded(self, expr: sp.Expr, ref: Ref, ins: Simple | None) -> None:
        """``LimitError`` where the formulas of a run grow beyond use."""
        open_ = self.entrywise or (self.members.data and expr.has(sp.Function))
        if open_ and ins is not None and expr.count_ops() > LONGEST:
            reason = f"`{ref}` is a formula of {expr.count_ops():,} operations: they grow fast with the steps and the samples"
            remedy = "derive fewer steps, `run.z(1)`; the numbers of all are those of `run.limit()`"
            raise LimitError(Message(ins.span, reason, remedy, "formulas too long"))

    def _foreseen(self, backs: list[sp.Expr], ins: MatMul) -> None:
        """``LimitError`` where a product's formula would be beyond use, before expected derivatives are taken for it."""
        calls = [self.calls[back] for back in backs]
        size = sum(self._size(self.vector(c.x, c.s)) for c in calls)
        if size > HUGE:
            reason = f"`{ins.out}` would be a formula of {size:,} operations, with {len(backs)} earlier products of its transpose"
            remedy = "use fewer steps or layers; net.simulate(X, width=…) computes any number of them"
            raise LimitError(Message(ins.span, reason, remedy, "formulas too long"))

    def _size(self, expr: sp.Basic) -> int:
        """Nodes of a formula as it is written, where equal parts are shared."""
        if expr not in self.sizes:
            opaque = isinstance(expr, (*RANDOM, Value, Cov, Slope, Expectation))
            self.sizes[expr] = 1 if opaque else 1 + sum(map(self._size, expr.args))
        return self.sizes[expr]

    def _initial(self, ref: Ref) -> sp.Expr:
        """ZInit: an initial vector is Gaussian as given."""
        weight, binding = self.members.weight(ref)
        mu, var = (e.subs(binding) for e in (weight.multiplier * weight.mean, weight.multiplier**2 * weight.variance))
        if var == 0:
            self.write(Z(ref, I), mu, "init", weight.span)
            return mu
        letter = Z(ref, I) if mu == 0 else Hat(ref, I)
        self.combinations[letter] = {letter: sp.S.One}
        self.covariances[Cov(letter, letter)] = var
        self.write(Cov(letter, letter), var, "init", weight.span)
        if mu != 0:
            self.write(Z(ref, I), mu + letter, "init", weight.span)
        return mu + letter

    def _matmul(self, ins: MatMul, s: sp.Expr) -> sp.Expr:
        """Z^{Wx} = Ẑ + Ż,  Ż = v Σ_j Z^{y_j} E[∂Z^x/∂Ẑ^{Wᵀy_j}]."""
        x = self.members.find(ins.x)
        letter, z = Hat(ins.out, s), Z(ins.out, s)
        if x is None:
            return sp.S.Zero
        at = self.sample(x, s)
        weight, binding = self.members.weight(ins.W, matrix=True)
        assert weight.rows is not None and weight.cols is not None
        v = (weight.multiplier**2 * weight.variance).subs(binding)
        if ins.transpose:
            v = sp.cancel(v * weight.rows.size / weight.cols.size)
        argument = self.vector(x, at)
        if argument == 0:
            self.write(z, sp.S.Zero, "matmul", ins.span)
            return sp.S.Zero
        same = (ins.W, ins.transpose, x, at)
        if same in self.made:  # called before: the same vector
            self.write(z, Z(*self.made[same]), "matmul", ins.span)
            return self.vector(*self.made[same])
        self.made[same] = (ins.out, s)
        self.calls[letter] = Call(ins.W, ins.transpose, x, at, v, ins.span)
        self.combinations[letter] = {letter: sp.S.One}
        shown, unfolded = [], []
        backs = [] if self.naive else self.opposite(argument, ins)
        self._foreseen(backs, ins)
        for back in backs:
            call = self.calls[back]
            slope = self.slope(x, at, back)
            shown.append(v * slope * Z(call.x, call.s))
            unfolded.append(v * slope * self.vector(call.x, call.s))
        dot = sp.Add(*unfolded)
        if dot == 0:
            self.write(z, letter, "hat", ins.span)
            return letter
        self.write(Dot(ins.out, s), sp.Add(*shown), "dot", ins.span)
        self.write(z, letter + Dot(ins.out, s), "matmul", ins.span)
        return self._named(z, letter + dot)

    def opposite(self, argument: sp.Expr, ins: MatMul) -> list[sp.Expr]:
        """The hats of the transposed matrix that the argument is a function of."""
        return [
            h for h in self.letters(argument)
            if h in self.calls and self.calls[h].W == ins.W and self.calls[h].transpose != ins.transpose
        ]  # fmt: skip

    def letters(self, expr: sp.Expr) -> list[sp.Expr]:
        """The initial vectors and hats that an expression is a function of."""
        return list(dict.fromkeys(letter for a in gaussians(expr) for letter in self.combinations[a]))

    def _nonlin(self, ins: Nonlin, s: sp.Expr) -> sp.Expr:
        """ZNonlin: Z^{φ(x; θ)} = φ(Z^x; θ̊)."""
        z = Z(ins.out, s)
        self.write(z, sp.S.Zero, "nonlin", ins.span)  # its place, after what it reads
        shown = self.expression(ins.expr, s, lambda r: self._shown(r, self.sample(r, s)))
        unfolded = self.expression(ins.expr, s, lambda r: self.vector(r, s))
        del self.lines[z]
        self.write(z, shown.replace(lambda e: isinstance(e, Drive), lambda e: e.total), "nonlin", ins.span)
        return self._gathered(ins, s, self._named(z, unfolded))

    def _shown(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        """The Z of a vector; 0 where it has no line, being the image of updates before there are any."""
        return sp.S.Zero if self.vector(ref, s) == 0 and Z(ref, s) not in self.lines else Z(ref, s)

    def _gathered(self, ins: Nonlin, s: sp.Expr, unfolded: sp.Expr) -> sp.Expr:
        """A sum with several Gaussian terms beside others: these together are one Gaussian, the vector's Ẑ."""
        if not isinstance(unfolded, sp.Add):
            return unfolded
        straight = sp.Add(*(t for t in sp.Add.make_args(sp.expand_mul(unfolded)) if gaussians(t) and self.linear(t)))
        if len(gaussians(straight)) < 2:
            return unfolded
        hat = Hat(ins.out, s)
        found = self.linear(straight)
        assert found is not None
        self.combinations[hat] = found
        self.write(hat, straight.replace(lambda e: isinstance(e, Drive), lambda e: e.total), "gaussian part", ins.span)
        return hat + sp.expand_mul(unfolded) - straight

    def _named(self, z: Z, unfolded: sp.Expr) -> sp.Expr:
        """A linear combination of several Gaussians is one Gaussian, called Z itself."""
        found = self.linear(unfolded)
        if found is None:
            return unfolded
        if not found:
            return sp.S.Zero
        if len(found) == 1 and not isinstance(next(iter(found)), Drive):
            return unfolded
        self.combinations[z] = found
        return z

    def linear(self, expr: sp.Expr) -> Combination | None:
        """``expr`` as a combination of letters; None when it is not linear, or has a mean."""
        found = coefficients(expr)
        if found is None or sp.expand(found.pop(sp.S.One, sp.S.Zero)) != 0:
            return None
        total: Combination = {}
        for a in sorted(found, key=spelled):
            for letter, c in self.combinations[a].items():
                total[letter] = total.get(letter, sp.S.Zero) + found[a] * c
        return {letter: c for letter, c in total.items() if c != 0}

    # ------------------------------------------------------------ scalars

    def expression(self, expr: sp.Expr, s: sp.Expr, vector: Callable[[Ref], sp.Expr]) -> sp.Expr:
        """``expr`` with data, scalars, input sums and vectors as atoms of the calculus."""
        swap: dict[sp.Basic, sp.Basic] = {}
        for total in expr.atoms(sp.Sum):
            found = self.members.drive(total)
            if found is not None:
                swap[total] = self._drive(total, *found, s)
        bare = expr.xreplace(swap)
        swap = {}
        for ref in sorted(bare.atoms(Ref), key=spelled):
            if ref.name in self.members.families.data:
                swap[ref] = Value("data", ref, s)
            elif self.members.families.is_vector(ref):
                found_ref = self.members.find(ref)
                swap[ref] = sp.S.Zero if found_ref is None else vector(found_ref)
            else:
                swap[ref] = self.scalar(ref, s)
        return _swapped(bare, swap)

    def _drive(self, total: sp.Sum, coef: sp.Expr, u: Ref, s: sp.Expr) -> Drive:
        j, lo, hi = total.limits[0]
        data = {r: Value("data", r, s) for r in coef.atoms(Ref)}
        drive = Drive(coef.xreplace(data), u, j, lo, hi, s if data else I)
        self.combinations[drive] = {drive: sp.S.One}
        return drive

    def scalar(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        """The limit of a scalar: a number, or its name."""
        found = self.members.find(ref)
        if found is None:
            return sp.S.Zero
        key = (found, self.sample(found, s))
        if key not in self.numbers:
            self.numbers[key] = self._scalar(*key)
        return self.numbers[key]

    def _scalar(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        ins = self.members.instruction(ref)
        name = Value("theta", ref, s)
        if ins is None:
            weight, binding = self.members.weight(ref)
            if weight.variance != 0:
                raise _random(ref, weight.span)
            return (weight.multiplier * weight.mean).subs(binding)
        if ref.name in self.random:
            raise _random(ref, ins.span)
        assert not isinstance(ins, MatMul)
        value = self.expression(ins.expr, s, lambda r: self.vector(r, s))
        if isinstance(ins, Moment):
            coeff = self.expression(ins.coeff, s, lambda r: self.vector(r, s))
            value = coeff * self.mean(value)
        self.write(name, value, "moment", ins.span)
        return value if value.is_number or isinstance(value, Value) else name

    # ------------------------------------------------------------ covariances

    def cov(self, u: sp.Expr, v: sp.Expr) -> sp.Expr:
        """Cov(u, v) of two Gaussian atoms: a number, or its name."""
        u, v = sorted((u, v), key=lambda a: (spelled(a.a), spelled(a.s), spelled(a)))
        name = Cov(u, v)
        if name not in self.covariances:
            value = self._cov(u, v)
            plain = value.is_number or isinstance(value, Cov)
            self.covariances[name] = value if plain else name
            if not plain:
                rule = "hat covariance" if u in self.calls and v in self.calls else "covariance"
                self.write(name, value, rule, self.calls[u].span if u in self.calls else self.members.families.span(u.a.name))
        return self.covariances[name]

    def _cov(self, u: sp.Expr, v: sp.Expr) -> sp.Expr:
        left, right = self.combinations[u], self.combinations[v]
        if left == {u: 1} and right == {v: 1}:
            return self._base(u, v)
        meeting: dict[object, list[sp.Expr]] = {}
        for y in right:
            meeting.setdefault(self._source(y), []).append(y)
        pairs = [(x, y) for x in left for y in meeting.get(self._source(x), ())]
        return sp.Add(*(_terms(left[x] * right[y] * self._letters(x, y)) for x, y in pairs))

    def _source(self, letter: sp.Expr) -> object:
        """What a letter is drawn from: a matrix in one direction, a weight family, or itself. Others are independent of it."""
        if letter in self.calls:
            return self.calls[letter].W, self.calls[letter].transpose
        return (letter.a.name, letter.a.index[:-1]) if isinstance(letter, Drive) else letter

    def _letters(self, x: sp.Expr, y: sp.Expr) -> sp.Expr:
        return self._base(x, y) if isinstance(x, Drive) or isinstance(y, Drive) else self.cov(x, y)

    def _base(self, u: sp.Expr, v: sp.Expr) -> sp.Expr:
        """Of two letters: v E[Z^x Z^y] for hats of one matrix in one direction, else 0 unless they are the same."""
        if u in self.calls and v in self.calls:
            one, two = self.calls[u], self.calls[v]
            if (one.W, one.transpose) != (two.W, two.transpose):
                return sp.S.Zero
            return one.v * self.mean(self.vector(one.x, one.s) * self.vector(two.x, two.s))
        if isinstance(u, Drive) and isinstance(v, Drive):
            c, a, j, lo, hi, _ = u.args
            d, b, k, lo2, hi2, _ = v.args
            if a.name != b.name or (a.index[:-1], lo, hi) != (b.index[:-1], lo2, hi2):
                return sp.S.Zero
            weight, binding = self.members.weight(a)
            var = (weight.multiplier**2 * weight.variance).subs(binding)
            return sum_over(var * c * d.subs(k, j), [Range(j, lo, hi)])
        return sp.S.Zero

    # ------------------------------------------------------------ expected derivatives

    def slope(self, x: Ref, s: sp.Expr, letter: sp.Expr) -> sp.Expr:
        """E[∂Z^x/∂letter]: by differentiation, or by Stein's identity where Z^x has jumps."""
        name = Slope(Z(x, s), letter)
        if name in self.slopes:
            return self.slopes[name]
        expr = self.vector(x, s)
        parts = []
        smooth = not (self.entrywise and nested(expr)) and not rough(expr, gaussians(expr))
        if smooth:
            parts = [(self.combinations[a].get(letter, sp.S.Zero), derivative(expr, a)) for a in gaussians(expr)]
            parts = [(c, d) for c, d in parts if c != 0]
            smooth = not any(d.has(*SINGULAR) for _, d in parts)
        value = sp.Add(*(c * self.mean(d) for c, d in parts)) if smooth else self._stein(expr, letter)
        if not value.is_number:
            self.write(name, value, "slope" if smooth else "stein", self.calls[letter].span)
        self.slopes[name] = value if value.is_number else name
        return self.slopes[name]

    def _stein(self, expr: sp.Expr, letter: sp.Expr) -> sp.Expr:
        """(C⁺ b)_j, C = Cov(Ẑ_i, Ẑ_j), b_i = E[Ẑ_i Z^x], over the hats of that matrix that Z^x is a function of.

        A hat that depends linearly on others gets 0: Σ_j Z^{y_j} θ_j is the same.
        """
        call = self.calls[letter]
        same = [h for h in self.letters(expr) if h in self.calls]
        hats: list[sp.Expr] = []
        for h in (h for h in same if (self.calls[h].W, self.calls[h].transpose) == (call.W, call.transpose)):
            if self._independent(h, hats):
                hats.append(h)
        if letter not in hats:
            return sp.S.Zero
        if self.entrywise and len(hats) > MOST:
            reason = f"a dot part is a combination of {len(hats)} earlier products, by the inverse of a matrix of formulas"
            remedy = "derive fewer steps, `run.z(1)`, or smaller batches; the numbers of all are those of `run.limit()`"
            raise LimitError(Message(call.span, reason, remedy, "formulas too long"))
        b = sp.Matrix([self.mean(h * expr) for h in hats])
        C = self._gram(hats)
        return sp.together((C.LUsolve(b) if len(hats) > 1 else b / C[0, 0])[hats.index(letter)])

    def _independent(self, hat: sp.Expr, others: list[sp.Expr]) -> bool:
        """Whether a hat is no combination of others; of arguments that are no polynomials, whether it is a multiple of one."""
        if not self.entrywise:
            return bool(self.resolved(self._gram([*others, hat]).det()) != 0)
        arguments = self._told_apart([self.vector(self.calls[h].x, self.calls[h].s) for h in (*others, hat)])
        return not any((arguments[-1] / a).is_number for a in arguments[:-1])

    def _told_apart(self, exprs: list[sp.Expr]) -> list[sp.Expr]:
        """Expressions with hats that are multiples of others, as those of odd functions of x and -x are, written as such."""
        kept: list[sp.Expr] = []
        swap: dict[sp.Basic, sp.Basic] = {}
        for hat in dict.fromkeys(h for expr in exprs for h in self.letters(expr) if h in self.calls):
            same = [
                h for h in kept if (self.calls[h].W, self.calls[h].transpose) == (self.calls[hat].W, self.calls[hat].transpose)
            ]
            like = next((h for h in same if self.resolved(self._gram([h, hat]).det()) == 0), None)
            if like is None:
                kept.append(hat)
            else:
                swap[hat] = sp.cancel(self.resolved(self.cov(like, hat)) / self.resolved(self.cov(like, like))) * like
        return [expr.xreplace(swap) for expr in exprs]

    def _gram(self, hats: list[sp.Expr]) -> sp.Matrix:
        return sp.Matrix(len(hats), len(hats), lambda i, j: self.cov(hats[i], hats[j]))

    def resolved(self, value: sp.Expr) -> sp.Expr:
        """A value with names replaced by what they stand for, multiplied out."""
        while names := [a for a in value.atoms(Cov, Slope) if a in self.lines]:
            value = value.xreplace({a: self.lines[a].rhs for a in names})
        return sp.expand(value)


def _terms(product: sp.Expr) -> sp.Expr:
    """A product multiplied out."""
    return sp.expand_mul(product, deep=False) if any(f.is_Add for f in sp.Mul.make_args(product)) else product


def _swapped(expr: sp.Expr, swap: dict[sp.Basic, sp.Basic]) -> sp.Expr:
    """``xreplace`` that leaves input sums and named values alone."""
    if expr in swap:
        return swap[expr]
    if isinstance(expr, (*RANDOM, Value)) or not expr.args:
        return expr
    args = [_swapped(a, swap) for a in expr.args]
    return expr if tuple(args) == expr.args else expr.func(*args)


def _random(ref: Ref, span: Span) -> LimitError:
    reason = f"`{ref}` stays random in the limit, so what depends on it is no function of Gaussian parts"
    return LimitError(Message(span, reason, "scale it like 1/n, or make it an output", "random scalar"))
