"""Images: what a matrix of entrywise updates makes of a vector, a function Ψ of the vectors of the output's space.

The entry of an update at α, β is Q(u_α v_β, …). At infinite width the sum over β is a mean over the vectors of the other space,
independent of what stands at α:

    Z^{ΔW x} = Ψ(Z^u, …),  Ψ(a, …) = E[Q(a Z^v, …) Z^x],

and for ΔWᵀ the roles of u and v are exchanged. Where Q is a product of functions of u and of v, as a sign is, nothing of the
mean but a number is left. Hats and dots of the matrix's initial values are as ever, with Ψ one more nonlinearity.

Source: Yang & Littwin 2023, *Tensor Programs IVb*, section 2.6 (OuterNonlin and its limit, Master Theorem 2.6.10).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sympy as sp

from tp.errors import Span
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Value, Z
from tp.limit.zcalculus.atoms import Image, Update
from tp.limit.zcalculus.mean import gaussians, rough
from tp.program.ir import Instruction, Loop, Nonlin, Outer, OuterNonlin, Program, Ref

if TYPE_CHECKING:
    from tp.limit.zcalculus.calculus import Calculus

KINKED = (sp.sign, sp.Abs, sp.Max, sp.Min, sp.Heaviside, sp.Piecewise)
LONG = 400
"""Operations of an entry up to which it is looked at for a parity."""


def in_expressions(program: Program) -> Program:
    """The program with every OuterNonlin as the Nonlin of an :class:`Update`, which is how the calculus reads it."""

    def turned(ins: Instruction) -> Instruction:
        if isinstance(ins, Loop):
            return replace(ins, body=tuple(map(turned, ins.body)))
        if isinstance(ins, OuterNonlin):
            update = Update(ins.entry, ins.x, sp.true if ins.transpose else sp.false)
            return Nonlin(ins.out, update, ins.space, ins.domain, ins.span)
        return ins

    return replace(program, body=tuple(map(turned, program.body)))


@dataclass(frozen=True, slots=True)
class Definition:
    """Ψ(parameters) = E[integrand]; the parameters stand for the vectors ``own``, and ``name`` for Ψ."""

    name: Ref
    integrand: sp.Expr
    parameters: tuple[sp.Symbol, ...]
    own: tuple[Ref, ...]
    several: bool
    span: Span


def image(calculus: Calculus, ins: Nonlin, s: sp.Expr) -> sp.Expr:
    """Z^{ΔW x} as a function of Gaussian atoms, with the lines it takes."""
    z, shown, total, rules = Z(ins.out, s), sp.S.Zero, sp.S.Zero, set()
    for part in _definitions(calculus, ins, s):
        value = calculus.mean(part.integrand)
        if value == 0:
            continue
        if any(e.free_symbols & set(part.parameters) for e in value.atoms(Expectation)):
            function, rule = _named(calculus, part, value), "images" if part.several else "image"
        else:
            function, rule = _product_form(calculus, part, s, value), "product form"
        rules.add(rule)
        shown += _put(part, function, (Z(u, calculus.sample(u, s)) for u in part.own))
        total += _put(part, function, (calculus.vector(u, calculus.sample(u, s)) for u in part.own))
    if total != 0:  # something has been learned
        calculus.write(z, shown, next(rule for rule in ("images", "image", "product form") if rule in rules), ins.span)
    return total


def _put(part: Definition, expr: sp.Expr, values: Iterable[sp.Expr]) -> sp.Expr:
    return expr.xreplace(dict(zip(part.parameters, values, strict=True)))


def _definitions(calculus: Calculus, ins: Nonlin, s: sp.Expr) -> list[Definition]:
    """The terms of an entry times the argument: those that read the same vectors of the output's space together."""
    entry, x, transpose = ins.expr.args
    argument = _vector(calculus, x, s)
    sides = {o: o.args[::-1] if transpose == True else o.args for o in entry.atoms(Outer)}  # noqa: E712
    alive = {o: side for o, side in sides.items() if all(_vector(calculus, r, s) != 0 for r in side)}
    entry = entry.xreplace({o: sp.S.Zero for o in sides if o not in alive})
    terms: dict[frozenset[Outer], sp.Expr] = {}
    for term in sp.Add.make_args(entry):
        same = frozenset(alive[o][0] for o in term.atoms(Outer))
        terms[same] = terms.get(same, sp.S.Zero) + term
    found = []
    for k, term in enumerate(terms.values()):
        outers = sorted(term.atoms(Outer), key=str)
        own = tuple(dict.fromkeys(alive[o][0] for o in outers))
        letters = tuple(sp.Symbol("a" if len(own) == 1 else f"a_{k + 1}", real=True) for k in range(len(own)))
        place = {o: sp.Dummy(real=True) for o in outers}
        meant = {place[o]: letters[own.index(alive[o][0])] * _vector(calculus, alive[o][1], s) for o in outers}
        bare = calculus.expression(term.xreplace(place), s, lambda r: calculus.vector(r, s))
        name = Ref(ins.out.args[0], *ins.out.index, *([k + 1] if len(terms) > 1 else []))
        several = len(own) > 1 and len({alive[o][1] for o in outers}) > 1
        found.append(Definition(name, _factored(bare.xreplace(meant)) * argument, letters, own, several, ins.span))
    return found


