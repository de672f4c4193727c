"""The rules a derivation may quote, each with the published statement it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's name as printed beside an equation, and its source."""

    name: str
    source: str


_TP1 = "Yang 2019, Tensor Programs I, Theorem 5.4 (Netsor Master Theorem)"
_TP2 = "Yang 2020, Tensor Programs II, NTK for any architecture; gradient independence (simple GIA check)"
_TP3 = "Yang 2020, Tensor Programs III: Neural Matrix Laws"

RULES = {
    "K matmul": Rule("ZMatMul", f"{_TP3}, rule ZHat: Cov = σ² E[Z^x Z^x']"),
    "K linear": Rule("ZNonlin, linear", f"{_TP3}, rules ZNonlin and ZHat: hats of different matrices are independent"),
    "K named": Rule("pre-activation", f"{_TP3}, rule ZNonlin: a linear combination of Gaussians"),
    "K readout": Rule("readout", f"{_TP1}; readout weights independent and centred"),
    "Theta matmul": Rule("tangent of ZMatMul", _TP2),
    "Theta linear": Rule("tangent of ZNonlin", _TP2),
    "Theta named": Rule("tangent of the pre-activation", _TP2),
    "Theta readout": Rule("tangent of the readout", _TP2),
    "theta": Rule("ZMoment", f"{_TP3}, rule ZMoment and Master Theorem 2.10"),
    "m": Rule("mean", f"{_TP3}, Master Theorem 2.10"),
    "S": Rule("second moment", f"{_TP3}, Master Theorem 2.10"),
}
