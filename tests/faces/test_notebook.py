"""What notebooks show."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from faces import built
from program import built as programs

import tp
from tp.errors import SpecError
from tp.faces.data import to_json
from tp.faces.notebook import arguments, limit_latex, limit_markdown, load_ipython_extension, program_html, spec_html

GOLDEN = Path(__file__).parent / "golden"


def test_a_formula():
    shown = limit_latex(built.mlp())
    assert shown.startswith("$$\\begin{aligned}")
    assert r"\Theta_{h}^{l}(x, x')" in shown


def test_a_derivation(golden):
    golden(GOLDEN / "mlp.md", limit_markdown(built.mlp()))


def test_data():
    equations = json.loads(to_json(built.mlp()))["equations"]
    assert equations[1]["left"] == "K[h[l], h[l]](i,j)"
    assert equations[1]["for"] == [{"index": "l", "from": "2", "to": "L"}]
    assert equations[1]["line"] == 12


def test_a_program_is_a_listing_and_a_graph():
    shown = program_html(programs.ALL["mlp"]())
    assert "<pre" in shown and "<svg" in shown


def test_a_spec_is_coloured():
    shown = spec_html(built.SPEC)
    assert "color" in shown and "network" in shown


def test_every_spec_is_lexed_without_error():
    from pygments.token import Error

    from tp.faces.lexer import SpecLexer

    more = "  let swish(z) = z/(1 + exp(-z))\n  index p in 0..31 boundary zero\n  a = W.T @ x[2*p+k] ** 2 # done\n  β = .5e-3\n"
    assert Error not in {kind for kind, _ in SpecLexer().get_tokens(built.SPEC + more)}


# ---------------------------------------------------------------- %%tp


class Shell:
    def __init__(self) -> None:
        self.user_ns: dict[str, object] = {}
        self.magics: dict[str, object] = {}

    def register_magic_function(self, function, magic_kind, magic_name):
        self.magics[magic_kind, magic_name] = function


def test_a_spec_cell_binds_its_network():
    shell = Shell()
    load_ipython_extension(shell)
    cell = shell.magics["cell", "tp"]
    net = cell("", built.SPEC)
    assert shell.user_ns["net"] is net
    cell("deep L=5 sw2=3/2", built.SPEC)
    assert shell.user_ns["deep"].lets == {"L": 5, "sw2": Fraction(3, 2)}


def test_a_wrong_spec_cell_says_where():
    shell = Shell()
    load_ipython_extension(shell)
    with pytest.raises(SpecError, match="W2"):
        shell.magics["cell", "tp"]("", built.SPEC.replace("W[l] @", "W2[l] @"))
    assert shell.user_ns == {}


def test_settings_of_a_cell():
    assert arguments("") == ("net", {})
    assert arguments("a L=4 s=symbol r=1/2 e=0.1") == ("a", {"L": 4, "s": None, "r": Fraction(1, 2), "e": Fraction(1, 10)})


@pytest.mark.parametrize("line", ["3x", "a b", "L=", "L=1/0", "L=__import__('os')", "L=1e999999999"])
def test_wrong_settings(line):
    with pytest.raises(SpecError, match="%%tp"):
        arguments(line)


def test_names_of_a_derivation_are_explained():
    """Products without a name, Gaussian parts and gradients: no letter of an equation goes unexplained, in data neither."""
    limit = tp.zoo("hopfield").ntk()
    page = limit._repr_markdown_()
    assert "x_{2} &:= \\tanh(y)" in page and "is the Gaussian part of $z$" in page
    assert json.loads(limit.to_json())["words"]["z_hat"] == "the Gaussian part of `z`"
