"""Specs for published networks: what a user would write for the layer lists of the reference values."""

from __future__ import annotations

from typing import Any

SIGMOID_LIKE = 2.4020563531719796

ACTIVATIONS = {
    "relu": lambda z, a: f"relu({z})",
    "erf": lambda z, a: f"erf({z})",
    "gelu": lambda z, a: f"gelu({z})",
    "abs": lambda z, a: f"abs({z})",
    "tanh": lambda z, a: f"tanh({z})",
    "silu": lambda z, a: f"silu({z})",
    "sign": lambda z, a: f"sign({z})",
    "sin": lambda z, a: f"{a['a']}*sin({a['b']}*({z}) + {a['c']})",
    "leaky_relu": lambda z, a: f"leaky_relu({z}, {a['alpha']})",
    "monomial": lambda z, a: f"({z})^{a['degree']}",
    "rbf": lambda z, a: f"sqrt(2)*sin(sqrt({2 * a['gamma']})*({z}) + pi/4)",
    "sigmoid_like": lambda z, a: f"erf(({z})/{SIGMOID_LIKE})/2 + 1/2",
}


class Builder:
    """Writes a spec line by line; ``value`` is the current vector, an expression over the positions."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.positions = ["p", "q"][: len(shape) - 1] if len(shape) > 1 else []
        self.extent = list(shape[:-1])
        self.head = ["network reference", "  width n", f"  dim d = {shape[-1]}"]
        self.weights: list[str] = []
        self.body: list[str] = []
        self.count = 0
        self.value = self.at("x", self.positions)
        self.finite = True  # the current vector is the input itself

    def declare_positions(self) -> None:
        for p, size in zip(self.positions, self.extent, strict=True):
            self.head.append(f"  index {p} in 0..{size - 1} boundary zero")

    @staticmethod
    def at(name: str, index: list[str]) -> str:
        return f"{name}[{', '.join(index)}]" if index else name

    def name(self) -> str:
        self.count += 1
        return f"h{self.count}"

    def weight(self, name: str, axes: str, std: float, fan: str, layer: dict[str, Any] | None = None, rate: str = "1") -> None:
        variance = f"{std**2!r}/{fan}"
        if layer and layer.get("parameterization") == "standard":
            self.weights.append(f"  weight {name} : [{axes}] = 1 * N(0, {variance}), lr {rate}")
        else:
            self.weights.append(f"  weight {name} : [{axes}] ~ N(0, {variance})")

    def bias(self, axes: str, layer: dict[str, Any]) -> str:
        std = layer.get("b_std")
        if std is None:
            return ""
        self.count += 1
        form = "= 1 *" if layer.get("parameterization") == "standard" else "~"
        self.weights.append(f"  weight b{self.count} : [{axes}] {form} N(0, {std**2!r})")
        return f" + b{self.count}"

    def text(self) -> str:
        return "\n".join([*self.head, f"  input {self.at('x', self.positions_in)} : [d]", *self.weights, *self.body]) + "\n"

    positions_in: list[str]


def from_layers(layers: list[dict[str, Any]], shape: tuple[int, ...]) -> str:
    """The spec of a layer list; ``shape`` is one input's: (…positions, features)."""
    b = Builder(shape)
    b.declare_positions()
    b.positions_in = list(b.positions)
    width = shape[-1]
    for k, layer in enumerate(layers):
        last = k == len(layers) - 1
        _layer(b, layer, last, width)
        width = layer.get("width", width)
    return b.text()


def _layer(b: Builder, layer: dict[str, Any], last: bool, width: int) -> None:
    kind = layer["layer"]
    if kind == "Activation":
        b.value = ACTIVATIONS[layer["name"]](b.value, layer)
    elif kind == "Dense" and last:
        _readout(b, layer, width)
    elif kind == "Dense":
        _dense(b, layer, width)
    elif kind == "Conv":
        _conv(b, layer)
    elif kind == "AvgPool":
        _pool(b, layer)
    elif kind in ("GlobalAvgPool", "Flatten"):
        b.pooling = kind  # type: ignore[attr-defined]
    elif kind == "LayerNorm":
        name = b.name()
        b.body.append(f"  {b.at(name, b.positions)} = layernorm({b.value})")
        b.value = b.at(name, b.positions)
    elif kind == "FanInSum":
        _sum(b, layer, width)
    elif kind == "Attention":
        _attention(b, layer)
    else:
        raise AssertionError(kind)


