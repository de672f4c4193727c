"""Exact infinite-width training at the scale of Tensor Programs IV, sections 6 and 9: Word2Vec and meta-learning.

    python -m benchmarks.exact_training                       # everything; --help for sizes
    python -m benchmarks.exact_training words --vocabulary 1000 --losses xent --steps 200,400

Words: embeddings U and read-out V of a vocabulary, trained on the mean of a one-hot context (CBOW) by negative sampling (logistic
loss, targets 1, −1 and 0) or by the full softmax. Meta: MAML on random linear regression tasks, first and second order, run on
the finite network that the limit is. Deep: linear networks of two hidden layers. Times are those of single runs. Printed, and
stored in results/exact_training.md, a section each.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import tp
from benchmarks.sections import section
from tp.readings.linear_limit import Finite, recognised

Array = NDArray[np.float64]
DEEP = """network deep
  width n
  dim d = 8
  let L = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1/d), lr n
  weight W[l] : [n, n] = 1 * N(0, 1/n) for l in 2..L
  weight v : [n] = 1/n * N(0, 1), lr n
  h[1] = U @ x
  h[l] = W[l] @ h[l-1] for l in 2..L
  output f = v @ h[L]
"""


def corpus(vocabulary: int, windows: int, negatives: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Contexts (mean of four one-hot words), targets of negative sampling, and one-hot targets; words have Zipf's law."""
    law = 1 / np.arange(1, vocabulary + 1)
    draw = rng.choice(vocabulary, size=(windows, 5 + negatives), p=law / law.sum())
    X, sampled, onehot = (np.zeros((windows, vocabulary)) for _ in range(3))
    rows = np.arange(windows)
    for k in range(4):
        np.add.at(X, (rows, draw[:, k]), 0.25)
    for k in range(negatives):
        sampled[rows, draw[:, 5 + k]] = -1
    sampled[rows, draw[:, 4]] = onehot[rows, draw[:, 4]] = 1
    return X, sampled, onehot


def words(vocabulary: int, steps: list[int], batch: int, losses: list[str], negatives: int) -> Iterator[str]:
    """Seconds by steps, and bytes: linear in the steps."""
    rng = np.random.default_rng(0)
    X, sampled, onehot = corpus(vocabulary, 1000, negatives, rng)
    net = tp.zoo("linear_mup", d=vocabulary, k=vocabulary)
    for loss in losses:
        for count in steps:
            batches = [rng.integers(0, len(X), batch).tolist() for _ in range(count)]
            idle = (vocabulary - 1 - negatives) * np.log(2) if loss == "negative" else 0.0  # of words that are not drawn
            Y, name = (sampled, "logistic") if loss == "negative" else (onehot, loss)
            start = time.process_time()
            run = net.train(X, Y, steps=count, lr=batch / 4, loss=name, batches=batches, X_test=X[:4], every=count)
            ready, wall = time.process_time(), time.perf_counter()
            found = run.limit()
            used, wall = time.process_time() - ready, time.perf_counter() - wall
            yield (
                f"words   {loss:9} vocabulary {vocabulary:5} batch {batch:3} steps {count:5}: prepared {ready - start:5.1f} s, "
                f"{used:6.1f} s CPU, {wall:6.1f} s wall, {1e3 * wall / count:7.2f} ms a step, "
                f"width {found.details['width']}, "
                f"loss {found.losses[0] - idle:.3f} → {found.losses[-1] - idle:.3f}, peak {_peak():.2f} GiB"
            )


def hessian_product(net: Finite, X: Array, Y: Array, du: Array, dv: Array) -> tuple[Array, Array]:
    """The derivative of the scaled gradient of mse along (du, dv): rates · ∇²L · (du, dv)."""
    hidden, moved = net.U @ X.T, du @ X.T
    slope = (net.c * hidden.T @ net.V - Y) / len(X)
    change = net.c * (moved.T @ net.V + hidden.T @ dv) / len(X)
    first = net.rate_u * (dv @ slope.T + net.V @ change.T) @ X
    return first, net.rate_v * (moved @ slope + hidden @ change)


def maml(net: Finite, tasks: int, shots: int, inner: float, outer: float, second: bool, rng: np.random.Generator) -> list[float]:
    """The query loss of every task, one outer step of MAML for each: the gradient at the adapted weights, pulled back through the
    inner step unless first order."""
    d, found = net.U.shape[1], []
    centre = np.ones(d) / np.sqrt(d)
    for _ in range(tasks):
        task = centre + rng.normal(size=d) / (4 * np.sqrt(d))
        X = rng.normal(size=(2 * shots, d)) / np.sqrt(d)
        Y = X @ task[:, None]
        support, query = (X[:shots], Y[:shots]), (X[shots:], Y[shots:])
        du, dv = net.gradients(*support, "mse")
        adapted = Finite(net.U - inner * du, net.V - inner * dv, net.c, net.rate_u, net.rate_v)
        found.append(adapted.forward(*query, "mse")[0])
        gu, gv = adapted.gradients(*query, "mse")
        if second:
            hu, hv = hessian_product(net, *support, gu, gv)
            gu, gv = gu - inner * hu, gv - inner * hv
        net.U -= outer * gu
        net.V -= outer * gv
    return found


def meta(d: int, tasks: int) -> Iterator[str]:
    """Query losses at the start and the end."""
    for second in (False, True):
        run = tp.zoo("linear_mup", d=d).train(np.eye(d), np.zeros(d), steps=1, lr=1.0)
        linear = recognised(run)
        assert linear is not None
        start = time.process_time()
        found = maml(Finite.limit(linear), tasks, 10, 0.2, 0.2, second, np.random.default_rng(0))
        used, name = time.process_time() - start, "second" if second else "first"
        begin, end = np.mean(found[: tasks // 10]), np.mean(found[-tasks // 10 :])
        about = f"meta    {name:6} order, d {d:4}, {tasks:5} tasks of 10 + 10"
        yield f"{about}: {used:6.1f} s CPU, query loss {begin:.4f} → {end:.4f}"


def deep(steps: list[int], batch: int) -> Iterator[str]:
    """The closed system of a deep linear network."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(batch, 8)), rng.normal(size=batch)
    for count in steps:
        start = time.process_time()
        found = tp.parse(DEEP).train(X, y, steps=count, lr=0.1, every=count).limit()
        used, letters = time.process_time() - start, found.details["letters"]
        yield f"deep    L 2, batch {batch}, steps {count:4}: {used:6.1f} s CPU, {letters:5} letters, loss {found.losses[-1]:.6f}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Print a line for every measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["words", "meta", "deep"], help="words, meta, deep (default: all)")
    parser.add_argument("--vocabulary", type=int, default=5000)
    parser.add_argument("--steps", type=_integers, default=[1250, 2500, 5000])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--losses", type=lambda text: text.split(","), default=["negative"], help="negative,xent,mse")
    parser.add_argument("--negatives", type=int, default=5, help="drawn words a window")
    parser.add_argument("--features", type=int, default=100, help="input dimensions of the meta-learning tasks")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--depth-steps", type=_integers, default=[50, 100, 200], dest="depth_steps")
    given = parser.parse_args()
    for part in given.parts:
        lines = {
            "words": lambda: words(given.vocabulary, given.steps, given.batch, given.losses, given.negatives),
            "meta": lambda: meta(given.features, given.tasks),
            "deep": lambda: deep(given.depth_steps, 4),
        }
        with section("exact_training", "Exact infinite-width training", part):
            for line in lines[part]():
                print(line, flush=True)


if __name__ == "__main__":
    main()
