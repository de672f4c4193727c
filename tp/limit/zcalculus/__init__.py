"""The Z-calculus: what every vector of a program becomes at infinite width, W and Wᵀ both acting."""

from tp.limit.zcalculus.limit import ZLimit, z_limit

__all__ = ["ZLimit", "z_limit"]
