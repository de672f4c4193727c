"""Powers of the width in a program whose vectors have size 1: what vanishes is dropped, what diverges is refused.

After :func:`tp.transform.normalize.normalize` every initial vector is Θ(1). A scalar may still carry a power of n (an
inner product is n times an average); where it is used, powers have to cancel. The result is the same program at n = 1,
whose limit can be evaluated, or the instruction that diverges.

Source: Yang & Hu 2021, *Tensor Programs IV*, Theorem 7.4 (the limit of training is the limit of a Netsor⊤⁺ program).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import sympy as sp

from tp.errors import LimitError, Message
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple, Sum, Weight
from tp.transform.train import EARLIER, SAMPLE, STEP

Orders = dict[str, sp.Expr]


def leading_order(program: Program) -> Program:
    """``program`` with only its leading terms and all widths put at their ratios to n = 1.

    Raises ``LimitError`` for an instruction whose coordinates grow with the width.
    """
    widths = _widths(program)
    orders = _settled(program, widths)
    one = dict.fromkeys(widths, sp.S.One)
    body = tuple(_leading(ins, orders, widths, one) for ins in program.body)
    spaces = tuple(replace(s, size=s.size.subs(one)) for s in program.spaces)
    sizes = {s.name: s.size for s in program.spaces}
    weights = []
    for w in program.weights:
        if w.cols is not None:
            variance = sp.expand(w.multiplier**2 * w.variance * sizes[w.cols.name])
            if variance.free_symbols & set(widths):
                reason = f"`{w.ref}` has entries whose variance times the width is {variance}"
                raise LimitError(Message(w.span, reason, "scale its variance like 1/n", "no Θ(1) limit"))
            # kept as the variance of a hat per unit of E[x²]
            weights.append(replace(w, multiplier=sp.S.One, variance=variance))
        else:
            weights.append(_initial(w, widths, one))
    return replace(program, body=body, spaces=spaces, weights=tuple(weights))


def _initial(w: Weight, widths: list[sp.Symbol], one: dict[sp.Symbol, sp.Expr]) -> Weight:
    """A vector weight whose size is 1, by its updates at least: what of its initial value is smaller is 0."""

    def kept(part: sp.Expr, power: int) -> sp.Expr:
        small = part != 0 and _order(sp.powsimp(w.multiplier**power * part), {}, widths) < 0
        return sp.S.Zero if small else part.subs(one)

    return replace(w, multiplier=w.multiplier.subs(one), mean=kept(w.mean, 1), variance=kept(w.variance, 2))


def adjoint_scale(program: Program) -> sp.Expr:
    """The N for which N ∂f/∂x of the last vectors x is Θ(1), f being the program's only output.

    For ``f = avg(v x)`` of a normalised program it is the width; a smaller output needs a larger N.
    """
    widths = _widths(program)
    orders = _settled(program, widths)
    made = {ins.out.name: ins for ins in _flat(program.body) if isinstance(ins, (Nonlin, Moment))}
    (output,) = program.outputs
    ins = made[output.name]
    order = orders.get(output.name, sp.S.Zero)
    names, seen = [output.name], set()
    while names:
        name = names.pop(0)
        found = made.get(name)
        if found is None or name in seen:
            continue
        seen.add(name)
        if isinstance(found, Moment):
            (n, *_) = widths
            return found.space.size * n ** (-order if order != -sp.oo else 0)
        names.extend(sorted(r.name for r in found.expr.atoms(Ref)))
    raise LimitError(
        Message(ins.span, f"`{output}` is no function of the network's width", "read it out of a vector", "nothing to train")
    )


def output_orders(program: Program) -> dict[str, sp.Expr]:
    """The power of the width in every scalar output: at most 0. Raises ``LimitError`` where it is more."""
    orders = _settled(program, _widths(program))
    made = {ins.out.name: ins for ins in _flat(program.body) if isinstance(ins, (Nonlin, Moment))}
    return {out.name: _bounded(out, made[out.name], orders) for out in program.outputs}


def _bounded(output: Ref, ins: Nonlin | Moment, orders: Orders) -> sp.Expr:
    order = orders.get(output.name, sp.S.Zero)
    if order > 0:
        reason = f"`{output}` is n^({order}) times an average over the width: at initialization it is random, or diverges"
        remedy = (
            "scale the readout like 1/n, as μP does: net.mup() derives all scales; net.ntk() and run.lazy() are the kernel limit"
        )
        command = (
            "scale the readout like 1/n: `tp train` does with --parametrization mup, and `tp mup` derives all scales; "
            "--parametrization ntp --method lazy is the kernel limit"
        )
        raise LimitError(Message(ins.span, reason, remedy, "no deterministic limit", command))
    return order


def _flat(body: Iterable[Instruction]) -> Iterator[Simple]:
    for ins in body:
        if isinstance(ins, Loop):
            yield from _flat(ins.body)
        else:
            yield ins


def _widths(program: Program) -> list[sp.Symbol]:
    return sorted(set().union(*(s.size.free_symbols for s in program.spaces)), key=str)


def _settled(program: Program, widths: list[sp.Symbol]) -> Orders:
    """The power of the width in every scalar."""
    orders: Orders = {}
    for _ in range(40):
        before = dict(orders)
        for ins in program.body:
            _visit(ins, orders, widths)
        if orders == before:
            return orders
    raise AssertionError("orders did not settle")


def _visit(ins: Instruction, orders: Orders, widths: list[sp.Symbol]) -> None:
    match ins:
        case Loop(body=body):
            for inner in body:
                _visit(inner, orders, widths)
        case Nonlin(space=None):
            orders[ins.out.name] = sp.Max(orders.get(ins.out.name, -sp.oo), _order(ins.expr, orders, widths))
        case Moment():
            orders[ins.out.name] = sp.Max(
                orders.get(ins.out.name, -sp.oo), _order(sp.expand_mul(ins.coeff * ins.expr), orders, widths)
            )
        case _:
            return


def _order(expr: sp.Expr, orders: Orders, widths: list[sp.Symbol]) -> sp.Expr:
    """The largest exponent of n over the terms of ``expr``; scalars count with theirs, anything nonlinear as 0."""
    return sp.Max(-sp.oo, *(_term(t, orders, widths) for t in sp.Add.make_args(expr) if t != 0))


def _term(term: sp.Expr, orders: Orders, widths: list[sp.Symbol]) -> sp.Expr:
    total: sp.Expr = sp.S.Zero
    for factor in sp.Mul.make_args(term):
        base, exponent = factor.as_base_exp()
        if base in widths:
            total += exponent
        elif isinstance(factor, sp.Sum):
            total += _order(factor.function, orders, widths)
        elif isinstance(factor, sp.Add):
            total += _order(factor, orders, widths)
        elif isinstance(base, Ref) and base.name in orders and exponent.is_number:
            total += exponent * orders[base.name]
    return total


def _leading(ins: Instruction, orders: Orders, widths: list[sp.Symbol], one: dict[sp.Symbol, sp.Expr]) -> Instruction:
    match ins:
        case Loop():
            return replace(ins, body=tuple(_leading(i, orders, widths, one) for i in ins.body))
        case MatMul() | OuterNonlin():
            return ins
        case Nonlin():
            order = sp.S.Zero if ins.space is not None else orders[ins.out.name]
            return replace(ins, expr=_keep(ins.expr, order, ins, orders, widths).subs(one))
        case Moment():
            expr = _keep(sp.expand_mul(ins.coeff * ins.expr), orders[ins.out.name], ins, orders, widths)
            return replace(ins, expr=expr.subs(one), coeff=sp.S.One)


def _keep(expr: sp.Expr, order: sp.Expr, ins: Nonlin | Moment, orders: Orders, widths: list[sp.Symbol]) -> sp.Expr:
    kept = []
    for term in sp.Add.make_args(expr) if expr != 0 else ():
        size = _term(term, orders, widths)
        if size > order:
            raise LimitError(
                Message(
                    ins.span,
                    f"{_spelled(ins)} grows like {_power(size)} {_through(term)}",
                    "lower the multiplier or the learning rate of its weights; net.mup(optimizer=…) gives the largest that work",
                    "diverges with the width",
                    "lower the multiplier or the learning rate of its weights; `tp mup` gives the largest that work",
                )
            )
        if size == order:
            kept.append(_inner(term, orders, widths, ins))
    return sp.Add(*kept)


def _spelled(ins: Nonlin | Moment) -> str:
    """What an instruction makes, as the spec has it: by its name there, or by its text."""
    lines = ins.span.source.text.splitlines()
    words = set(re.findall(r"\w+", ins.span.source.text))
    ours = {STEP, SAMPLE} | {s for s in ins.out.free_symbols if str(s) not in words}
    ref = Ref(ins.out.args[0], *(e for e in ins.out.index if not e.free_symbols & ours))
    if ref.name in words or not 0 < ins.span.line <= len(lines):
        return f"`{ref}`"
    written = lines[ins.span.line - 1][ins.span.column - 1 :][: ins.span.length]
    return f"the gradient at `{written}`" if ref.name.startswith(("d_", "b_")) else f"`{written}`"


def _power(size: sp.Expr) -> str:
    return "n" if size == 1 else f"n^{size}" if size.is_Integer else f"n^({size})"


def _through(term: sp.Expr) -> str:
    if any(EARLIER in total.bound_symbols for total in term.atoms(sp.Sum)):
        return "after an update"
    return f"through the term `{term}`"


def _inner(term: sp.Expr, orders: Orders, widths: list[sp.Symbol], ins: Nonlin | Moment) -> sp.Expr:
    """Terms of sums inside a term, down to their own leading order."""
    factors = []
    for f in sp.Mul.make_args(term):
        if isinstance(f, sp.Sum):
            factors.append(Sum(_keep(f.function, _order(f.function, orders, widths), ins, orders, widths), *f.limits))
        else:
            factors.append(f)
    return sp.Mul(*factors)
