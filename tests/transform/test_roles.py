"""What a weight is by where it stands: a read-out is a factor of all that is averaged, what acts entry by entry is input-like."""

from fractions import Fraction as F

import pytest

import tp
from tp.transform.parametrize import roles

HEAD = """network readout
  width n
  dim   d = 4
  index t in 1..2
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
"""
WEIGHTS = {
    "v": "v : [n] ~ N(0, 1/n)",
    "u": "u : [n] ~ N(0, 1/n)",
    "g": "g : [n] ~ 1",
    "b": "b : [n] = 1 * N(0, 0)",
    "s": "s : [n] ~ N(0, 1)",
    "q": "q[t] : [n] ~ N(0, 1/n) for t",
    "p": "p[t] : [n] ~ N(0, 1) for t",
}


def network(used, output):
    return HEAD + "".join(f"  weight {WEIGHTS[w]}\n" for w in used) + f"  h = U @ x\n  output f = {output}\n"


@pytest.mark.parametrize(
    ("used", "output", "readouts"),
    [
        ("vg", "v @ (g * tanh(h))", "v"),
        ("gv", "v @ (g * tanh(h))", "v"),
        ("vgb", "v @ (g * tanh(h) + b)", "v"),
        ("vgb", "v @ tanh(g * h + b)", "v"),
        ("vgb", "v @ (g * layernorm(h) + b)", "v"),
        ("vs", "v @ (s * tanh(h))", "v"),
        ("vu", "v @ tanh(h) + u @ h", "vu"),
        ("qp", "sum(q[t] @ tanh(h + p[t]) for t)", "q"),
        ("vgp", "v @ mean(g * tanh(h + p[t]) for t)", "v"),
    ],
)
def test_the_readout_is_what_is_contracted(used, output, readouts):
    found = roles(tp.parse(network(used, output)).program)
    assert {name[0] for name, role in found.items() if role == "output"} == set(readouts)
    assert {name[0] for name, role in found.items() if role == "input"} == set(used) - set(readouts) | {"U"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_gain_inside_the_output_has_the_rules_of_one_outside(optimizer):
    inside = tp.parse(network("vgb", "v @ (g * tanh(h) + b)")).mup(optimizer).rules
    outside = tp.parse(network("vgb", "v @ y").replace("  output", "  y = g * tanh(h) + b\n  output")).mup(optimizer).rules
    assert dict(inside) == dict(outside) and inside["g"].role == "input"
    assert (inside["g"].a, inside["g"].c) == (0, F(-1) if optimizer == "sgd" else 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["mup", "ntp"])
def test_finite_networks_agree(name, optimizer):
    net = tp.parse(network("vgb", "v @ (g * tanh(h) + b)"))
    check = net.coord_check(optimizer, name, (64, 256), steps=1, seeds=2, budget=0)
    assert check.agrees, check
    assert check.report.stable == (name == "mup" or optimizer == "sgd")
