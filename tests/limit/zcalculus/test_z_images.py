"""Entrywise updates in the Z-calculus: images Ψ, closed where they close, against nodes, finite networks and closed forms."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sympy as sp

import tp
from tests.readings import specs
from tp.limit.equations import I, Value
from tp.limit.zcalculus import ZLimit, calculus, measured, z_limit
from tp.limit.zcalculus.atoms import Image
from tp.program.ir import Ref
from tp.readings.training import TrainingRun

HERE = Path(__file__).parent
SMOOTH = "g/sqrt(g^2 + 1/4)"


def network(layers: int, phi: str = "tanh({h})", rates: tuple[str, str] = ("1", "1/n")) -> tp.Net:
    """A number as input, and the rates of entrywise optimizers."""
    return specs.network(layers, phi, None, rates)


def trained(net: tp.Net, X: list[float], y: list[float], **settings: Any) -> TrainingRun:
    return net.train(X, y, **settings)


def output(run: TrainingRun, t: int, i: int = 0) -> Value:
    return Value("theta", Ref(run.training.output.name, t, i), I)


ONE = {"X": [1.0], "y": [1.0]}
TWO = {"X": [1.0, 0.5], "y": [1.0, -1.0]}


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize(("layers", "by_hand"), [(1, 0), (2, sp.Rational(2, 5) / sp.pi)])
def test_one_step_of_sign_descent_on_a_linear_network(layers: int, by_hand: sp.Expr) -> None:
    """U and v move by η sign(v) and η sign(U): f = 2 η E|z|; the step of W adds 2η/π."""
    run = trained(network(layers, "{h}"), **ONE, steps=1, lr=0.2, optimizer="sign")
    found = run.z()[run.training.output.name, 1, 0]
    assert sp.simplify(found - sp.Rational(2, 5) * sp.sqrt(2 / sp.pi) - by_hand) == 0


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_itself_is_gradient_descent(layers: int) -> None:
    """Q = g is a product of its two vectors: two steps, rational, hats, dots and both directions of W as for SGD."""
    sgd = trained(network(layers, "{h}", ("n", "1")), **TWO, steps=2, lr=0.5, optimizer="sgd")
    entry = trained(network(layers, "{h}"), **TWO, steps=2, lr=0.5, optimizer="g")
    one, two = sgd.z(), entry.z()
    for i in (0, 1):
        value = two[entry.training.output.name, 2, i]
        assert value.is_Rational and value != 0
        assert value == one[sgd.training.output.name, 2, i]
    rules = {line.rule.split(";")[0] for line in two.lines}
    assert ("ZOuterNonlin, product form" in rules) == (layers == 2)


# ---------------------------------------------------------------- numbers


def test_one_sample_without_memory() -> None:
    """Values of a program of its own; the network of finite width has the limit, at the rate it should."""
    run = trained(network(2), **ONE, steps=1, lr=0.25, optimizer=SMOOTH)
    limit = run.z()
    found = limit.numbers()
    f = output(run, 1)
    assert found.method == "quadrature" and found[f] == pytest.approx(0.198917, abs=2e-6)
    nodes = run.limit("grid")
    assert abs(found[f] - nodes.outputs[1, 0, 0]) <= 2 * (found.errors[f] + nodes.errors[1, 0, 0])
    coarse, fine = (run.simulate(width=n, seeds=40, seed=1) for n in (64, 256))
    for finite, n in ((coarse, 64), (fine, 256)):
        assert abs(finite.outputs[1, 0, 0] - found[f]) < 4.5 * finite.errors[1, 0, 0] + 1 / n
    assert 1.3 < coarse.errors[1, 0, 0] / fine.errors[1, 0, 0] < 3  # theory: 2
    assert not any("experimental" in line.rule for line in limit.lines)


@pytest.mark.parametrize(("optimizer", "settings"), [("sign", {}), ("max(-1, min(1, 4*g))", {}), ("adam", {"eps": 0.05})])
def test_batches_agree_with_nodes(optimizer: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "POINTS", 11)
    run = trained(network(2), **TWO, steps=1, lr=0.2, optimizer=optimizer, **settings)
    limit, nodes = run.z(), run.limit("sobol", tol=5e-3)
    found = limit.numbers(method="sobol", seed=2)
    for i in (0, 1):
        f = output(run, 1, i)
        assert abs(found[f] - nodes.outputs[1, i, 0]) <= 5 * (found.errors[f] + nodes.errors[1, i, 0])
        assert found.errors[f] < 2e-3 < found[f]
    psi = [line for line in limit.lines if isinstance(line.lhs, Image)]
    assert psi and all("experimental" in line.rule for line in psi)


def test_memory_makes_functions_of_two_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step of Adam on one layer and a matrix: terms of an update that read one vector stay functions of one."""
    run = trained(network(2, "{h}"), **ONE, steps=2, lr=0.2, optimizer="m/sqrt(v + 1/4)", betas=(0.5, 0.5))
    limit = run.z()
    counts = {len(line.lhs.values) for line in limit.lines if isinstance(line.lhs, Image)}
    assert counts == {1, 2}
    monkeypatch.setattr(measured, "POINTS", 10)
    found, nodes = limit.numbers(method="sobol"), run.limit("sobol", tol=1e-2)
    f = output(run, 2)
    assert abs(found[f] - nodes.outputs[2, 0, 0]) <= 5 * (found.errors[f] + nodes.errors[2, 0, 0])
    assert found[f] > 0.3


