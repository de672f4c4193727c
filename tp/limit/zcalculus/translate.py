"""From the calculus at two samples to the equations of a ``Limit``, which kernels are compiled from.

Covariances become entries K, expected derivatives deterministic scalars, Gaussian parts vectors: Ẑ^y is ``y`` where it
is all of Z^y, else ``y_hat``. Each equation is written for samples (i, j) once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from tp.errors import NOWHERE, Span
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, I, J, Value, Z
from tp.limit.poles import refuse_poles
from tp.limit.zcalculus.atoms import RANDOM, Cov, Drive, Slope
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.rules import RULES
from tp.program.ir import Ref, spelled


@dataclass
class Translation:
    """Equations asked for, each after those it uses. Names in ``own`` get ``suffix``: one backward pass per output."""

    calculus: Calculus
    equations: list[Equation] = field(default_factory=list)
    done: set[sp.Expr] = field(default_factory=set)
    names: dict[object, str] = field(default_factory=dict)
    suffix: str = ""
    own: frozenset[str] = frozenset()

    def root(self, lhs: Entry, rhs: sp.Expr, rule: str, span: Span) -> None:
        """An equation, after everything it uses."""
        self.need(rhs)
        name, source = RULES[rule]
        refuse_poles(rhs, span)
        self.equations.append(Equation(lhs, self.written(rhs), (), name, source, span))

    def need(self, expr: sp.Expr) -> None:
        """Equations for all named values of ``expr``."""
        for atom in sorted(_named(expr), key=spelled):
            generic = self.generic(atom)
            lhs = self.left(generic)
            if lhs in self.done or not isinstance(lhs, (Entry, Value)):
                continue
            self.done.add(lhs)
            rhs, rule, source, span = self._meaning(generic)
            self.need(rhs)
            self.equations.append(Equation(lhs, self.written(rhs), (), rule, source, span))

    def left(self, generic: sp.Expr) -> sp.Expr:
        """The left side of its equation: samples (i, j), also of what is the same for all."""
        if isinstance(generic, Cov):
            return Entry("K", self.ref(generic.a), self.ref(generic.b), I, J)
        return self.written(generic)

    def generic(self, atom: sp.Expr) -> sp.Expr:
        """The same value at samples (i, j), or i."""
        if isinstance(atom, Cov):
            return Cov(self.moved(atom.a, I), self.moved(atom.b, J))
        if isinstance(atom, Slope):
            return Slope(self.moved(atom.a, I), self.moved(atom.b, I))
        return Value(atom.args[0], atom.a, I)

    def moved(self, v: sp.Expr, s: sp.Expr) -> sp.Expr:
        """A random variable at another sample; what does not depend on an input stays."""
        if isinstance(v, Drive):
            return v.xreplace({I: s, J: s}) if v.args[0].atoms(Value) else v
        return v.func(v.a, self.calculus.sample(v.a, s))

    def _meaning(self, atom: sp.Expr) -> tuple[sp.Expr, str, str, Span]:
        if isinstance(atom, Cov):
            value = self.calculus.cov(atom.a, atom.b)
            if not isinstance(value, Cov) or set(value.args) != set(atom.args):
                return value, *RULES["covariance"], NOWHERE
            atom = value
        line = self.calculus.lines[atom]
        return line.rhs, line.rule, line.source, line.span

    # ------------------------------------------------------------ notation

    def written(self, expr: sp.Expr) -> sp.Expr:
        """``expr`` in the atoms of limit equations."""
        if isinstance(expr, Cov):
            return Entry("K", self.ref(expr.a), self.ref(expr.b), expr.a.s, expr.b.s)
        if isinstance(expr, Slope):
            return Value("theta", self._slope(expr), expr.a.s)
        if isinstance(expr, RANDOM):
            return Z(self.ref(expr), expr.s)
        if isinstance(expr, Expectation):
            cov = expr.cov.applyfunc(self.written)
            return Expectation(self.written(expr.integrand), [self.written(v) for v in expr.variables], cov)
        if not expr.args or isinstance(expr, (Value, Entry)):
            return expr
        return expr.func(*(self.written(a) if isinstance(a, sp.Basic) else a for a in expr.args))

    def ref(self, v: sp.Expr) -> Ref:
        """The vector that a Gaussian part is called in the equations."""
        if isinstance(v, Drive):
            key = ("sum", v.a.name, v.xreplace({I: J}).args[:5])
            return Ref(self._fresh(key, f"{v.a.name}_x"), *v.a.index[:-1])
        name = v.a.name + (self.suffix if v.a.name in self.own else "")
        if isinstance(v, Z) or self.calculus.vectors.get((v.a, v.s)) == v:
            return Ref(name, *v.a.index)
        return Ref(self._fresh(("hat", name), f"{name}_hat"), *v.a.index)

    def _slope(self, slope: Slope) -> Ref:
        x, u = self.ref(slope.a), self.ref(slope.b)
        return Ref(self._fresh(("slope", x.name, u.name), f"c_{x.name}_{u.name}"), *x.index, *u.index)

    def _fresh(self, key: object, name: str) -> str:
        """A name nothing else has, the same for the same key."""
        if key not in self.names:
            program = self.calculus.members.program
            taken = {*self.names.values(), *self.calculus.members.families.clauses, *(w.ref.name for w in program.weights)}
            taken |= {d.ref.name for d in program.data}
            while name in taken:
                name += "_"
            self.names[key] = name
        return self.names[key]


def _named(expr: sp.Basic) -> set[sp.Expr]:
    """Covariances, expected derivatives and scalar limits in an expression, also inside expectations."""
    return {a for a in expr.atoms(Cov, Slope, Value) if not (isinstance(a, Value) and a.kind_name == "data")}
