"""Limits as LaTeX: golden files, and the word of pdflatex itself."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sympy as sp
from faces import built

from tp.faces import pdf
from tp.faces.display import rows
from tp.faces.latex import document, formulas, latex
from tp.faces.measure import width
from tp.faces.notation import NameParts, _ambiguous, ascii_name, name_parts, notation
from tp.faces.tex import LimitPrinter, decorated, escape
from tp.limit.equations import Entry
from tp.program.ir import Ref

GOLDEN = Path(__file__).parent / "golden"
needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@pytest.mark.parametrize("name", built.ALL)
def test_derivations(name, golden):
    page = latex(built.ALL[name]())
    assert page.isascii()
    golden(GOLDEN / f"{name}.tex", page)


@needs_pdflatex
def test_every_formula_and_every_fragment_compiles():
    parts = [part for make in built.ALL.values() for part in (*formulas(make()), latex(make()))]
    head = "\\documentclass[10pt]{article}\n\\usepackage{amsmath,amssymb,booktabs}\n\\begin{document}\n"
    assert pdf.check(head + "\n\n".join(parts) + "\n\\end{document}\n") == []


@needs_pdflatex
@pytest.mark.parametrize("name", ["mlp", "many"])
def test_documents_compile(name):
    assert pdf.check(document(built.ALL[name]())) == []


@needs_pdflatex
def test_the_estimated_width_is_the_width_on_paper():
    """Within a quarter, for every row of every equation that has no matrix."""
    lines = []
    for make in built.ALL.values():
        limit = make()
        found = [row.replace("&", "") for e in limit.equations for row in rows(e, notation(limit))]
        lines += [row for row in found if r"\begin" not in row]
    measured = widths_on_paper(lines)
    for line, true in zip(lines, measured, strict=True):
        assert abs(width(line) - true) < 0.25 * true + 0.5, line


def widths_on_paper(lines: list[str]) -> list[float]:
    page = [r"\documentclass{article}\usepackage{amsmath,amssymb}\newbox\page\begin{document}"]
    page += [rf"\setbox\page\hbox{{$\displaystyle {line}$}}\typeout{{WIDTH \the\wd\page}}" for line in lines]
    _, log = pdf._compile("\n".join([*page, r"\end{document}"]), ("-draftmode",))
    return [float(points) / 10 for points in re.findall(r"WIDTH ([\d.]+)pt", log)]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "tex"),
    [
        ("h", "h"),
        ("h1", "h_{1}"),
        ("sw2", r"\sigma_{w}^{2}"),
        ("alpha", r"\alpha"),
        ("α", r"\alpha"),
        ("lambda", r"\lambda"),
        ("Kdot", r"\mathrm{Kdot}"),
        ("xhat", r"\mathrm{xhat}"),
        ("W1_h", r"\mathrm{W1}_{h}"),
        ("att_out", r"\mathrm{att}_{\mathrm{out}}"),
        ("a_b_c", r"\mathrm{a\_b\_c}"),
        ("p'", "p'"),
        ("s_", "s'"),
        ("50%", r"\mathrm{50\%}"),
        ("é", "e"),
    ],
)
def test_names(name, tex):
    assert decorated(name) == tex


def test_primes_keep_clear_of_superscripts():
    assert decorated("h'", (), ["l"]) == r"h^{\prime\,l}"
    assert decorated("h'", ["p"]) == "h'_{p}"


def test_anything_is_escaped():
    assert escape("a&b_{c}$%#~^\\ ") == r"a\&b\_\{c\}\$\%\#\textasciitilde{}\textasciicircum{}\textbackslash{} "
    assert ascii_name("Ωmega日") == "OmegamegaU65E5"


def test_two_names_never_print_alike():
    limit = built.many()
    style = notation(limit)
    assert name_parts("h_1") == name_parts("h1") == NameParts("h", "1")
    names = {"h_1", "h1"}
    printer = LimitPrinter(replace(style, literal=_ambiguous(names)))
    assert len({printer.doprint(sp.Symbol(name)) for name in names}) == 2


def test_layers_go_up_and_positions_to_the_sample():
    limit = built.conv()
    printer = LimitPrinter(notation(limit))
    p, q = sp.Symbol("p", integer=True), sp.Symbol("q", integer=True)
    assert printer.doprint(Entry("K", Ref("g", p + 1), Ref("g", q))) == "K_{g}(x_{p+1}, x'_{q})"
    printer = LimitPrinter(notation(built.mlp()))
    assert printer.doprint(Entry("Theta", Ref("h", built.l - 1), Ref("h", built.l - 1))) == r"\Theta_{h}^{l-1}(x, x')"
    assert printer.doprint(Ref("h", built.l) ** 2) == "(h^{l})^{2}"


# ---------------------------------------------------------------- PDF


def test_without_pdflatex_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(pdf.TypesetError, match="apt-get install"):
        pdf.typeset("irrelevant")


@needs_pdflatex
def test_a_failed_page_leaves_nothing_behind(tmp_path, monkeypatch):
    page = r"\documentclass{article}\begin{document}\nonsense\end{document}"
    monkeypatch.setattr("tp.faces.latex.document", lambda limit: page)
    with pytest.raises(pdf.TypesetError, match="Undefined control sequence"):
        pdf.write(built.mlp(), tmp_path / "mlp.pdf")
    assert list(tmp_path.iterdir()) == []


@needs_pdflatex
def test_a_page(tmp_path):
    written = pdf.write(built.mlp(), tmp_path / "mlp.pdf")
    assert written.read_bytes().startswith(b"%PDF")
    assert [p.name for p in tmp_path.iterdir()] == ["mlp.pdf"]


@needs_pdflatex
def test_a_spec_cannot_run_commands(tmp_path):
    page = r"\documentclass{article}\begin{document}\immediate\write18{touch " + str(tmp_path / "made") + r"}x\end{document}"
    pdf.typeset(page)
    assert list(tmp_path.iterdir()) == []
