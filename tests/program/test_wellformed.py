"""The checker accepts programs and names what is wrong with others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy as sp
from program import built
from program.built import S, f, g, h, mlp, n, over, p, rnn, s, t, tanh, v, weight, z

from tp.program.ir import Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax, Space
from tp.program.wellformed import IllFormed, check_program

W = Ref("W")
T = Space("m", 4 * n)


def program(*body, **changes) -> Program:
    """A program with a Matrix W, a Vector v, Vectors U[j] and data x[j], and ``body``."""
    return replace(built.hopfield(), body=body, **{"outputs": (f(),), **changes})


END = Moment(f(), v() * h(), S, n)
H = Nonlin(h(), v(), S)

WRONG = {
    "is not defined": program(Nonlin(h(), v() + g(), S), END),
    "h at its place reads h before|g at its place reads h before": program(Nonlin(g(), tanh(h()), S), H, END),
    "h is defined twice": program(H, Nonlin(h(), 2 * v(), S), END),
    r"h\[3\] is defined twice": program(Nonlin(h(p), v(), S, over((p, 0, 5))), Nonlin(h(3), v(), S), H, END),
    "the Matrix W stands outside a MatMul": program(Nonlin(h(), W * v(), S), END),
    "v is a Vector of n, not a Matrix": program(MatMul(h(), v(), v(), False, S), END),
    "v is a Vector of n in an expression over scalars": program(H, Nonlin(g(), v() + 1, None), END),
    "the index p is not bound": program(Nonlin(h(), Ref("U", p), S), END),
    "does not carry the index p": program(Nonlin(h(), Ref("U", p), S, over((p, 1, 4))), END),
    "an index is bound twice": program(Nonlin(h(p), v(), S, over((p, 1, 4), (p, 1, 2))), H, END),
    r"reads U\[5\], which is not defined": program(Nonlin(h(p), Ref("U", p), S, over((p, 1, 5))), H, END),
    r"U\[p\+q\].*not defined|not bound": program(Nonlin(h(p), Ref("U", p + sp.Symbol("q")), S, over((p, 1, 4))), H, END),
    "the output g is not defined": program(H, END, outputs=(g(),)),
    "the output h is a Vector of n, not a Scalar": program(H, END, outputs=(h(),)),
    "no outputs": program(H, END, outputs=()),
    "v is both initial data and computed": program(Nonlin(v(), sp.S.One, S), H, END),
    "is not finite": program(Nonlin(h(), v() * sp.zoo, S), END),
    "width m is used but not declared": program(H, Nonlin(g(), sp.S.One, T), END),
    "is not affine": program(Nonlin(h(p), Ref("U", p**2), S, over((p, 1, 2))), H, END),
    "the coefficient reads h": program(H, Moment(f(), v(), S, h())),
    "columns without rows": program(H, END, weights=(*built.hopfield().weights, weight(Ref("A"), (), None, S, 1))),
    "is not a constant": program(H, END, weights=(*built.hopfield().weights, weight(Ref("A"), (), S, S, v()))),
    "width n is declared twice": program(H, END, spaces=(S, S)),
    "its size 4*|uses q": program(H, END, spaces=(S, Space("m", 4 * sp.Symbol("q")))),
    "3 finite axes": program(H, END, data=(replace(built.hopfield().data[0], finite_axes=3),)),
    r"t=1 reads g\[2\] before": program(
        Nonlin(g(0), v(), S), Loop(Range(t, sp.S.One, sp.Integer(3)), (Nonlin(g(t), g(t + 1), S),)), Nonlin(g(4), v(), S), H, END
    ),
    "reads A.*outside the table": program(
        Nonlin(h(), v() * Ref("A", 3), S), END, tables={"A": (over((p, 1, 2)), (sp.S.One, sp.S.One))}
    ),
    "the table A has 1 indices": program(
        Nonlin(h(), v() * Ref("A", 1, 1), S), END, tables={"A": (over((p, 1, 2)), (sp.S.One, sp.S.One))}
    ),
    "is both a table and a variable": program(H, END, tables={"h": (over((p, 1, 2)), (sp.S.One, sp.S.One))}),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_wrong_is_named(reason):
    with pytest.raises(IllFormed, match=reason):
        check_program(WRONG[reason])


def test_shapes_of_products():
    wide = replace(built.hopfield(), spaces=(S, T), weights=(*built.hopfield().weights, weight(Ref("A"), (), T, S, 1 / n)))
    A = Ref("A")
    good = (MatMul(g(), A, v(), False, T), MatMul(h(), A, g(), True, S), END)
    check_program(replace(wide, body=good))
    with pytest.raises(IllFormed, match="A acts on n, but g is a Vector of m"):
        check_program(replace(wide, body=(good[0], MatMul(h(), A, g(), False, T), H, END)))
    with pytest.raises(IllFormed, match="Aᵀ gives a Vector of n, not of m"):
        check_program(replace(wide, body=(good[0], MatMul(h(), A, g(), True, T), END)))
    with pytest.raises(IllFormed, match="g is a Vector of m in an expression over n"):
        check_program(replace(wide, body=(good[0], Nonlin(h(), g() + v(), S), END)))


def test_all_problems_are_reported_at_once():
    with pytest.raises(IllFormed) as error:
        check_program(program(Nonlin(h(), g() + Ref("U", p), S), outputs=()))
    assert {"h: g is not defined", "h: the index p is not bound", "no outputs"} <= {
        line.strip() for line in str(error.value).splitlines()
    }


def test_loops_must_run_in_the_right_direction():
    good = rnn()
    check_program(good)
    (loop,) = [ins for ins in good.body if isinstance(ins, Loop)]
    with pytest.raises(IllFormed, match="before it is computed"):
        check_program(replace(good, body=tuple(replace(i, reverse=True) if i is loop else i for i in good.body)))
    with pytest.raises(IllFormed, match="before it is computed"):
        check_program(replace(good, body=tuple(replace(i, body=i.body[::-1]) if i is loop else i for i in good.body)))
    backward = built.mlp_backward()
    with pytest.raises(IllFormed, match="before it is computed"):
        upwards = tuple(replace(i, reverse=False) if isinstance(i, Loop) else i for i in backward.body)
        check_program(replace(backward, body=upwards))


def test_boundaries_give_reads_beyond_the_range_a_meaning():
    conv = built.conv()
    check_program(conv)
    with pytest.raises(IllFormed, match=r"reads x\[-1, 1\], which is not defined"):
        check_program(replace(conv, boundary={}))
    for mode in ("circular", "reflect"):
        check_program(replace(conv, boundary={k: ((mode, *slots[0][1:]), *slots[1:]) for k, slots in conv.boundary.items()}))


def test_symbolic_ranges_are_checked_at_a_sample():
    good = mlp()
    assert good.constants
    check_program(good)
    with pytest.raises(IllFormed, match="not defined"):
        check_program(replace(good, body=(*good.body[:-1], Moment(f(), v() * h(built.L + 1), S, n))))


def test_softmax_binds_its_index():
    logits = Nonlin(z(t, s), Ref("x", s), None, over((t, 1, 3), (s, 1, 4)))
    bound = sp.Symbol("s_", integer=True)
    weights = Softmax(z(t, s), z(t, bound), bound, sp.S.One, sp.Integer(4))
    attention = Nonlin(g(t), sp.Sum(weights * Ref("U", s), (s, 1, 4)), S, over((t, 1, 3)))
    check_program(program(logits, attention, Moment(f(), g(1), S)))
    beyond = Softmax(z(t, s), z(t, bound), bound, sp.S.One, sp.Integer(5))
    with pytest.raises(IllFormed, match=r"z\[1, 5\], which is not defined"):
        attention = Nonlin(g(t), sp.Sum(beyond * Ref("U", s), (s, 1, 4)), S, over((t, 1, 3)))
        check_program(program(logits, attention, Moment(f(), g(1), S)))
