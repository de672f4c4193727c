"""Real derivations as LaTeX and text: the shipped specs, and specs that stand beside what they give."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

import tp
from tp.faces import pdf
from tp.faces.latex import document, formulas, latex
from tp.faces.svg import graph
from tp.faces.text import text
from tp.limit.equations import Limit

GOLDEN = Path(__file__).parents[1] / "golden"
SPECS = sorted(path.stem for path in GOLDEN.glob("*.tp"))
ZOO = [name for name in tp.zoo() if name not in ("hopfield", "transformer", "autoencoder", "symmetric_rnn", "gru", "lstm")]
needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@cache
def limit(name: str) -> Limit:
    net = tp.load(GOLDEN / f"{name}.tp") if name in SPECS else tp.zoo(name)
    return net.ntk()


@cache
def closed(name: str) -> Limit:
    return limit(name).closed()


@pytest.mark.parametrize("name", [*SPECS, *ZOO])
def test_derivations(name, golden):
    page = latex(limit(name))
    assert page.isascii()
    golden(GOLDEN / f"{name}.tex", page)
    golden(GOLDEN / f"{name}.txt", text(limit(name)))


@pytest.mark.parametrize("name", ["symbolic", "mlp"])
def test_closed_forms(name, golden):
    golden(GOLDEN / f"{name}.closed.tex", latex(closed(name)))
    golden(GOLDEN / f"{name}.closed.txt", text(closed(name)))


@needs_pdflatex
def test_every_formula_of_every_spec_compiles():
    """As they are and in closed form, alone and in their derivation; nothing runs into the margin."""
    limits = [make(name) for name in [*SPECS, *ZOO] for make in (limit, closed)]
    parts = [part for one in limits for part in (*formulas(one), latex(one))]
    head = "\\documentclass[10pt]{article}\n\\usepackage{amsmath,amssymb,booktabs}\n\\allowdisplaybreaks\n\\begin{document}\n"
    assert pdf.check(head + "\n\n".join(parts) + "\n\\end{document}\n") == []


@needs_pdflatex
@pytest.mark.parametrize("name", ["cnn2d", "attention", "names", "autoencoder"])
def test_documents_compile(name):
    assert pdf.check(document(closed(name))) == []


@needs_pdflatex
def test_comments_cannot_leave_the_listing():
    rude = "# \\end{verbatim}\\nonsense $ % \t ∑ é 日本 " + "very " * 40 + "long\n"
    net = tp.parse(rude + (GOLDEN / "symbolic.tp").read_text("utf-8"))
    page = document(net.nngp())
    assert page.isascii()
    assert pdf.check(page) == []


@pytest.mark.parametrize("name", ZOO)
def test_graphs(name):
    assert graph(tp.zoo(name).program).count("<rect") > 3


def test_a_shipped_network_is_no_file() -> None:
    with pytest.raises(tp.SpecError, match=r"ships with the library: tp.zoo\('mlp'\)"):
        tp.load("mlp")


def test_numbers_stand_before_expectations():
    assert "(2 E[(1 − tanh(u)²)²] − 4 E[tanh(u)² (1 − tanh(u)²)])" in text(limit("autoencoder"))