# ---------------------------------------------------------------- faces


def smooth() -> ZLimit:
    return trained(network(2), **ONE, steps=1, lr=0.25, optimizer=SMOOTH).z()


def test_text_and_latex(golden: Callable[[Path, str], None]) -> None:
    limit = smooth()
    assert all(line.rule and line.source for line in limit.lines)
    assert any(line.rule == "ZOuterNonlin" and "IVb" in line.source and line.span.line for line in limit.lines)
    golden(HERE / "golden" / "entrywise.txt", limit.text())
    golden(HERE / "golden" / "entrywise.tex", limit.latex())
    assert '"kind": "image"' in limit.to_json() and r"\Psi" in limit._repr_latex_()
    assert r"\rlap" in limit.latex() and r"\rlap" not in limit._repr_latex_() + limit.to_json()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_the_document_compiles() -> None:
    from tp.faces.pdf import check

    assert check(smooth().latex(document=True)) == []


# ---------------------------------------------------------------- what stays out


def test_long_formulas_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculus, "LONGEST", 8)
    with pytest.raises(tp.LimitError, match=r"(?s)run\.z\(1\).*run\.limit\(\)") as refused:
        trained(network(2), **ONE, steps=1, lr=0.2, optimizer="adam").z()
    assert "operations" in str(refused.value) and "weight U" in str(refused.value)


def test_without_data_there_is_no_rule() -> None:
    program = trained(network(2), **TWO, steps=1, lr=0.1, optimizer="adam").training.program
    with pytest.raises(tp.LimitError, match=r"run\.limit\(\)"):
        z_limit(program)


def test_data_print_to_some_digits_and_stay_exact() -> None:
    run = trained(network(1, "{h}"), [0.1], [-1.3], steps=1, lr=0.3, optimizer="adam", eps=1e-8)
    limit = run.z()
    text, tex = limit.text(), limit.latex()
    assert "0.3 Z_q_U[0]" in text and "1e-8" in text and "10^{-8}" in tex and "100000000" not in text + tex
    exact = trained(network(2, "{h}"), [0.12573022], [-1.3], steps=2, lr=0.3, optimizer="g").z()
    f = exact[run.training.output.name, 2, 0]
    assert f.is_Rational and f.q > 10**60
    assert f"{float(f):.6g}".lstrip("-") in exact.text() and f"{float(f):.12g}".lstrip("-") not in exact.text()
    assert "Decimals are rounded to 6 digits" in exact.text()
    assert f"{float(f):.17g}".lstrip("-") in exact.to_json()
