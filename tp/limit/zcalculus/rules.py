"""The rules a line may quote, each with the published statement it is."""

from __future__ import annotations

_TP3 = "Yang 2020, Tensor Programs III: Neural Matrix Laws"
_TP4B = "Yang & Littwin 2023, Tensor Programs IVb: Adaptive Optimization in the Infinite-Width Limit"

RULES: dict[str, tuple[str, str]] = {
    "init": ("ZInit", f"{_TP3}, Definition E.3"),
    "hat": ("ZMatMul, hat part only", f"{_TP3}, rule ZHat"),
    "matmul": ("ZMatMul", f"{_TP3}, Definition E.3"),
    "dot": ("ZDot", f"{_TP3}, rule ZDot; unequal widths: Setup F.5"),
    "slope": ("ZDot, coefficient", f"{_TP3}, rule ZDot"),
    "stein": ("ZDot, coefficient by Stein's identity", f"{_TP3}, Remark 2.12"),
    "nonlin": ("ZNonlin", f"{_TP3}, Definition E.3"),
    "gaussian part": ("Gaussian part", f"{_TP3}, rule ZHat: hats are jointly Gaussian"),
    "moment": ("ZMoment", f"{_TP3}, rule ZMoment and Master Theorem 2.10"),
    "hat covariance": ("ZHat", f"{_TP3}, rule ZHat: Cov = σ² E[Z^x Z^x']"),
    "covariance": ("bilinearity", f"{_TP3}, rules ZHat and ZInit: hats of different matrices are independent"),
    "product form": ("ZOuterNonlin, product form", f"{_TP4B}, section 2.6: an entry that is a product is one of averages"),
    "image": ("ZOuterNonlin", f"{_TP4B}, section 2.6, rule ZOuterNonlin and Master Theorem 2.6.10"),
    "images": (
        "ZOuterNonlin of several outer products, experimental",
        f"{_TP4B}, section 2.6, rule ZOuterNonlin and Master Theorem 2.6.10",
    ),
    "readout": ("readout", "Yang 2019, Tensor Programs I, Corollary 5.5"),
    "tangent": ("tangent kernel", "Yang 2020, Tensor Programs II; Tensor Programs III, Master Theorem 2.10"),
}
