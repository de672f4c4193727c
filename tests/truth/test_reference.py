"""Derived kernels against values of independent implementations, from the spec a user would write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tp
from tests.truth.specs import from_layers

COMPILED = {
    "test_layer_lists[mlp_relu_depth3]",
    "test_layer_lists[mlp_layernorm_relu]",
    "test_layer_lists[attention_softmax_linear_scaling]",
    "test_recurrent_networks_in_the_ntk_parametrization[C081]",
    "test_convolutions[C079]",
}
"""Of every kind of network one is compiled, as it is for users; for the others their kernels' text is run as plain Python.

Expansions are compiled in tests/kernel/test_precision.py.
"""


@pytest.fixture(autouse=True)
def quick_but_for_some(request: pytest.FixtureRequest) -> None:
    if request.node.name not in COMPILED:
        request.getfixturevalue("quick")


DATA = Path(__file__).parent / "data"


def read(name: str) -> list[dict]:
    return json.loads((DATA / name).read_text())


LAYERED = {c["name"]: c for c in read("layered.json")}
RECURRENT = {c["id"]: c for c in read("recurrent.json")}
LAYERS = {c["id"]: c for c in read("layers.json")}


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix[~np.eye(len(matrix), dtype=bool)]


@pytest.mark.parametrize("name", LAYERED)
def test_layer_lists(name):
    """Two blocks of every kernel; the source's own diagonal is only good to 1e-7 for activations with a kink."""
    case = LAYERED[name]
    x1, x2 = np.array(case["x1"]), np.array(case["x2"])
    net = tp.parse(from_layers(case["layers"], x1.shape[1:]))
    rtol = 2e-10 if "layernorm" in name else 1e-10
    kinds = ["nngp"] if "sign" in name else ["nngp", "ntk"]  # a step has no tangent kernel
    kernel = net.kernel(*kinds)
    between, within, diagonal = (
        answers if len(kinds) == 2 else (answers,) for answers in (kernel(x1, x2), kernel(x1), kernel.diag(x1))
    )
    for kind, cross, ours, alone in zip(kinds, between, within, diagonal, strict=True):
        theirs = np.array(case[f"{kind}_x1_x1"])
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(cross, case[f"{kind}_x1_x2"], rtol=rtol, atol=rtol * scale)
        np.testing.assert_allclose(off_diagonal(ours), off_diagonal(theirs), rtol=rtol, atol=rtol * scale)
        np.testing.assert_allclose(np.diag(ours), np.diag(theirs), rtol=1e-7 if kind == "ntk" else rtol)
        np.testing.assert_array_equal(np.diag(ours), alone)


def test_a_step_has_no_tangent_kernel():
    case = LAYERED["mlp_sign_depth1"]
    net = tp.parse(from_layers(case["layers"], (len(case["x1"][0]),)))
    with pytest.raises(tp.LimitError, match="tangent kernel is infinite"):
        net.ntk()


RNN = """network rnn
  width n
  dim d = {d}
  let T = {T}
  index t in 1..T
  input x[t] : [d]
  input m[t] : []
  weight U : [n, d] {U}
  weight W : [n, n] {W}
  weight b : [n] {b}
  weight v : [n] {v}
  h[1] = U @ x[1] + b
  h[t] = W @ {phi}(h[t-1]) + U @ x[t] + b   for t in 2..T
  output f = v @ sum(m[t]*{phi}(h[t]) for t)
"""


def masked(sequences: list, average: bool) -> dict[str, np.ndarray]:
    """Sequences of unequal length, padded with zeros; ``m`` weighs the times that are read out."""
    T, d = max(map(len, sequences)), len(sequences[0][0])
    x, m = np.zeros((len(sequences), T, d)), np.zeros((len(sequences), T))
    for i, sequence in enumerate(sequences):
        x[i, : len(sequence)] = sequence
        if average:
            m[i, : len(sequence)] = 1 / len(sequence)
        else:
            m[i, len(sequence) - 1] = 1
    return {"x": x, "m": m}


@pytest.mark.parametrize("name", [k for k, c in RECURRENT.items() if c["family"] == "simple_rnn"])
def test_recurrent_networks(name):
    """One W at all times: every pair of times is correlated. Parameters are trained as stored, without their scale."""
    case = RECURRENT[name]
    data = masked(case["sequences"], case["pool"] == "avg")
    text = RNN.format(
        d=3,
        T=data["x"].shape[1],
        phi=case["act"],
        U=f"= d^(-1/2) * N(0, {case['sigma_u2']})",
        W=f"= n^(-1/2) * N(0, {case['sigma_w2']})",
        b=f"= 1 * N(0, {case['sigma_b2']})",
        v=f"= n^(-1/2) * N(0, {case['sigma_v2']})",
    )
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")(data)
    np.testing.assert_allclose(nngp, case["output_nngp"], atol=case["tolerance_abs"])
    np.testing.assert_allclose(ntk, case["output_ntk"], atol=case["tolerance_abs"])


