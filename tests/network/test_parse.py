"""Text to tree: what is written is what is read, and back."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import pytest
from network.specs import EVERYTHING, GOOD

from tp.errors import SpecError
from tp.network.files import load_text
from tp.network.parse import parse, parser
from tp.network.show import show, show_expr
from tp.network.tree import Binary, Call, Define, Function, Index, Let, Name, Neg, Num, Range, Reduce, Train, Transpose, Weight


def expression(text):
    return parse(f"network e\nf = {text}\n").statements[0].body


def num(value):
    return Num(Fraction(value))


@pytest.mark.parametrize("name", GOOD)
def test_parse_undoes_show(name):
    network = parse(GOOD[name], name)
    text = show(network)
    assert parse(text) == network
    assert show(parse(text)) == text


x, y, z = Name("x"), Name("y"), Name("z")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-x^2", Neg(Binary("^", x, num(2)))),
        ("x**2", Binary("^", x, num(2))),
        ("x^-y^z", Binary("^", x, Neg(Binary("^", y, z)))),
        ("-x*y", Binary("*", Neg(x), y)),
        ("x - y - z", Binary("-", Binary("-", x, y), z)),
        ("x/y*z", Binary("*", Binary("/", x, y), z)),
        ("2*x @ y", Binary("@", Binary("*", num(2), x), y)),
        ("x @ y + z", Binary("+", Binary("@", x, y), z)),
        ("x.T @ y", Binary("@", Transpose(x), y)),
        ("+x", x),
        ("x[2*y+1]", Name("x", (Binary("+", Binary("*", num(2), y), num(1)),))),
        ("sum(x for y in 1..3, z)", Reduce("sum", x, (Range("y", num(1), num(3)), Range("z")))),
        ("softmax(x over y)", Call("softmax", (x,), Range("y"))),
        ("max(x, .5)", Call("max", (x, num("0.5")))),
        ("x*2.", Binary("*", x, num(2))),
        ("1e-3", num("0.001")),
        ("σ + Ω", Binary("+", Name("σ"), Name("Ω"))),
        ("(\n x +\n y # why\n)", Binary("+", x, y)),
        ("x + \\\n y", Binary("+", x, y)),
    ],
)
def test_expressions(text, tree):
    assert expression(text) == tree


def test_words_are_names_where_no_word_can_stand():
    network = parse("network lr\nlet N = 3, lr = 1, boundary = 2\nf = N*lr + frozen_*boundary\n")
    assert [s.name for s in network.statements] == ["N", "lr", "boundary", "f"]


def test_ranges_need_no_spaces():
    assert expression("sum(x for y in 0..31)").ranges == (Range("y", num(0), num(31)),)
    assert expression("sum(x for y in -1..1)").ranges == (Range("y", Neg(num(1)), num(1)),)


def test_statements():
    by = {}
    for s in parse(EVERYTHING).statements:
        by.setdefault(type(s), []).append(s)
    assert [(i.names, i.boundary) for i in by[Index]] == [(("t", "s"), "circular"), (("p",), None)]
    assert [w.frozen for w in by[Weight]] == [False, False, True, False, True, False, False, False]
    assert [w.short for w in by[Weight]] == [True, False, False, True, True, False, True, True]
    gain = by[Weight][3]
    assert (gain.mean, gain.variance, gain.multiplier) == (num(1), None, None)
    assert [d.name for d in by[Define] if d.output] == ["f", "e"]
    assert [f.over for f in by[Function]] == [None, "i"]
    assert [s.name for s in by[Let]] == ["L", "sw2", "sb2", "a", "A"]
    assert by[Train][0].options[0] == ("loss", Name("mse"))


@pytest.mark.parametrize("text", ["train sgd", "train sgd, lr = 1", "train sgd lr = 1", "train sgd with lr = 1"])
def test_training_forms(text):
    (train,) = parse(f"network n\n{text}\n").statements
    assert train == Train("sgd", (("lr", num(1)),) if "lr" in text else ())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("= 2 * N(0, 1)", (num(2), num(0), num(1))),
        ("= N(0, 1) * 2", (num(2), num(0), num(1))),
        ("= N(0, 1) / 2", (Binary("/", num(1), num(2)), num(0), num(1))),
        ("= N(0, 1)", (None, num(0), num(1))),
        ("= x * y * N(0, 1)", (Binary("*", x, y), num(0), num(1))),
        ("~ 3", (None, num(3), None)),
    ],
)
def test_initialisations(text, parts):
    (w,) = parse(f"network n\nweight w : [] {text}\n").statements
    assert (w.multiplier, w.mean, w.variance) == parts


def test_line_ends_tabs_and_odd_spaces():
    text = "\ufeffnetwork one\r\n\twidth n\r\r\n\u00a0 dim d = 3\u2028\n  f = µ # c\n\n\n"
    network = parse(text)
    assert [s.name for s in network.statements] == ["n", "d", "f"]
    assert network.statements[2].body == Name("μ")
    assert network.statements[2].span.line == 5


def test_every_node_knows_its_place():
    (define,) = parse("network n\n  h[l] = W[l] @ relu(h[l-1])  for l in 2..3\n", "spec.tp").statements
    product = define.body
    assert str(product.span) == "spec.tp:2:10"
    assert (product.right.span.column, product.right.span.length) == (17, len("relu(h[l-1])"))
    assert define.ranges[0].span.column == 35


def test_long_sums_stay_shallow_and_exact():
    terms = [f"{'-' if k % 3 else '+'} x{k}" for k in range(1, 3000)]
    network = parse(f"network n\nf = x0 {' '.join(terms)}\n")
    found = []

    def collect(e, sign):
        if isinstance(e, Binary):
            collect(e.left, sign)
            collect(e.right, sign if e.op == "+" else -sign)
        elif isinstance(e, Neg):
            collect(e.arg, -sign)
        else:
            found.append((sign, e.name))

    collect(network.statements[0].body, 1)
    assert found == [(1, "x0"), *((-1 if k % 3 else 1, f"x{k}") for k in range(1, 3000))]
    assert parse(show(network)) == network


def test_numbers_show_exactly():
    assert show_expr(Num(Fraction(1, 8))) == "0.125"
    assert show_expr(Num(Fraction(1, 3))) == "1/3"
    assert show_expr(Num(Fraction(-3, 2))) == "-1.5"
    assert show_expr(Binary("^", Num(Fraction(-3)), num(2))) == "(-3)^2"


def test_the_parser_is_built_once():
    assert parser() is parser()


def test_files(tmp_path):
    path = tmp_path / "a.tp"
    path.write_text("network a\n", "utf-8")
    assert load_text(path) == "network a\n"
    path.write_bytes(b"network \xff\n")
    with pytest.raises(SpecError, match="UTF-8"):
        load_text(path)
    with pytest.raises(SpecError, match="cannot read the spec"):
        load_text(tmp_path / "none.tp")


def test_spec_text_is_not_executed():
    marker = f"TP_TEST_{os.getpid()}"
    evil = f"__import__('os').environ.__setitem__('{marker}', '1')"
    for text in (f"network n\nlet a = {evil}\n", f"network n\nf = {evil}\n", f"network {evil}\n"):
        with pytest.raises(SpecError):
            parse(text)
    assert marker not in os.environ


def test_parsing_imports_nothing_heavy():
    code = "import sys, tp.network.check, tp.network.parse; print([m for m in ('sympy', 'numpy', 'numba') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
