"""Scalars: which are deterministic in the limit, which are Gaussian, and the kernels of the latter.

A ``Moment`` averages over width. If the average of its expression has a mean it converges to it (law of large
numbers). If it is linear in centred readout weights that nothing else uses, then √n times the average is
Gaussian given the features, with a covariance that converges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from tp.errors import LimitError, Message
from tp.limit.clauses import Clause, at
from tp.limit.equations import I, J
from tp.limit.moments import Moments
from tp.limit.powers import degree
from tp.limit.sums import sum_over
from tp.limit.terms import Term, terms, times
from tp.program.ir import Domain, MatMul, Moment, Nonlin, Ref, Space, Sum

Binding = dict[sp.Symbol, sp.Expr]


@dataclass(frozen=True, slots=True)
class Fluctuation:
    """A centred Gaussian scalar: ``coef · (1/n) Σ expr``, or a scalar weight when ``space`` is None."""

    expr: sp.Expr
    space: Space | None


@dataclass
class Readout:
    """Rules for scalars, on top of the rules for vectors; ``tangents`` where the tangent kernel is asked for."""

    moments: Moments
    tangents: bool = False

    # ------------------------------------------------------------ deterministic scalars

    def deterministic(self, clause: Clause, binding: Binding, domain: Domain) -> sp.Expr:
        """θ = coeff · E[expr], or a function of other scalars.

        Source: Yang 2020, *Tensor Programs III*, rule ZMoment.
        """
        ins = clause.ins
        if ins.out.name not in self.moments.families.clauses:
            return self._start(ins.out, binding)
        if isinstance(ins, Nonlin):
            return self.moments.scalars_at(at(ins.expr, binding), I)
        assert isinstance(ins, Moment)
        families = self.moments.families
        mean = self.moments.mean(at(ins.expr, binding), I, domain)
        coeff = families.natural(self.moments.scalars_at(at(ins.coeff, binding), I))
        value = (
            sp.expand(coeff * families.natural(mean))
            if families.natural(coeff * mean).free_symbols & self._widths()
            else coeff * mean
        )
        if mean == 0:
            self._quiet(clause, coeff)
            return sp.S.Zero
        power = degree(value, self._widths())
        if power == 0:
            return value
        if power.is_negative:
            return sp.S.Zero
        raise LimitError(
            Message(
                ins.span,
                f"`{ins.out}` grows like n^({power}): it sums n terms whose mean does not vanish",
                "divide by the width, or use avg(…)",
                "no limit",
            )
        )

    def _start(self, ref: Ref, binding: Binding) -> sp.Expr:
        """A number among the weights that vectors depend on: what it starts at, if it starts at a constant and stays there."""
        weight = self.moments.families.weight(ref)
        if weight.variance != 0:
            reason = f"`{ref}` is one random number, so vectors that depend on it are no Gaussian process"
            remedy = "start it at a constant, `~ 1`, or give it the axis of a width, one number for each coordinate"
            raise LimitError(Message(weight.span, reason, remedy, "random scalar"))
        if self.tangents and self.moments.reading.rate(weight) != 0:
            reason = f"`{ref}` is one trained number: what it adds to the tangent kernel stays random"
            remedy = "write `frozen weight`, or ask for nngp()"
            raise LimitError(Message(weight.span, reason, remedy, "random tangent kernel"))
        return at(weight.multiplier * weight.mean, binding)

    def _quiet(self, clause: Clause, coeff: sp.Expr) -> None:
        """An average with mean zero must have no fluctuation of order 1, for its randomness would be felt."""
        ins = clause.ins
        assert isinstance(ins, Moment)
        if (bound := degree(coeff, self._widths()) - sp.Rational(1, 2)).is_negative:
            return
        power = bound + (own := self._own_power(ins))
        size = "stays random" if power == 0 else f"{'vanishes' if power.is_negative else 'grows'} like n^({power})"
        reason = f"`{ins.out}` has mean zero and {size} in the limit, so what depends on it is no Gaussian process"
        if power.is_negative:
            reason = f"`{ins.out}` has mean zero and {size} in the limit, which no rule here follows further"
            remedy = "put 0 in its place, or make it an output"
        elif any(str(s).startswith("j_") for i in ins.out.index for s in i.free_symbols):
            remedy = "make its finite dim a width of its own (`width r` for `dim r`), or make it an output"
        elif own != 0:
            remedy = "take a vector of such scalars over a width of its own (`width r`, a weight [r, n]), or make it an output"
        else:
            remedy = "scale it by 1/n (1/n attention logits, say), or make it an output"
        raise LimitError(Message(ins.span, reason, remedy, "random scalar"))

    def _own_power(self, ins: Moment) -> sp.Expr:
        """The power of n of the weights in the average, that of its largest term: -1/2 for a weight of variance 1/n."""
        forms, families = self.moments.forms, self.moments.families

        def power(factor: sp.Expr) -> sp.Expr:
            if not isinstance(factor, Ref) or factor.name in families.clauses:
                return sp.S.Zero
            weight = families.weight(factor)
            return degree(families.natural(weight.multiplier**2 * weight.variance), self._widths()) / 2

        products = (sp.Mul.make_args(t) for t in sp.Add.make_args(sp.expand(forms.unfolded(ins.expr, domain=ins.domain))))
        return sp.Max(*(sum(map(power, factors), sp.S.Zero) for factors in products))

    def _widths(self) -> set[sp.Symbol]:
        return set().union(*(s.size.free_symbols for s in self.moments.families.program.spaces))

    # ------------------------------------------------------------ Gaussian scalars

    def covariance(self, kind: str, one: Clause, b1: Binding, two: Clause, b2: Binding, domain: Domain) -> sp.Expr:
        """K or Θ of two output scalars: Σ coef coef' (coeff²/n) E[ψψ'], resp. its tangent.

        Source: Yang 2019, *Tensor Programs I*, Corollary 5.5; Yang 2020, *Tensor Programs II*.
        """
        left = self._fluctuations(at_clause(one, b1))
        right = self._fluctuations(at_clause(two, b2))
        total = sp.S.Zero
        for ta, fa in left:
            for tb, fb in right:
                total += self._pair(kind, ta, fa, tb, fb, domain)
        return total

    def _pair(self, kind: str, ta: Term, fa: Fluctuation, tb: Term, fb: Fluctuation, domain: Domain) -> sp.Expr:
        if (fa.space is None) != (fb.space is None) or (fa.space and fb.space and fa.space.name != fb.space.name):
            return sp.S.Zero
        m = self.moments
        if fa.space is None:
            return self._scalar_weights(kind, ta, fa, tb, fb)
        whole_a = _summed(ta.coef * fa.expr, ta)
        whole_b = _summed(tb.coef * fb.expr, tb)
        if kind == "K":
            return m.second(whole_a, I, whole_b, J, domain) / fa.space.size
        return m.tangent(whole_a, I, whole_b, J, domain) / fa.space.size

    def _scalar_weights(self, kind: str, ta: Term, fa: Fluctuation, tb: Term, fb: Fluctuation) -> sp.Expr:
        m = self.moments
        a = Term(m.scalars_at(ta.coef, I) * _Carrier(fa.expr), sp.S.One, ta.bounds)
        b = Term(m.scalars_at(tb.coef, J) * _Carrier(fb.expr), sp.S.One, tb.bounds)
        product = times(a, b)
        carried = [c.args[0] for c in sorted(product.coef.atoms(_Carrier), key=str)]
        one, other = (carried * 2)[:2]
        coef = product.coef.xreplace(dict.fromkeys(product.coef.atoms(_Carrier), sp.S.One))
        return sum_over(coef * m._weights(kind, one, other), list(product.bounds))

    def _fluctuations(self, clause: Clause) -> list[tuple[Term, Fluctuation]]:
        """An output as a combination of centred Gaussian scalars; its deterministic part does not vary."""
        ins = clause.ins
        if isinstance(ins, Moment):
            return [(Term(ins.coeff, sp.S.One), self._fluctuation(ins))]
        assert isinstance(ins, Nonlin)
        found = []
        families = self.moments.families
        for term in terms(ins.expr, lambda e: any(self._varies(r) for r in e.atoms(Ref))):
            if term.core == 1:
                continue
            if not isinstance(term.core, Ref):
                inner = sorted(term.core.atoms(Ref), key=str)[0]
                raise LimitError(
                    Message(
                        ins.span,
                        f"`{ins.out}` is a nonlinear function of `{inner}`, which is Gaussian in the limit",
                        "return the linear readout as the output and apply the nonlinearity outside",
                        "not a Gaussian process",
                    )
                )
            if term.core.name in families.weights and term.core.name not in families.clauses:
                found.append((term, Fluctuation(term.core, None)))
                continue
            clause_of, binding = families.covering(term.core)[0]
            for inner, fluctuation in self._fluctuations(at_clause(clause_of, binding)):
                found.append((times(Term(term.coef, sp.S.One, term.bounds), inner), fluctuation))
        return found

    def _varies(self, ref: Ref) -> bool:
        """Whether a scalar is random in the limit: a scalar weight, a readout, or a function of such."""
        families = self.moments.families
        if families.is_vector(ref) or ref.name in families.data:
            return False
        if ref.name not in families.clauses:
            return ref.name in families.weights
        clause = families.clauses[ref.name][0]
        if isinstance(clause.ins, Moment):
            return bool(self.readouts(clause.ins))
        return any(self._varies(r) for r in clause.expr.atoms(Ref))

    def readouts(self, ins: Moment) -> list[Ref] | None:
        """The readout weights a Moment is linear in, one per term, none of 0; None when some term has none."""
        whole = self.moments.forms.unfolded(ins.expr, domain=ins.domain)
        if whole == 0:
            return []
        if whole.is_Mul and (readout := self._readout(Term(sp.S.One, whole))) is not None:
            return [readout]
        found = []
        for term in self.moments.forms.terms(whole):
            readout = self._readout(term)
            if readout is None:
                return None
            found.append(readout)
        return found or None

    def _readout(self, term: Term) -> Ref | None:
        """A factor that is a centred weight, independent of the others; where there are several, one that no matrix acts on."""
        forms, families = self.moments.forms, self.moments.families
        found = []
        factors = sp.Mul.make_args(term.core)
        for factor in factors:
            if isinstance(factor, Ref) and factor.name in families.weights and families.weight(factor).mean == 0:
                others = [r for f in factors if f is not factor for r in families.vectors(f)]
                if all(forms.letters.independent(factor, r) for r in others):
                    found.append(factor)
        return next((v for v in found if len(found) > 1 and not any(self._acting_on(v))), found[0] if found else None)

    def _acting_on(self, v: Ref) -> Iterator[MatMul]:
        """The MatMuls of what depends on a vector of initial data."""
        families, letters = self.moments.families, self.moments.forms.letters
        for clauses in list(families.clauses.values()):
            yield from (c.ins for c in clauses if isinstance(c.ins, MatMul) and not letters.independent(v, c.ins.x))

    def _fluctuation(self, ins: Moment) -> Fluctuation:
        readouts = self.readouts(ins)
        self._used_once(ins, readouts or [])
        if readouts is None:
            raise LimitError(
                Message(
                    ins.span,
                    f"`{ins.out}` is not linear in centred weights of its own, so it is not a Gaussian process over inputs",
                    "read out with a weight vector that is used nowhere else: `v @ h`",
                    "no independent readout",
                )
            )
        return Fluctuation(ins.expr, ins.space)

    def _used_once(self, ins: Moment, readouts: list[Ref]) -> None:
        """Condition 1 of *Tensor Programs II*: nothing that a weight multiplies depends on a readout."""
        for v in readouts:
            for other in self._acting_on(v):
                raise LimitError(
                    Message(
                        other.span,
                        f"gradient independence fails: `{v}` is a readout of `{ins.out}` (line {ins.span.line})"
                        f" and `{other.out}` depends on it too",
                        "read out with a weight vector that is used nowhere else",
                        "readout used twice",
                    )
                )


class _Carrier(sp.Expr):
    """Carries a scalar weight through the renaming of bound indices."""

    is_commutative = True

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.args[0].free_symbols


def at_clause(clause: Clause, binding: Binding) -> Clause:
    """The clause at an index."""
    if not binding:
        return clause
    ins = clause.ins
    if isinstance(ins, Moment):
        return Clause(Moment(at(ins.out, binding), at(ins.expr, binding), ins.space, at(ins.coeff, binding), (), ins.span), ())
    assert isinstance(ins, Nonlin)
    return Clause(Nonlin(at(ins.out, binding), at(ins.expr, binding), ins.space, (), ins.span), ())


def _summed(expr: sp.Expr, term: Term) -> sp.Expr:
    return Sum(expr, *((r.index, r.lo, r.hi) for r in reversed(term.bounds))) if term.bounds else expr