@pytest.mark.parametrize("name", ["C080", "C081"])
def test_recurrent_networks_in_the_ntk_parametrization(name):
    case = LAYERS[name]
    data = masked(case["sequences"], "mean" in case["readout"])
    text = RNN.format(
        d=2,
        T=data["x"].shape[1],
        phi="erf",
        U=f"~ N(0, {case['sigma_u2']}/d)",
        W=f"~ N(0, {case['sigma_w2']}/n)",
        b=f"~ N(0, {case['sigma_b2']})",
        v="~ N(0, 1/n)",
    )
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")(data)
    np.testing.assert_allclose(nngp, np.array(case["NNGP"], float), rtol=case["rtol"])
    np.testing.assert_allclose(ntk, np.array(case["NTK"], float), rtol=case["rtol"])


def transformer(case: dict) -> str:
    """Post-norm blocks, key = query = value, one statement a line."""
    T, depth = len(case["sequences"][0]), case["depth"]
    over = "s in 1..t" if case["masked"] else "s"
    bias = case["sigma_b2"] > 0
    lines = ["network transformer", "  width n", "  dim d = 3", f"  index t, s in 1..{T}", "  input x[t] : [d]"]
    x = "x[t]"
    for k in range(1, depth + 1):
        axes, fan = ("n, d", "d") if k == 1 else ("n, n", "n")
        lines += [f"  weight U{k} : [{axes}] = {fan}^(-1/2) * N(0, {case['sigma_u2']})"]
        lines += [f"  weight {w}{k} : [n, n] = n^(-1/2) * N(0, {case['sigma_w2']})" for w in ("A", "B")]
        lines += [f"  weight {b}{k} : [n] = 1 * N(0, {case['sigma_b2']})" for b in ("p", "q") if bias]
        plus = (f" + p{k}", f" + q{k}") if bias else ("", "")
        lines += [
            f"  k{k}[t] = U{k} @ {x}",
            f"  a{k}[t, s] = dot(k{k}[t], k{k}[s]) / (n * {case['temperature']})",
            f"  z{k}[t] = layernorm(k{k}[t] + sum(softmax(a{k}[t, s] over {over}) * k{k}[s] for {over}))",
            f"  y{k}[t] = layernorm(z{k}[t] + B{k} @ relu(A{k} @ z{k}[t]{plus[0]}){plus[1]})",
        ]
        x = f"y{k}[t]"
    lines += [f"  weight v : [n] = n^(-1/2) * N(0, {case['sigma_v2']})", f"  output f = v @ mean({x} for t)"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", [k for k, c in RECURRENT.items() if c["family"] == "transformer"])
def test_transformers(name):
    case = RECURRENT[name]
    nngp, ntk = tp.parse(transformer(case)).kernel("nngp", "ntk")(np.array(case["sequences"]))
    np.testing.assert_allclose(nngp, case["output_nngp"], atol=case["tolerance_abs"])
    np.testing.assert_allclose(ntk, case["output_ntk"], atol=case["tolerance_abs"])


MLP = """network mlp
  width n
  dim d = {d}
  let L = {L}
  input x : [d]
  weight W[1] : [n, d] {W1}
  weight W[l] : [n, n] {W}   for l in 2..L
  weight b[l] : [n] {b}      for l in 1..L
  weight v    : [n] {v}
  {out}
  h[1] = W[1] @ x + b[1]
  h[l] = W[l] @ {phi}(h[l-1]) + b[l]   for l in 2..L
  output f = v @ {phi}(h[L]){plus}
"""


@pytest.mark.parametrize("name", [k for k, c in RECURRENT.items() if c["family"] == "mlp"])
def test_mlps_trained_as_stored(name):
    case = RECURRENT[name]
    scale = f"N(0, {case['sigma_w2']})"
    text = MLP.format(
        d=4,
        L=case["hidden_layers"],
        W1=f"= d^(-1/2) * {scale}",
        W=f"= n^(-1/2) * {scale}",
        b=f"= 1 * N(0, {case['sigma_b2']})",
        v=f"= n^(-1/2) * {scale}",
        phi=case["act"],
        out="",
        plus="",
    )
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")(np.array(case["X"]))
    np.testing.assert_allclose(nngp, case["nngp"], atol=case["tolerance_abs"])
    np.testing.assert_allclose(ntk, case["ntk"], atol=case["tolerance_abs"])


@pytest.mark.parametrize("name", ["C075", "C076", "C077"])
def test_mlps_in_the_ntk_parametrization(name):
    case = LAYERS[name]
    w, b = case["sigma_w2"], case["sigma_b2"]
    text = MLP.format(
        d=3,
        L=case["hidden_layers"],
        W1=f"~ N(0, {w}/d)",
        W=f"~ N(0, {w}/n)",
        b=f"~ N(0, {b})",
        v=f"~ N(0, {w}/n)",
        phi=case["activation"],
        out=f"weight c : [] ~ N(0, {b})",
        plus=" + c",
    )
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")(np.array(case["inputs"]))
    np.testing.assert_allclose(nngp, np.array(case["NNGP"], float), rtol=case["rtol"])
    np.testing.assert_allclose(ntk, np.array(case["NTK"], float), rtol=case["rtol"])


CONV = """network conv
  width n
  dim d = 2
  index p in 0..3 boundary {mode}
  index r in 0..{last} boundary {mode}
  input x[p] : [d]
  weight A[k] : [n, d] ~ N(0, 2/(3*d))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in {taps}
  weight a : [n] ~ N(0, 0.125)
  weight b : [n] ~ N(0, 0.125)
  weight v{slot} : [n] ~ N(0, {v}/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1) + a
  g[r] = sum(B[k] @ relu(h[{stride}*r+k]) for k in {taps}) + b
  output f = {readout}
"""


@pytest.mark.parametrize("name", ["C078", "C079"])
def test_convolutions(name):
    case = LAYERS[name]
    flat = "flatten" in case["readout"]
    text = CONV.format(
        mode="zero" if flat else "circular",
        last=3 if flat else 1,
        taps="-1..1" if flat else "0..2",  # stride 2 on four positions pads on the right only
        stride=1 if flat else 2,
        slot="[r]" if flat else "",
        v="1/4" if flat else "1",
        readout="sum(v[r] @ relu(g[r]) for r)" if flat else "v @ mean(relu(g[r]) for r)",
    )
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")(np.array(case["inputs_[sample][position][channel]"]))
    np.testing.assert_allclose(nngp, np.array(case["NNGP"], float), rtol=case["rtol"])
    np.testing.assert_allclose(ntk, np.array(case["NTK"], float), rtol=case["rtol"])


def test_attention_with_tied_keys_and_queries():
    case = LAYERS["C084"]
    text = """network attention
  width n
  dim d = 2
  index t, s in 0..3
  input x[t] : [d]
  input m[t] : []
  weight E : [n, d] ~ N(0, 1/d)
  weight Q : [n, n] ~ N(0, 1.25/n)
  weight V : [n, n] ~ N(0, 0.75/n)
  weight v : [n] ~ N(0, 1/n)
  e[t] = E @ x[t]
  a[t, s] = dot(Q @ e[t], Q @ e[s]) / n
  o[t] = sum(softmax(a[t, s] over s) * (V @ e[s]) for s)
  output f = v @ sum(m[t]*o[t] for t)
"""
    x = np.array(case["inputs_[sample][position][channel]"])
    every = {"x": np.repeat(x, 4, axis=0), "m": np.tile(np.eye(4), (2, 1))}
    expected = np.array(case["NNGP_[s][p][s2][p2]"], float).reshape(8, 8)
    np.testing.assert_allclose(tp.parse(text).kernel("nngp")(every), expected, rtol=case["rtol"], atol=1e-13)


def test_graph_convolution():
    case = LAYERS["C085"]
    text = f"""network gcn
  width n
  dim d = 3
  index s, t in 0..2
  let A[s, t] = {case["A_hat"]}
  input x[t] : [d]
  input m[t] : []
  weight W : [n, d] ~ N(0, 1.5/d)
  weight b : [n] ~ N(0, 0.25)
  weight v : [n] ~ N(0, 1.5/n)
  weight c : [] ~ N(0, 0.25)
  h[s] = sum(A[s, t] * (W @ x[t]) for t) + b
  output f = v @ sum(m[s]*sum(A[s, t]*relu(h[t]) for t) for s) + c
"""
    x = np.array(case["inputs"])
    nngp, ntk = tp.parse(text).kernel("nngp", "ntk")({"x": np.repeat(x[None], 3, axis=0), "m": np.eye(3)})
    np.testing.assert_allclose(nngp, np.array(case["NNGP"], float), rtol=case["rtol"])
    np.testing.assert_allclose(ntk, np.array(case["NTK"], float), rtol=case["rtol"])
