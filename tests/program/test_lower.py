"""Specs become tensor programs: golden listings, and what lowering promises about single constructions."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import tp
from tp.errors import SpecError
from tp.network.check import check
from tp.network.parse import parse
from tp.program.ir import Loop, MatMul, Moment, Nonlin, Program, Ref, Softmax
from tp.program.listing import listing
from tp.program.lower import lower
from tp.program.reads import flat, reads
from tp.program.wellformed import check_program

HERE = Path(__file__).parent
ZOO = Path(__file__).parents[2] / "tp" / "zoo"


def lowered(text: str, **overrides: object) -> Program:
    program = lower(check(parse(text), overrides))
    check_program(program)
    return program


def spec(body: str, **overrides: object) -> Program:
    """A spec around ``body``: width n, dim d, input x, U, W, v and h are there."""
    lines = ["network t", "width n", "dim d = 3", "input x : [d]", "weight U : [n, d] ~ N(0, 1/d)"]
    lines += ["weight W : [n, n] ~ N(0, 1/n)", "weight v : [n] ~ N(0, 1/n)", "h = U @ x"]
    text = "\n".join([*lines, *(line.strip() for line in body.strip().splitlines())]) + "\n"
    return lowered(text, **overrides)


def find(program: Program, name: str) -> MatMul | Nonlin | Moment:
    (ins,) = [ins for ins in flat(program.body) if ins.out.name == name]
    return ins


def body(program: Program) -> list[str]:
    """The listing's instructions, blanks removed."""
    text = listing(program).split("\n\n")[1]
    return [" ".join(line.split()) for line in text.splitlines()][:-1]


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.tp")), ids=lambda p: p.stem)
def test_zoo(path, golden):
    golden(HERE / "golden" / f"{path.stem}.txt", listing(lowered(path.read_text("utf-8"))))


@pytest.mark.parametrize("path", sorted((HERE / "specs").glob("*.tp")), ids=lambda p: p.stem)
def test_specs(path, golden):
    golden(HERE / "golden" / f"{path.stem}.txt", listing(lowered(path.read_text("utf-8"))))


def test_loops_stay_loops_for_a_symbolic_number_of_layers():
    text = (ZOO / "mlp.tp").read_text("utf-8")
    program = lowered(text, L=None)
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    L = sp.Symbol("L", integer=True, positive=True)
    assert loop.range.hi == L and L in program.constants
    assert [type(ins) for ins in loop.body] == [Nonlin, MatMul, Nonlin]


# ---------------------------------------------------------------- instructions


def test_a_product_is_one_matmul_of_a_named_vector():
    program = spec("output f = v @ (W @ tanh(h))")
    assert body(program)[1:] == ["x1 = tanh(h) Nonlin n", "m1 = W x1 MatMul n", "f = Σ_α v·m1 Moment n"]


def test_a_definition_that_is_a_product_is_that_matmul():
    program = spec("y = W.T @ h\noutput f = v @ y")
    y = find(program, "y")
    assert isinstance(y, MatMul) and y.transpose and y.x == Ref("h")


def test_equal_products_are_computed_once():
    program = spec("y = tanh(W @ h) * (W @ h) + W.T @ h\noutput f = v @ y")
    assert [ins.transpose for ins in flat(program.body) if isinstance(ins, MatMul)] == [False, True]


def test_what_cancels_is_not_computed():
    program = spec("y = h + W @ tanh(h) - W @ tanh(h) + 0*avg(h)\noutput f = v @ y")
    assert body(program)[1:] == ["y = h Nonlin n", "f = Σ_α v·y Moment n"]


def test_scaled_matrices():
    program = spec("y = 2*W @ h - (W/3).T @ h\noutput f = v @ y")
    assert find(program, "y").expr == 2 * Ref("m1") - Ref("m2") / 3


def test_matrices_with_a_finite_side_are_families_of_vectors():
    program = spec("weight V : [d, n] = 1/n * N(0, 1)\ny = V @ h\noutput f = y\noutput g = U.T @ h + x")
    assert body(program)[1:] == [
        "y[j_d] = Σ_α V[j_d]·h Moment n j_d = 1..3",
        "f[j_d] = y[j_d] Nonlin 1 j_d = 1..3",
        "m1[j_d] = Σ_α U[j_d]·h Moment n j_d = 1..3",
        "g[j_d] = m1[j_d] + x[j_d] Nonlin 1 j_d = 1..3",
    ]
    V = next(w for w in program.weights if w.ref.name == "V")
    assert V.finite_first and not V.short and V.multiplier == 1 / sp.Symbol("n", integer=True, positive=True)


