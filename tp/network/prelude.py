"""What every spec can call: primitive functions, and definitions written in the language itself."""

from __future__ import annotations

from functools import cache

from tp.network.tree import Function

PRIMITIVES: dict[str, tuple[int, int]] = {
    "exp": (1, 1), "log": (1, 1), "sqrt": (1, 1), "sin": (1, 1), "cos": (1, 1), "tanh": (1, 1), "erf": (1, 1),
    "abs": (1, 1), "sign": (1, 1), "step": (1, 1), "relu": (1, 1), "gelu": (1, 1), "normal_cdf": (1, 1),
    "sigmoid": (1, 1), "softplus": (1, 1), "silu": (1, 1), "elu": (1, 2), "leaky_relu": (1, 2), "hermite": (2, 2),
    "max": (2, 2), "min": (2, 2),
}  # fmt: skip
"""Functions of numbers, applied coordinatewise: how many arguments each takes, at least and at most."""

FORMS = ("avg", "dot", "softmax", "sum", "mean")
"""What has a meaning of its own: averages and inner products over width, sums over indices."""

PARAMETERS: dict[str, tuple[int, ...]] = {"elu": (1,), "leaky_relu": (1,), "hermite": (0,)}
"""Arguments of primitives that must be constants, by position."""

CONSTANTS = ("pi",)

TEXT = """
network prelude
  let identity(z) = z
  let square(z) = z^2
  let swish(z) = silu(z)
  let relu6(z) = min(relu(z), 6)
  let hardtanh(z) = max(-1, min(1, z))
  let clip(z, lo, hi) = max(lo, min(hi, z))
  let selu(z) = 1.0507009873554805*elu(z, 1.6732632423543772)
  let layernorm(z) = (z - avg(z))/sqrt(avg((z - avg(z))^2))
  let rmsnorm(z) = z/sqrt(avg(z^2))
  let batchnorm(z over i) = (z - mean(z for i))/sqrt(mean((z - mean(z for i))^2 for i))
"""


@cache
def prelude() -> dict[str, Function]:
    """The definitions of the prelude by name."""
    from tp.network.parse import parse

    return {s.name: s for s in parse(TEXT, "prelude").statements if isinstance(s, Function)}


def builtin_names() -> frozenset[str]:
    """Names that a spec cannot define. Those of the prelude it can: then it has its own."""
    return frozenset((*PRIMITIVES, *FORMS, *CONSTANTS))