def _dense(b: Builder, layer: dict[str, Any], width: int) -> None:
    name = b.name()
    axes, fan = ("n, d", "d") if b.finite else ("n, n", "n")
    b.weight(f"W{name}", axes, layer["W_std"], fan, layer, "1" if b.finite else f"{width}/n")
    b.body.append(f"  {b.at(name, b.positions)} = W{name} @ ({b.value}){b.bias('n', layer)}")
    b.value, b.finite = b.at(name, b.positions), False


def _readout(b: Builder, layer: dict[str, Any], width: int) -> None:
    positions = b.positions
    pooling = getattr(b, "pooling", None)
    over = " for " + ", ".join(positions)
    if pooling == "Flatten":
        total = 1
        for size in b.extent:
            total *= size
        b.weight(b.at("v", positions), "n", layer["W_std"], f"({total}*n)")
        read = f"sum({b.at('v', positions)} @ ({b.value}){over})"
    elif pooling == "GlobalAvgPool":
        b.weight("v", "n", layer["W_std"], "n")
        read = f"v @ mean({b.value}{over})"
    else:
        b.weight("v", "n", layer["W_std"], "n", layer, f"{width}/n")
        read = f"v @ ({b.value})"
    b.body.append(f"  output f = {read}{b.bias('', layer)}")


def _conv(b: Builder, layer: dict[str, Any]) -> None:
    name = b.name()
    taps = ["a", "c"][: len(b.positions)]
    size = 1
    ranges = []
    for tap, f in zip(taps, layer["filter"], strict=True):
        ranges.append(f"{tap} in {-(f // 2)}..{f // 2}")
        size *= f
    axes, fan = ("n, d", f"({size}*d)") if b.finite else ("n, n", f"({size}*n)")
    b.weights.append(
        f"  weight {b.at('W' + name, taps)} : [{axes}] ~ N(0, {layer['W_std'] ** 2!r}/{fan}) for {', '.join(ranges)}"
    )
    shifted = b.value
    for p, tap in zip(b.positions, taps, strict=True):
        shifted = shifted.replace(f"[{p}", f"[{p}+{tap}").replace(f" {p}]", f" {p}+{tap}]")
    b.body.append(
        f"  {b.at(name, b.positions)} = sum({b.at('W' + name, taps)} @ ({shifted}) for {', '.join(ranges)}){b.bias('n', layer)}"
    )
    b.value, b.finite = b.at(name, b.positions), False


def _pool(b: Builder, layer: dict[str, Any]) -> None:
    name = b.name()
    new = [f"{p}{b.count}" for p in b.positions]
    taps = ["a", "c"][: len(b.positions)]
    extent = [e // s for e, s in zip(b.extent, layer["strides"], strict=True)]
    b.head += [f"  index {p} in 0..{e - 1} boundary zero" for p, e in zip(new, extent, strict=True)]
    shifted = b.value
    for p, q, tap, s in zip(b.positions, new, taps, layer["strides"], strict=True):
        shifted = shifted.replace(f"[{p}", f"[{s}*{q}+{tap}").replace(f" {p}]", f" {s}*{q}+{tap}]")
    ranges = ", ".join(f"{tap} in 0..{w - 1}" for tap, w in zip(taps, layer["window"], strict=True))
    b.positions, b.extent = new, extent
    b.body.append(f"  {b.at(name, new)} = mean({shifted} for {ranges})")
    b.value = b.at(name, new)


def _sum(b: Builder, layer: dict[str, Any], width: int) -> None:
    start, results = b.value, []
    for branch in layer["branches"]:
        b.value = start
        for inner in branch:
            _layer(b, inner, False, width)
        results.append(b.value)
    name = b.name()
    b.body.append(f"  {b.at(name, b.positions)} = {' + '.join(results)}")
    b.value = b.at(name, b.positions)


def _attention(b: Builder, layer: dict[str, Any]) -> None:
    name = b.name()
    (t,) = b.positions
    s = "s"
    b.head.append(f"  index {s} in 0..{b.extent[0] - 1}")
    e = b.name()
    b.body.append(f"  {e}[{t}] = {b.value}")
    b.weight(f"Q{name}", "n, n", (layer["W_key_std"] * layer["W_query_std"]) ** 0.5, "n")
    b.weight(f"V{name}", "n, n", layer["W_value_std"], "n")
    b.weight(f"O{name}", "n, n", layer["W_out_std"], "n")
    b.body.append(f"  a{name}[{t}, {s}] = dot(Q{name} @ {e}[{t}], Q{name} @ {e}[{s}]) / n")
    b.body.append(f"  o{name}[{t}] = sum(softmax(a{name}[{t}, {s}] over {s}) * (V{name} @ {e}[{s}]) for {s})")
    b.body.append(f"  {name}[{t}] = O{name} @ o{name}[{t}]{b.bias('n', layer)}")
    b.value = f"{name}[{t}]"