def test_finite_products_are_sums_with_their_own_indices():
    program = spec("weight A : [d, d] ~ N(0, 1)\ny = U @ (A @ (A.T @ x)) * (x @ x)\noutput f = v @ y")
    total = find(program, "y").expr
    for part in total.atoms(sp.Sum):
        inside = {s for inner in part.function.atoms(sp.Sum) for s in inner.variables}
        assert not inside & set(part.variables)
    assert len(total.atoms(sp.Sum)) == 4
    assert not total.free_symbols


def test_constant_factors_stay_in_the_coefficient():
    program = spec("output f = 2*dot(h, W @ h)/n\noutput g = avg(h^2)\noutput k = avg(h) + 1")
    n = sp.Symbol("n", integer=True, positive=True)
    assert find(program, "f").coeff == 2 and find(program, "g").coeff == 1
    assert isinstance(find(program, "k"), Nonlin) and n not in find(program, "k").expr.free_symbols


def test_layernorm_needs_two_moments():
    program = spec("y = layernorm(W @ h)\noutput f = v @ y")
    assert [type(ins).__name__ for ins in flat(program.body)] == ["Nonlin", "MatMul", "Moment", "Moment", "Nonlin", "Moment"]


def test_functions_are_macros_that_capture_nothing():
    program = spec(
        """
        index k in 1..3
        let centre(z) = z - mean(z for k)
        let spread(z over i) = z - mean(z for i)
        weight b[k] : [n] ~ N(0, 1)
        u[k] = tanh(b[k])
        g[k] = spread(u[k]^2 over k)
        output f = v @ sum(g[k] for k)
        """
    )
    g = find(program, "g")
    assert g.domain[0].index not in {s for part in g.expr.atoms(sp.Sum) for s in part.variables}


# ---------------------------------------------------------------- families


def test_taps_share_the_activation_of_a_position():
    program = lowered((HERE / "specs" / "conv.tp").read_text("utf-8"))
    activation = find(program, "x1")
    assert len(activation.domain) == 1
    assert program.boundary["x1"] == program.boundary["h"]
    product = next(ins for ins in flat(program.body) if isinstance(ins, MatMul))
    assert str(product.x) in ("x1[k+p]", "x1[p+k]") and len(product.domain) == 2


def test_an_activation_that_is_not_zero_at_zero_stays_at_its_tap():
    text = (HERE / "specs" / "conv.tp").read_text("utf-8").replace("relu(h", "cos(h")
    assert len(find(lowered(text), "x1").domain) == 2
    assert len(find(lowered(text.replace("zero", "circular")), "x1").domain) == 1


def test_values_at_the_past_are_computed_once():
    program = spec(
        """
        let T = 5
        index t, s in 1..T
        weight b[t] : [n] ~ N(0, 1)
        o[t] = sum(W @ b[s] for s in 1..t)
        output f = v @ o[T]
        """
    )
    assert str(find(program, "m1").domain[0]) == "s in 1..5" and len(find(program, "m1").domain) == 1


def test_a_sum_over_the_past_recurs_with_its_products():
    program = spec(
        """
        let T = 5
        index t in 1..T
        g[1] = h
        g[t] = sum(W @ tanh(g[s]) for s in 1..t-1)   for t in 2..T
        output f = v @ g[T]
        """
    )
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    assert str(loop.range) == "t in 2..4"


def test_parts_outside_a_recursion_leave_its_loop():
    program = spec(
        """
        let T = 5
        index t in 1..T
        input y[t] : [d]
        g[0] = 0
        g[t] = W @ tanh(g[t-1]) + W.T @ (U @ y[t])
        output f = v @ g[T]
        """
    )
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    assert [ins.out.name for ins in loop.body][-1] == "g"
    assert len([ins for ins in loop.body if isinstance(ins, MatMul)]) == 1


def test_softmax_reads_its_logits_at_two_indices():
    program = lowered((ZOO / "attention.tp").read_text("utf-8"))
    (softmax,) = find(program, "o").expr.atoms(Softmax)
    at, logits, bound, lo, hi = softmax.args
    assert at.index[1] != logits.index[1] == bound and (lo, hi) == (1, 6)


