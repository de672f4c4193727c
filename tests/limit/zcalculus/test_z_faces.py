"""What a Z-limit looks like: text, LaTeX, data, notebook; the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tp
from tp.cli import main
from tp.limit.equations import I, Z
from tp.limit.zcalculus.atoms import Cov, Dot, Hat, Slope
from tp.program.ir import Ref

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["hopfield", "autoencoder", "symmetric_rnn"])
def test_text_and_latex(name: str, golden: Callable[[Path, str], None]) -> None:
    limit = tp.zoo(name).z()
    golden(HERE / "golden" / f"{name}.txt", limit.text())
    golden(HERE / "golden" / f"{name}.tex", limit.latex())


def test_every_line_has_a_rule_a_source_and_a_place() -> None:
    limit = tp.zoo("hopfield").z()
    assert all(line.rule and line.source and line.span.line for line in limit.lines)
    assert {line.rule for line in limit.lines} >= {"ZInit", "ZMatMul", "ZDot", "ZNonlin", "ZHat"}
    y, z, x1, x2 = (Ref(name) for name in ("y", "z", "x1", "x2"))
    by_left = {line.lhs: line.rhs for line in limit.lines}
    assert by_left[Z(z, I)] == Hat(z, I) + Dot(z, I)
    assert by_left[Dot(z, I)] == Slope(Z(x2, I), Hat(y, I)) * Z(x1, I)
    assert limit["z"] == by_left[Z(z, I)]
    with pytest.raises(KeyError):
        limit["nothing"]


def test_each_line_uses_earlier_ones_only() -> None:
    for name in ("hopfield", "autoencoder", "symmetric_rnn"):
        seen = set()
        for line in tp.zoo(name).z().lines:
            assert {a for a in line.rhs.atoms(Cov, Slope) if a not in seen} == set()
            seen.add(line.lhs)


def test_data() -> None:
    limit = tp.zoo("hopfield").z()
    content = json.loads(limit.to_json())
    assert content["network"] == "hopfield" and "gradient independence fails" in content["dependence"]
    dots = [line for line in content["lines"] if line["kind"] == "dot"]
    assert len(dots) == 1 and dots[0]["rule"] == "ZDot" and dots[0]["line"] == 14 and "\\dot{Z}" in dots[0]["latex"]
    assert limit._repr_latex_().startswith("$$") and "ZLimit hopfield" in repr(limit)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_the_document_compiles() -> None:
    from tp.faces.pdf import check

    assert check(tp.zoo("symmetric_rnn").z().latex(document=True)) == []


def test_closed_lines_say_by_which_law() -> None:
    net = tp.parse("network c\n  width n\n  weight W : [n, n] ~ N(0, 1/n)\n  weight x : [n] ~ N(0, 1)\n"
                   "  z = W.T @ erf(W @ x)\n  output e = avg(z^2)\n")  # fmt: skip
    raw, closed = net.z(), net.z().closed()
    assert "E[erf" in raw.text() and "E[erf" not in closed.text()
    assert any("; " in line.rule for line in closed.lines)
    assert not any(line["closed"] is False for line in json.loads(closed.to_json())["lines"])


def test_an_input_of_the_wrong_shape_is_refused() -> None:
    limit = tp.zoo("hopfield").z()
    with pytest.raises(tp.DataError, match="has 1 axes"):
        limit.numbers([[1.0, 2.0, 3.0, 4.0]])
    with pytest.raises(tp.DataError, match="has no number"):
        limit.numbers()


def test_symbolic_ranges_name_the_constant() -> None:
    tied = tp.parse("network t\n  width n\n  let L\n  weight W : [n, n] ~ N(0, 1/n)\n  weight x : [n] ~ N(0, 1)\n  y[0] = x\n"
                    "  y[l] = W.T @ (W @ y[l-1]) for l in 1..L\n  output q = avg(y[L]^2)\n")  # fmt: skip
    with pytest.raises(tp.LimitError, match="`L` needs a number"):
        tied.z()
    assert tied.z(L=2).value("q") == 14
    assert "h[3]" in tp.zoo("mlp", L=3).z().text()
    later, before = tp.zoo("mlp", L=None).z(L=3), tp.zoo("mlp", L=3).z()
    assert later.lines == before.lines
    assert later.text().replace("l = 2…L", "l = 2…3") == before.text()  # the definitions are those of the spec


def test_families_stay_families_where_no_transpose_couples_them() -> None:
    limit = tp.zoo("mlp", L=None).z()
    assert "for l = 2…L" in limit.text() and r"l = 2, \dots, L" in limit.latex()
    assert not limit.dependence and len(limit.lines) < 20
    with pytest.raises(tp.LimitError, match="not written out"):
        limit.numbers()
    assert len(tp.zoo("cnn2d").z().lines) < 40


def test_derive_prints_the_calculus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", "hopfield", "--limit", "z"]) == 0
    assert "Ż_z(x) = Z_x1(x) E[∂Z_x2(x)/∂Ẑ_y(x)]" in capsys.readouterr().out
    assert main(["derive", "hopfield", "--limit", "z", "--json", "--closed"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "hopfield"
