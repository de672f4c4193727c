"""Every letter of a page is explained on it: by an equation, a range, a where-clause, the legend, or the spec itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from faces.symbols import unexplained, unexplained_tex

import tp
from tp.faces.plain import greek
from tp.faces.tex import decorated

GATES = """network gates
  width n
  dim   d = 3
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n)
  h = U @ x
  g = sigmoid(A @ tanh(h) + U @ x) * tanh(B @ relu(h) + U @ x)
  output f = v @ g
"""
SEVERAL = """network several
  width n
  dim   d = 3
  input  x : [d]
  input  y : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight v : [n]    ~ N(0, 1/n)
  h = U @ x + U @ y
  output f = v @ relu(layernorm(h))
"""
SPECS = {**dict.fromkeys(tp.zoo()), "gates": GATES, "several": SEVERAL}
LONG = {("gru", "z"), ("transformer", "z"), ("lstm", "nngp")}
"""Pages of a hundred thousand characters and more: the rules that print them print those of the others."""


def limits(name: str) -> dict[str, Any]:
    """The limits of a network that there are, by kind."""
    net = tp.parse(SPECS[name]) if SPECS[name] else tp.zoo(name)
    found: dict[str, Any] = {}
    for kind, make in (("nngp", net.nngp), ("ntk", net.ntk), ("z", net.z)):
        if (name, kind) in LONG:
            continue
        try:
            found[kind] = make()
            found[f"{kind} closed"] = found[kind].closed()
        except tp.LimitError:
            continue
    return found


@pytest.mark.parametrize("name", SPECS)
def test_every_letter_is_explained(name):
    net = tp.parse(SPECS[name]) if SPECS[name] else tp.zoo(name)
    words = set(re.findall(r"[^\W\d]\w*", re.sub(r"#.*", "", net.text)))
    constants = {str(c) for c in net.program.constants}
    for kind, limit in limits(name).items():
        assert not unexplained(limit.text(), {greek(w) for w in words}), kind
        assert not unexplained_tex(limit.latex(), {decorated(c) for c in constants}), kind


def test_what_nothing_explains_is_found():
    page = tp.parse(GATES).ntk()
    text, tex, own = page.text(), page.latex(), set(re.findall(r"\w+", GATES))
    assert unexplained(text.replace("m1 := A tanh(h)\n", ""), own) == set()  # of what is not in the formulas nothing is asked
    assert unexplained(re.sub("^u1 := .*\n", "", text.replace("K_u1(x, x′) =", "K_h(x, x′) ="), flags=re.M), own) == {"u1"}
    assert unexplained(re.sub("K_g,h.*\n", "", text), own) == {"K of two"}
    assert unexplained(re.sub("Z_h.*\n", "", text), own) == {"Z"}
    assert unexplained(text.replace("where z1 = Z_u1(x), ", "where "), own) == {"z1"}
    assert unexplained_tex(re.sub(r"^m_\{1\} &= .*\n", "", tex, flags=re.M), set()) == {"m_1"}
    assert unexplained_tex(tex.replace("z_{1} = Z^{u_{1}}(x)", ""), set()) == {"z_1"}