def test_inner_products_inside_softmax_are_one_family():
    program = spec(
        """
        index t, s in 1..4
        weight b[t] : [n] ~ N(0, 1)
        o[t] = sum(softmax(dot(b[t], W @ b[s])/n over s)*b[s] for s)
        output f = v @ o[1]
        """
    )
    assert [str(r) for r in find(program, "m2").domain] == ["t in 1..4", "s in 1..4"]


def test_tables_are_read_by_index_and_folded_at_numbers():
    program = spec(
        """
        index u, w in 0..1
        let A[u, w] = [[1/2, 0.25], [2, 3]]
        weight b[u] : [n] ~ N(0, A[1, 1])
        g[u] = sum(A[u, w]*b[w] for w)
        output f = v @ g[1]*A[0, 1]
        """
    )
    ranges, rows = program.tables["A"]
    assert rows == ((sp.Rational(1, 2), sp.Rational(1, 4)), (2, 3)) and [str(r.index) for r in ranges] == ["u", "w"]
    assert find(program, "f").coeff.is_Mul and find(program, "f").coeff.as_coeff_Mul()[0] == sp.Rational(1, 4)
    assert next(w for w in program.weights if w.ref.name == "b").variance == 3


def test_exponents_are_read_off_long_declarations():
    program = spec(
        """
        let L = 3
        index l in 1..L
        let a[l]
        let c
        weight M[l] : [n, n] = n^(-a[l]) * N(0, 2*n^(-1)), lr n^(-c)
        g[1] = M[1] @ h
        g[l] = M[l] @ g[l-1]  for l in 2..L
        output f = v @ g[L]
        """
    )
    n, c = sp.Symbol("n", integer=True, positive=True), sp.Symbol("c", positive=True)
    l = sp.Symbol("l", integer=True)
    M = next(w for w in program.weights if w.ref.name == "M")
    assert (M.multiplier, M.variance, M.rate) == (n ** -Ref("a", l), 2 / n, n**-c)
    assert program.tables["a"][1] is None and c in program.constants


def test_numbers_are_exact():
    program = spec("let s = sqrt(2), r = 0.1\noutput f = s*r*dot(v, h)")
    assert find(program, "f").coeff / sp.Symbol("n", integer=True, positive=True) == sp.sqrt(2) / 10
    program = spec("let r = 3\noutput f = r*dot(v, h)", r=Fraction(1, 7))
    assert find(program, "f").coeff.as_coeff_Mul()[0] == sp.Rational(1, 7)


def test_constant_vectors_belong_to_their_width():
    program = spec("index t in 1..3\ng[0] = 0\ng[t] = W @ tanh(g[t-1]) + h\noutput f = v @ g[3]")
    first = next(ins for ins in flat(program.body) if str(ins.out) == "g[0]")
    assert first.expr == 0 and first.space == program.spaces[0]


def test_a_loop_that_runs_backwards():
    program = spec("index t in 1..3\ng[4] = h\ng[t] = W @ tanh(g[t+1])\noutput f = v @ g[1]")
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    assert loop.reverse


def test_two_indices_of_recursion():
    program = spec(
        """
        let L = 3, T = 4
        index t in 1..T
        weight A[l] : [n, n] ~ N(0, 1/n)  for l in 1..L
        weight B[l] : [n, n] ~ N(0, 1/n)  for l in 1..L
        g[0, t] = h
        g[l, 0] = 0                                             for l in 1..L
        g[l, t] = A[l] @ tanh(g[l-1, t]) + B[l] @ tanh(g[l, t-1])  for l in 1..L
        output f = v @ g[L, T]
        """
    )
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    assert any(isinstance(ins, Loop) for ins in loop.body)


def test_families_that_recur_together_share_a_loop():
    program = spec(
        """
        index t, s in 1..4
        weight C : [n, n] ~ N(0, 1/n)
        c[0] = 0
        g[0] = h
        c[s] = sigmoid(W @ g[s-1])*c[s-1] + tanh(C @ g[s-1])
        g[t] = tanh(c[t])
        output f = v @ g[4]
        """
    )
    (loop,) = [ins for ins in program.body if isinstance(ins, Loop)]
    assert {"c", "g"} <= {ins.out.name for ins in loop.body}


def test_scalar_weights_and_scalars():
    program = spec("weight a : [] ~ N(0, 1)\ny = a*h\noutput f = a*dot(v, y) + a")
    a = next(w for w in program.weights if w.ref.name == "a")
    assert a.rows is None and a.cols is None
    assert isinstance(find(program, "f"), Nonlin) and find(program, "f").space is None


