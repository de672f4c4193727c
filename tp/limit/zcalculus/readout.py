"""Outputs that stay random: linear in weights of their own, Gaussian given the features.

``f = n^(1/2) avg(v z)`` with v independent of z is, over the draws of v, Gaussian with covariance
E[Z^v²] E[Z^z Z^z'], whatever z is made of: z may hold dot parts.

Source: Yang 2019, *Tensor Programs I*, Corollary 5.5; Yang 2020, *Tensor Programs III*, Master Theorem 2.10.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from tp.errors import LimitError, Message
from tp.limit.clauses import flatten
from tp.limit.equations import I
from tp.limit.independence import feeding_no_vector
from tp.limit.powers import degree
from tp.limit.zcalculus.atoms import Cov, Output
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.mean import gaussians, products
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.ratios import one_width, widths
from tp.program.ir import MatMul, Moment, Nonlin, Program, Ref
from tp.readings.orders import _settled
from tp.transform.normalize import normalize


@dataclass
class Readouts:
    """Which scalars are random in the limit, and their covariances. ``forward``: without a backward pass."""

    program: Program
    members: Members
    forward: Program | None = None
    names: frozenset[str] = field(init=False)
    orders: dict[str, sp.Expr] = field(init=False)

    def __post_init__(self) -> None:
        wide = normalize(one_width(self.program))
        self.orders = dict(_settled(wide, widths(wide)))
        for w in wide.weights:
            if w.rows is None and w.variance != 0:
                self.orders[w.ref.name] = sp.S.Half
        self.names = self._random()
        self.wide = Members(wide, self.members.constants)
        self.widths = widths(wide)

    def _random(self) -> frozenset[str]:
        """Moments larger than an average, and the scalars made of them: outputs only."""
        random = {name for name, order in self.orders.items() if order > 0}
        while True:
            before = len(random)
            for clause in flatten((self.forward or self.program).body):
                ins = clause.ins
                if isinstance(ins, Nonlin) and ins.space is None and {r.name for r in ins.expr.atoms(Ref)} & random:
                    random.add(ins.out.name)
            if len(random) == before:
                return frozenset(random)

    def order(self, f: Ref) -> sp.Expr:
        """The power of the width by which f exceeds an average; a scalar weight counts as 1/2, as a readout does."""
        ins = self.wide.instruction(f)
        if isinstance(ins, Nonlin) and f.name in self.names:
            return sp.Max(*(degree(coef, self.widths) + self.order(x) for coef, x in self.terms(f, ins)))
        return self.orders.get(f.name, sp.S.Zero)

    def terms(self, f: Ref, ins: Nonlin) -> list[tuple[sp.Expr, Ref]]:
        """f as Σ coefficient · random scalar; what does not vary is left out."""
        out = []
        for term in sp.Add.make_args(sp.expand_mul(ins.expr)):
            found = [r for r in sp.Mul.make_args(term) if isinstance(r, Ref) and self.varies(r)]
            inside = [r for r in term.atoms(Ref) if self.varies(r)]
            if not inside:
                continue
            if found != inside or len(found) != 1:
                reason = f"`{f}` is a nonlinear function of `{inside[0]}`, which is Gaussian in the limit"
                remedy = "return the linear readout as the output and apply the nonlinearity outside"
                raise LimitError(Message(ins.span, reason, remedy, "not a Gaussian process"))
            out.append((term / found[0], found[0]))
        return out

    def write(self, calculus: Calculus) -> None:
        """A line for the variance of every output that is random."""
        for ref in self.members:
            if ref.name in self.names and any(ref.name == f.name for f in self.program.outputs):
                ins = self.members.instruction(ref)
                assert ins is not None
                variance = self.covariance(calculus, ref, I, ref, I)
                calculus.write(Cov(Output(ref, I), Output(ref, I)), variance, "readout", ins.span)

    def covariance(self, calculus: Calculus, f: Ref, s: sp.Expr, g: Ref, t: sp.Expr) -> sp.Expr:
        """Cov(f(s), g(t)), without the power n^(2·order − 1)."""
        total = sp.S.Zero
        for a, x in self.parts(calculus, f, s):
            for b, y in self.parts(calculus, g, t):
                if isinstance(x, Ref) or isinstance(y, Ref):
                    if isinstance(x, Ref) and x == y:
                        weight, binding = self.members.weight(x)
                        total += a * b * (weight.multiplier**2 * weight.variance).subs(binding)
                    continue
                if x[1] == y[1]:
                    total += a * b * calculus.second(x[0], y[0]) / x[2]
        return total

    def parts(self, calculus: Calculus, f: Ref, s: sp.Expr) -> list[tuple[sp.Expr, Ref | tuple[sp.Expr, str, sp.Expr]]]:
        """``f`` as Σ coefficient · (scalar weight, or an average over a space of a given size)."""
        ins = self.members.instruction(f)
        if ins is None:
            return [(sp.S.One, f)]
        if isinstance(ins, Moment):
            expr = calculus.expression(ins.coeff * ins.expr, s, lambda r: calculus.vector(r, s))
            self._check(ins, expr)
            size = next(p.size for p in self.members.program.spaces if p.name == ins.space.name)
            return [(sp.S.One, (expr, ins.space.name, size))]
        wide = self.wide.instruction(f)
        assert isinstance(wide, Nonlin)
        order = self.order(f)
        out = []
        for coef, inner in self.terms(f, wide):
            if degree(coef, self.widths) + self.order(inner) == order:
                at_one = coef.subs(dict.fromkeys(self.widths, 1))
                here = calculus.expression(at_one, s, lambda r: calculus.vector(r, s))
                out += [(here * c, x) for c, x in self.parts(calculus, inner, s)]
        return out

    def varies(self, ref: Ref) -> bool:
        return ref.name in self.names or self.orders.get(ref.name, sp.S.Zero) > 0

    def _check(self, ins: Moment, expr: sp.Expr) -> None:
        """Every term has a factor that is a centred initial vector read by nothing that is not an output, and is linear in it.

        Whatever else is in the term, vectors of that kind too, a sum of n such terms is Gaussian: they are independent, given
        the features.
        """
        fresh = {a for a in gaussians(expr) if self.own(a.a)}
        for term in products(expr) if expr != 0 else ():
            if not any(f in fresh and f not in gaussians(term / f) for f in sp.Mul.make_args(term)):
                average = degree(ins.coeff, self.widths).is_positive
                raise LimitError(
                    Message(
                        ins.span,
                        f"`{ins.out}` is random to leading order and not linear in weights of its own, that nothing else reads",
                        "read out with a weight vector that is used nowhere else" + (", or average with 1/n" if average else ""),
                        "no independent readout",
                    )
                )

    def own(self, ref: Ref) -> bool:
        """Whether an initial vector is read by nothing that is not an output."""
        families = self.members.families
        if ref.name in families.clauses:
            return False
        clauses = list(flatten((self.forward or self.members.program).body))
        last = feeding_no_vector(clauses, families)
        for clause in clauses:
            ins = clause.ins
            if isinstance(ins, MatMul):
                if ins.x.name == ref.name:
                    return False
            elif ins.out.name not in last and any(r.name == ref.name for r in ins.expr.atoms(Ref)):
                return False
        return True
