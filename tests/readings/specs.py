"""Networks that are trained in the tests, in the maximal update parametrization; and what was published of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tp

VALUES = {v["name"]: v["value"] for v in json.loads((Path(__file__).parent / "data" / "z_values.json").read_text())}
"""Numbers of limits, by name."""

MLP = """network mup
  width n
  dim d = 2
  dim k = 1
  let L = 2
  let su2 = 1, sw2 = 1, sv2 = 1
  input x : [d]
  weight U : [n, d] = 1 * N(0, su2), lr n
  weight W[l] : [n, n] = 1 * N(0, sw2/n) for l in 2..L
  weight V : [k, n] = 1/n * N(0, sv2), lr n
  h[1] = U @ x
  h[l] = W[l] @ ACT(h[l-1]) for l in 2..L
  output f = V @ ACT(h[L])
"""

SIGNS = (
    MLP.replace("lr n\n  weight W[l] : [n, n] = 1 * N(0, sw2/n)", "lr 1\n  weight W[l] : [n, n] = 1 * N(0, sw2/n), lr 1/n")
    .replace("N(0, sv2), lr n", "N(0, sv2), lr 1")
    .replace("ACT", "tanh")
)
"""The rates of entrywise optimizers."""

RUNS = {
    "lin1": (1, "{h}", 0.25, 4),
    "lin2": (2, "{h}", 0.25, 4),
    "lin3": (3, "{h}", 0.125, 3),
    "sq1": (1, "({h})^2", 0.1, 2),
    "quad2": (2, "({h} + ({h})^2/2)", 0.1, 1),
}
"""Polynomial runs with published rationals: layers, activation, rate, steps."""


def mlp(act: str, **lets: Any) -> tp.Net:
    """``MLP`` with an activation."""
    return tp.parse(MLP.replace("ACT", act), **lets)


def network(layers: int, phi: str, d: int | None, rates: tuple[str, str] = ("n", "1")) -> tp.Net:
    """One output; ``phi`` is a function of ``{h}``. Without ``d`` the input is a number. Rates of vectors and of matrices."""
    data, first = ("[]", "U : [n]") if d is None else ("[d]", "U : [n, d]")
    deep = layers > 1
    return tp.parse(
        "network m\n  width n\n"
        + (f"  dim d = {d}\n" if d is not None else "")
        + f"  input x : {data}\n  weight {first} = 1 * N(0, 1), lr {rates[0]}\n"
        + (f"  weight W[l] : [n, n] = 1 * N(0, 1/n), lr {rates[1]} for l in 2..{layers}\n" if deep else "")
        + f"  weight v : [n] = 1/n * N(0, 1), lr {rates[0]}\n  h[1] = U {'*' if d is None else '@'} x\n"
        + (f"  h[l] = W[l] @ {phi.format(h='h[l-1]')} for l in 2..{layers}\n" if deep else "")
        + f"  output f = v @ {phi.format(h=f'h[{layers}]')}\n"
    )
