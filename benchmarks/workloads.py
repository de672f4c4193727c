"""What is measured: a spec of ours, the same network as a list of layers, the data, and the ratio aimed at.

The list of layers is read twice more: by the peer (``peer/serve.py``) and by the fifty-digit reference (``digits50.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

SPECS = Path(__file__).parent / "specs"
Layers = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Workload:
    """``shape`` is that of the data, samples first; ``aims`` the ratio asked for by precision.

    ``small`` overrides lets and shape where the fifty-digit reference is evaluated; ``agreement`` is how far the peer's own
    rule may be from the truth, off the diagonal, relative to the largest entry. ``tile``: the peer goes tile by tile, that many
    samples on a side, since all at once would not fit the memory. ``devices``: where it is measured.
    """

    name: str
    title: str
    spec: str
    layers: Layers | None
    shape: tuple[int, ...]
    lets: Mapping[str, int | float] = field(default_factory=dict)
    phi: str = "relu(z)"
    aims: Mapping[str, float] = field(default_factory=dict)
    small: tuple[Mapping[str, int | float], tuple[int, ...]] | None = None
    agreement: float = 1e-12
    repeats: int = 7
    tile: int = 0
    devices: tuple[str, ...] = ("cpu", "cuda")

    def text(self) -> str:
        return (SPECS / f"{self.spec}.tp").read_text("utf-8").replace("let   phi(z) = relu(z)", f"let   phi(z) = {self.phi}")

    def data(self, dtype: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Gaussian samples of slightly different norms, the same for everyone."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=shape or self.shape)
        return np.ascontiguousarray((x * rng.uniform(0.8, 1.2, size=(len(x),) + (1,) * (x.ndim - 1))).astype(dtype))


def dense(phi: str, depth: int, sw2: float = 2.0) -> Layers:
    """Depth hidden layers in the peer's fast form: what repeats is repeated, not unrolled."""
    first: Layers = [["dense", sqrt(sw2), 0.1], ["act", phi]]
    middle: Layers = [["repeat", depth - 1, first]] if depth > 1 else []
    return [*first, *middle, ["dense", sqrt(sw2), None]]


def conv(*after: list[Any]) -> Layers:
    step: Layers = [["conv", 3, sqrt(2), 0.1], ["act", "relu"]]
    return [*step, *step, *step, *after, ["dense", sqrt(2), None]]


def _mlp(name: str, phi: str, depth: int, n: int, d: int, aims: dict[str, float], **more: Any) -> Workload:
    spelled = {"bent": "z/sqrt(1 + z^2)"}.get(phi, f"{phi}(z)")
    return Workload(
        name, f"{phi} MLP, depth {depth}, d = {d}, N = {n}", "mlp", dense(phi, depth), (n, d), {"L": depth, "d": d},
        spelled, aims,        ({"L": depth, "d": d}, (4, d)), **more,
    )  # fmt: skip


MYRTLE: Layers = [
    ["conv", 3, sqrt(2), 0.1], ["act", "relu"], ["conv", 3, sqrt(2), 0.1], ["act", "relu"], ["avgpool", 2],
    ["conv", 3, sqrt(2), 0.1], ["act", "relu"], ["avgpool", 2],
    ["conv", 3, sqrt(2), 0.1], ["act", "relu"], ["avgpool", 2], ["gap"], ["dense", sqrt(2), None],
]  # fmt: skip

ATTENTION: Layers = [
    ["dense", sqrt(2), None], ["act", "relu"], ["attention"], ["act", "relu"], ["gap"], ["dense", sqrt(2), None]
]  # fmt: skip

# Where the peer integrates numerically, 2000 samples at once take it more than 24 GB.
NUMERICAL: dict[str, Any] = {"agreement": 0.05, "repeats": 1, "tile": 400}

WORKLOADS: tuple[Workload, ...] = (
    _mlp("relu3", "relu", 3, 4000, 784, {"float64": 8, "float32": 9}),
    _mlp("relu10", "relu", 10, 4000, 784, {"float64": 10, "float32": 13}),
    _mlp("relu30", "relu", 30, 2000, 20, {"float64": 22, "float32": 28}),
    _mlp("erf3", "erf", 3, 4000, 784, {"float64": 7, "float32": 8}),
    _mlp("gelu3", "gelu", 3, 4000, 784, {"float64": 7, "float32": 8}),
    _mlp("tanh3", "tanh", 3, 2000, 784, {"float64": 200}, **NUMERICAL),
    _mlp("silu3", "silu", 3, 2000, 784, {"float64": 200}, **NUMERICAL),
    _mlp("softplus3", "softplus", 3, 2000, 784, {"float64": 200}, **NUMERICAL),
    _mlp("user3", "bent", 3, 2000, 784, {"float64": 200}, **NUMERICAL),
    Workload(
        "conv_flatten", "2-D convolution ×3, flatten, 32×32×3, N = 50", "conv_flatten", conv(["flatten"]), (50, 32, 32, 3),
        aims={"float64": 25, "float32": 35}, small=({"P": 8}, (3, 8, 8, 3)),
    ),
    Workload(
        "conv_gap32", "2-D convolution ×3, global average pooling, 32×32×3, N = 6", "conv_gap", conv(["gap"]), (6, 32, 32, 3),
        aims={"float64": 70, "float32": 400}, small=({"P": 8}, (3, 8, 8, 3)), repeats=5,
    ),
    Workload(
        "conv_gap16", "2-D convolution ×3, global average pooling, 16×16×3, N = 16", "conv_gap", conv(["gap"]), (16, 16, 16, 3),
        {"P": 16}, aims={"float64": 45}, small=({"P": 8}, (3, 8, 8, 3)), repeats=5,
    ),
    Workload(
        "myrtle", "Myrtle-like: four convolutions, 2×2 average pools, GAP, 32×32×3, N = 3", "myrtle", MYRTLE, (3, 32, 32, 3),
        aims={"float64": 48, "float32": 250}, small=({"P": 8}, (3, 8, 8, 3)), repeats=5,
    ),
    Workload(
        "attention", "attention block, 16 tokens, N = 200", "attention", ATTENTION, (200, 16, 64),
        aims={"float64": 10, "float32": 8}, small=({"T": 4}, (3, 4, 64)),
    ),
    Workload("rnn", "relu RNN, 16 steps, N = 500", "rnn", None, (500, 16, 16)),
    # What a GPU is there for.
    _mlp("relu3_large", "relu", 3, 20000, 784, {"float32": 1}, repeats=5, devices=("cuda",)),
    Workload(
        "attention_large", "attention block, 16 tokens, N = 1000", "attention", ATTENTION, (1000, 16, 64),
        aims={"float32": 1}, small=({"T": 4}, (3, 4, 64)), devices=("cuda",),
    ),
    Workload(
        "conv_flatten_large", "2-D convolution ×3, flatten, 32×32×3, N = 500", "conv_flatten", conv(["flatten"]),
        (500, 32, 32, 3), aims={"float32": 1}, small=({"P": 8}, (3, 8, 8, 3)), devices=("cuda",),
    ),
)  # fmt: skip


def named(names: list[str] | None, device: str = "cpu") -> list[Workload]:
    """Those of these names, in the table's order; all of a device without names. Raises SystemExit on an unknown one."""
    unknown = set(names or ()) - {w.name for w in WORKLOADS}
    if unknown:
        raise SystemExit(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(w.name for w in WORKLOADS)}")
    return [w for w in WORKLOADS if device in w.devices and (not names or w.name in names)]