def test_outputs_over_an_index_keep_it():
    declared = "index t in 1..3\nweight b[t] : [n] ~ N(0, 1)\n"
    program = spec(declared + "output f[t] = v @ b[t]\noutput g[1] = v @ h\noutput g[2] = v @ b[1]")
    assert [str(r) for r in program.outputs] == ["f[t]", "g[i1]"]


def test_several_widths():
    program = lowered(
        """
        network two
        width n
        width m = 4*n
        dim d = 2
        input x : [d]
        weight U : [n, d] ~ N(0, 1)
        weight A : [m, n] ~ N(0, 1/n)
        weight B : [n, m] ~ N(0, 1/m)
        weight v : [n] ~ N(0, 1/n)
        output f = v @ (B @ relu(A @ (U @ x)))
        """.replace("\n        ", "\n").lstrip()
    )
    n = sp.Symbol("n", integer=True, positive=True)
    assert [(s.name, s.size) for s in program.spaces] == [("n", n), ("m", 4 * n)]
    assert next(w for w in program.weights if w.ref.name == "B").variance == 1 / (4 * n)


def test_training_is_carried():
    assert spec("output f = v @ h\ntrain sgd, loss = mse, steps = 10").training.optimizer == "sgd"


def test_spans_point_at_the_text():
    program = spec("y = h + W.T @ tanh(h)\noutput f = v @ y")
    product = next(ins for ins in flat(program.body) if isinstance(ins, MatMul))
    assert product.span.line == 9 and product.span.source.line(9)[product.span.column - 1 :].startswith("W.T")


def test_sums_inside_max_are_named():
    program = spec("index t in 1..3\nweight b[t] : [n] ~ N(0, 1)\ny = max(sum(b[t] for t), 0)\noutput f = v @ y")
    assert find(program, "y").expr == sp.Max(0, Ref("x1"))


def test_nothing_is_read_that_is_not_written():
    for path in (*ZOO.glob("*.tp"), *(HERE / "specs").glob("*.tp")):
        program = lowered(path.read_text("utf-8"))
        written = {ins.out.name for ins in flat(program.body)}
        initial = {d.ref.name for d in program.data} | {w.ref.name for w in program.weights} | set(program.tables)
        assert all(r.name in written | initial for ins in flat(program.body) for r, _ in reads(ins))


def test_equal_specs_give_equal_programs():
    text = (ZOO / "attention.tp").read_text("utf-8")
    assert lowered(text) == lowered(text)


def test_too_deep_an_expression_is_an_error_of_the_spec():
    with contextlib.suppress(SpecError):
        spec("y = " + "tanh(" * 90 + "h" + ")" * 90 + "\noutput f = v @ y")


def test_matrices_between_widths_are_centred():
    """A mean m of every entry adds n m avg(h) to each coordinate of W h, which no rule for W h has: it is refused."""
    text = "network m\n  width n\n  weight v : [n] ~ N(1, 1)\n"
    text += "  weight W : [n, n] ~ N({}, 1/n)\n  output f = v @ tanh(W @ v)/n\n"
    assert tp.parse(text.format("0")).program.weights[0].mean == 1
    with pytest.raises(tp.SpecError, match=r"W @ h \+ n\*mean\*avg\(h\)") as caught:
        tp.parse(text.format("2/n")).program  # noqa: B018
    assert caught.value.diagnostics[0].span.line == 4


@pytest.mark.usefixtures("quick")
def test_a_sum_over_an_empty_range_is_nothing():
    """Steps before the first: the sum is left out, and what it alone would read is not asked for."""
    text = """network steps
  width n
  dim   d = 2
  let   T = 2
  index t in 1..T
  input  x[t] : [d]
  input  y : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  h[t] = U @ x[t]
  a[t] = avg(h[t]^2)
  output f = v @ erf(U @ y + sum(softmax(a[t] over t)*h[t] for t))
"""
    X = np.array([[1.0, 0.5], [-0.25, 2.0]])
    alone = tp.parse("\n".join(s for s in text.splitlines() if "[t]" not in s) + "\n  output f = v @ erf(U @ y)\n")
    for found, expected in zip(*(net.kernel("nngp", "ntk")(X) for net in (tp.parse(text, T=0), alone)), strict=True):
        assert found == pytest.approx(expected)
    with pytest.raises(tp.DataError, match="no input"):
        tp.zoo("gru", T=0).kernel("nngp")(X)