def _vector(calculus: Calculus, ref: Ref, s: sp.Expr) -> sp.Expr:
    found = calculus.members.find(ref)
    return sp.S.Zero if found is None else calculus.vector(found, calculus.sample(found, s))


def _factored(expr: sp.Expr) -> sp.Expr:
    """The sign of a product as the product of signs."""
    return expr.replace(
        lambda e: isinstance(e, sp.sign) and e.args[0].is_Mul, lambda e: sp.Mul(*(sp.sign(f) for f in e.args[0].args))
    )


def _product_form(calculus: Calculus, part: Definition, s: sp.Expr, value: sp.Expr) -> sp.Expr:
    """Σ_k c_k f_k(parameters): the means c_k get names."""
    means: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand_mul(value)):
        number, rest = sp.factor_terms(term).as_independent(*part.parameters, as_Add=False)
        means[rest] = means.get(rest, sp.S.Zero) + number
    total: sp.Expr = sp.S.Zero
    for k, (rest, number) in enumerate(means.items()):
        if number.is_number and not number.has(Expectation):
            total += number * rest
            continue
        factor, inner = number.as_coeff_Mul()
        ref = Ref(calculus.fresh(f"c_{part.name.name}"), *part.name.index, *([k + 1] if len(means) > 1 else []))
        name = Value("theta", ref, s)
        calculus.write(name, inner, "moment", part.span)
        total += factor * name * rest
    return total


def _named(calculus: Calculus, part: Definition, value: sp.Expr) -> sp.Expr:
    """Ψ as a function with a line of its own."""
    calculus.definitions[part.name] = part
    orders = sp.Tuple(*(sp.S.Zero for _ in part.parameters))
    psi = Image(part.name, orders, sp.Integer(_parity(part)), sp.sympify(_rough(part)), *part.parameters)
    calculus.write(psi, value, "images" if part.several else "image", part.span)
    return psi


def _parity(part: Definition) -> int:
    if part.integrand.count_ops() > LONG:
        return 0
    turned = part.integrand.xreplace({a: -a for a in part.parameters})
    return next((p for p in (-1, 1) if sp.expand(turned - p * part.integrand) == 0), 0)


def _rough(part: Definition) -> bool:
    """Whether Ψ has kinks, or may change fast, at 0."""
    entry = part.integrand
    if any(e.free_symbols & set(part.parameters) for e in entry.atoms(*KINKED)):
        return True
    return rough(entry, [*part.parameters, *gaussians(entry)])


def derived(calculus: Calculus, psi: Image) -> None:
    """The line of a derivative of Ψ: the mean of the derivative."""
    part = calculus.definitions[psi.a]
    lhs = psi.at(*part.parameters)
    if lhs not in calculus.lines:
        wanted = [(a, n) for a, n in zip(part.parameters, psi.orders, strict=True) if n != 0]
        calculus.write(lhs, calculus.mean(sp.diff(part.integrand, *wanted)), "image", part.span)
