"""The peer as a process: it reads one JSON request a line and answers with one JSON line.

Requests: ``{"load": layers, "x": path, "tile": t}`` builds and compiles a network and keeps the data; ``{"call": n}`` evaluates
NNGP and NTK once on the first n samples and answers with the seconds until NumPy has them, and until its device had computed
them; ``{"save": path, "count": n}`` writes both kernels of the first n samples. With t > 0 a call goes tile by tile, t × t
samples at a time and those on or above the diagonal alone: for what would not fit the memory at once. Runs in the peer's own
environment, so it imports nothing of ours.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
import types

import numpy as np

if "--float64" in sys.argv:
    os.environ["JAX_ENABLE_X64"] = "1"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # both of us are on one GPU
import jax
import jax.core
import jax.numpy as jnp

try:
    from neural_tangents import stax
except ImportError:  # a jax newer than the peer, as GPUs of today need it: all but its kernels of infinite networks is left out
    whole = importlib.util.find_spec("neural_tangents")
    sys.modules["neural_tangents"] = package = types.ModuleType("neural_tangents")
    package.__path__ = whole.submodule_search_locations
    from neural_tangents import stax

jax.config.update("jax_default_matmul_precision", "highest")  # a GPU's single precision, not its ten bits

SCALAR = {
    "tanh": jnp.tanh,
    "silu": lambda z: z * jax.nn.sigmoid(z),
    "softplus": jax.nn.softplus,
    "bent": lambda z: z / jnp.sqrt(1 + z**2),
}
DEGREE = 25
"""Nodes per axis of the peer's Gauss–Hermite rule for activations without a closed form: its default choice in its examples."""


def activation(name):
    if name in SCALAR:
        return stax.ElementwiseNumerical(SCALAR[name], deg=DEGREE)
    return {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}[name]()


def layer(spec):
    kind, *args = spec
    if kind == "dense":
        return stax.Dense(512, W_std=args[0], b_std=args[1])
    if kind == "act":
        return activation(args[0])
    if kind == "conv":
        return stax.Conv(512, (args[0], args[0]), padding="SAME", W_std=args[1], b_std=args[2])
    if kind == "avgpool":
        return stax.AvgPool((args[0], args[0]), strides=(args[0], args[0]))
    if kind == "attention":
        return stax.GlobalSelfAttention(512, 512, 512, 1, linear_scaling=True)
    if kind == "repeat":
        return stax.repeat(stax.serial(*map(layer, args[1])), args[0])
    return {"gap": stax.GlobalAvgPool, "flatten": stax.Flatten}[kind]()


class Peer:
    def load(self, request):
        _, _, kernel = stax.serial(*map(layer, request["load"]))
        self.kernel = jax.jit(lambda x: kernel(x, None, ("nngp", "ntk")))
        self.block = jax.jit(lambda x, y: kernel(x, y, ("nngp", "ntk")))
        self.x, self.tile = jnp.asarray(np.load(request["x"])), request["tile"]
        start = time.perf_counter()
        if self.tile:
            self.evaluate(self.tile)
            self.done(self.block(self.x[: self.tile], self.x[self.tile : 2 * self.tile]))
        else:
            self.evaluate(len(self.x))
        return {"first": time.perf_counter() - start, "dtype": str(self.x.dtype)}

    def evaluate(self, count):
        return self.done(self.kernel(self.x if count == len(self.x) else self.x[:count]))

    def done(self, out):
        jax.block_until_ready((out.nngp, out.ntk))
        self.computed = time.perf_counter()
        return np.asarray(out.nngp), np.asarray(out.ntk)

    def tiles(self, count):
        """The symmetric half of both kernels, tile by tile."""
        parts = [self.x[k : min(k + self.tile, count)] for k in range(0, count, self.tile)]
        for i, part in enumerate(parts):
            self.done(self.kernel(part))
            for other in parts[i + 1 :]:
                self.done(self.block(part, other))

    def answer(self, request):
        if "load" in request:
            return self.load(request)
        if "save" in request:
            np.save(request["save"], np.stack(self.evaluate(request["count"])))
            return {}
        start = time.perf_counter()
        (self.tiles if self.tile else self.evaluate)(request["call"])
        return {"seconds": time.perf_counter() - start, "device": self.computed - start}


def main():
    peer = Peer()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    version = importlib.metadata.version("neural-tangents")
    about = f"neural-tangents {version}, jax {jax.__version__}, {jax.default_backend()}"
    print(json.dumps({"peer": about}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(peer.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
