"""Kernels in terms of second moments of vectors that are not written out: every vector is a name, Z^h[t]."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sympy as sp

from tp.errors import LimitError, Message
from tp.limit.clauses import flatten
from tp.limit.equations import I, J, Value, Z
from tp.limit.zcalculus.atoms import Cov, Hat
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.mean import gaussians, products
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.readout import Readouts
from tp.program.ir import Ref


class Second(Cov):
    """E[a b] of two functions of vectors, ``a`` at sample i and ``b`` at sample j."""


@dataclass
class Named(Calculus):
    """The calculus without unfolding. ``readouts`` tell what an output alone reads, of which only the variance enters.

    Of a backward pass (``readouts`` None) that is another matter: all gradients depend on it. ``vanishing`` are gradients by
    averages there, sums over the width of what is linear in centred readouts: smaller than sums by n^(1/2), so that what they
    add to the gradients by vectors vanishes.  Yang 2020, *Tensor Programs II*, section 7.
    """

    readouts: Readouts | None = None
    vanishing: frozenset[str] = frozenset()

    def vector(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        found = self.members.find(ref)
        if found is None:
            return sp.S.Zero
        return Z(found, self.sample(found, s)) if found.name in self.members.families.clauses else self._weight(found)

    def _weight(self, ref: Ref) -> sp.Expr:
        """An initial vector: its mean, and what is Gaussian of it."""
        weight, binding = self.members.weight(ref)
        mean = (weight.multiplier * weight.mean).subs(binding)
        if self._variance(ref) == 0:
            return mean
        return Z(ref, I) if mean == 0 else mean + Hat(ref, I)

    def expression(self, expr: sp.Expr, s: sp.Expr, vector: Callable[[Ref], sp.Expr]) -> sp.Expr:
        gone: dict[sp.Basic, sp.Basic] = {r: sp.S.Zero for r in expr.atoms(Ref) if r.name in self.vanishing}
        return super().expression(expr.xreplace(gone) if gone else expr, s, vector)

    def _scalar(self, ref: Ref, s: sp.Expr) -> sp.Expr:
        if self.members.instruction(ref) is None:
            return super()._scalar(ref, s)
        if ref.name in self.random:
            reason = f"`{ref}` stays random in the limit, so what depends on it is no function of Gaussian parts"
            span = self.members.families.span(ref.name)
            forward = self.readouts is not None
            remedy = "scale it like 1/n, or make it an output" if forward else "ask for the NNGP kernel, which takes no gradients"
            raise LimitError(Message(span, reason, remedy, "random scalar"))
        return Value("theta", ref, s)

    def second(self, a: sp.Expr, b: sp.Expr) -> sp.Expr:
        """E[a b] as a name; a factor that only outputs read is integrated: E[v² g h] = Var v E[g h].

        A bias inside a function is no such factor, though outputs alone may read it: it is drawn. Of several in a term one is
        integrated.
        """
        own = self._readouts([t for e in (a, b) for t in products(e)])
        slopes = [(sp.diff(a, z), sp.diff(b, z)) for z in own]
        if not own or any(e.has(*own) for pair in slopes for e in pair) or any(_without(e, own) != 0 for e in (a, b)):
            return self._moment(a, b)
        return sp.Add(*(self._variance(z.a) * self._moment(*pair) for z, pair in zip(own, slopes, strict=True)))

    def _readouts(self, terms: list[sp.Expr]) -> list[sp.Expr]:
        """Factors that only outputs read, at least one of each term that has such, those of most terms first."""
        of = [[z for z in sp.Mul.make_args(t) if self._is_readout(z)] for t in terms]
        found: list[sp.Expr] = []
        for z in sorted({z for some in of for z in some}, key=lambda z: (-sum(z in some for some in of), str(z))):
            if any(z in some and not set(found).intersection(some) for some in of):
                found.append(z)
        return found

    def _is_readout(self, z: sp.Expr) -> bool:
        return self.readouts is not None and isinstance(z, Z) and self.readouts.own(z.a)

    def _variance(self, ref: Ref) -> sp.Expr:
        weight, binding = self.members.weight(ref)
        return (weight.multiplier**2 * weight.variance).subs(binding)

    def _moment(self, a: sp.Expr, b: sp.Expr) -> sp.Expr:
        if a == 0 or b == 0:
            return sp.S.Zero
        if not (a.free_symbols | b.free_symbols) - {I, J}:
            return Second(a, b)
        terms = []
        for one in products(a):  # of sums over coordinates only these are left outside
            for two in products(b):
                (c, u), (d, v) = _apart(one), _apart(two)
                terms.append(c * d * Second(u, v))
        return sp.Add(*terms)


def _without(expr: sp.Expr, vectors: Iterable[sp.Expr]) -> sp.Expr:
    return expr.xreplace(dict.fromkeys(vectors, sp.S.Zero))


def _apart(product: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Numbers of one sample, and the rest."""
    factors = sp.Mul.make_args(product)
    random = [f for f in factors if gaussians(f)]
    return sp.Mul(*(f for f in factors if f not in random)), sp.Mul(*random)


def named(members: Members, readouts: Readouts) -> Named:
    """The calculus of a forward pass."""
    return Named(members, readouts.names, readouts=readouts)


def named_backward(members: Members, readouts: Readouts) -> Named:
    """The calculus of a backward pass."""
    assert readouts.forward is not None
    forward = {clause.out.name for clause in flatten(readouts.forward.body)}
    return Named(members, readouts.names, vanishing=readouts.names - forward)
