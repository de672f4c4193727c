"""Specs that would take all memory or time: a clear error, soon."""

from __future__ import annotations

import time

import pytest

from tp.errors import SpecError
from tp.network.check import check
from tp.network.files import load_text
from tp.network.parse import parse
from tp.network.show import show

HEAD = "network n\nwidth n\ndim d = 4\ninput x : [d]\nweight U : [n, d] ~ N(0, 1/d)\nweight v : [n] ~ N(0, 1/n)\n"
LAYER = "h[l] = U @ x for l in 1..L\noutput f = v @ h[L]\n"


def doubling(count):
    return "let f0(z) = z + z\n" + "".join(f"let f{k + 1}(z) = f{k}(f{k}(z))\n" for k in range(count))


def indices(count):
    names = [f"i{k}" for k in range(count)]
    ranges = ", ".join(f"{i} in 0..1" for i in names)
    return f"y[{', '.join(names)}] = v @ (U @ x) for {ranges}\noutput f = y[{', '.join('0' * count)}]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network n\n" + "a" * 100 * 2**20, "at most 1,000,000 are read"),
        ("network n\nf = x" + " + x" * 200_000, "names, numbers and signs"),
        (HEAD + "let L = 10^9\n" + LAYER, "`l` has 1,000,000,000 members"),
        (HEAD + "let L = 10^10^10\n" + LAYER, "too large to work with"),
        (HEAD + "let L = 1e999\n" + LAYER, "between 1e-300 and 1e300"),
        (HEAD + "let L = " + "2^" * 90 + "2\n", "too large to work with"),
        (HEAD + "let L = " + "9" * 1000, "at most 60 characters"),
        (HEAD + "let a0 = 1/3\n" + "".join(f"let a{k + 1} = a{k}*a{k} + 1/7\n" for k in range(60)), "too large to work with"),
        (HEAD + "output f = v @ (U @ x)*9^9^9\n", "too large to work with"),
        (HEAD + "output f = v @ (U @ x)^(10^9)\n", "exponent is too large"),
        (HEAD + "output f = v @ hermite(10^5, U @ x)\n", "a whole number in 0..100"),
        (HEAD + "output f = " + "(" * 10_000 + "x" + ")" * 10_000, "100 levels deep"),
        (HEAD + "output f = " + "(" * 10_000, "100 levels deep"),
        (HEAD + "output f = " + "relu(" * 99 + "-" * 50 + "x" + ")" * 99, "100 levels deep"),
        (HEAD + "output f = " + "-" * 10_000 + "x", "100 levels deep"),
        (HEAD + "output f = " + "x^" * 10_000 + "x", "100 levels deep"),
        (HEAD + "output f = x" + ".T" * 10_000, "100 levels deep"),
        (HEAD + "output f = x" + "/2" * 10_000, "100 levels deep"),
        (HEAD + "output f = " + "sum(" * 99 + "1" + " for k in 1..2)" * 99, "already runs outside"),
        (HEAD + doubling(40) + "output f = v @ f40(U @ x)\n", "more than 20000 operations"),
        (HEAD + indices(50), "members; at most 10,000,000"),
        (HEAD + "".join(f"g{k} = U @ x\n" for k in range(6000)), "at most 5000 are allowed"),
        (HEAD + "".join(f"h[{k}] = U @ x\n" for k in range(400)), "at most 300 are allowed"),
        (HEAD + "".join(f"g{k} = undefined{k} + other{k}\n" for k in range(1000)), "and 1950 more"),
        (HEAD + "".join(f"g{k} = tanh(g{(k + 1) % 2000})\n" for k in range(2000)), "defined through itself"),
        ("#" * 900_000 + "\nnetwork n\n", "no output"),
        ("network n\nf = x" + "\t" * 900_000 + "+\n", "expected an expression"),
    ],
    ids=range(27),
)
def test_limits(text, said):
    start = time.process_time()
    with pytest.raises(SpecError) as caught:
        check(parse(text))
    assert said in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 400
    assert time.process_time() - start < 10


def test_long_and_deep_specs_that_are_right():
    chain = "".join(f"g{k} = tanh(g{k + 1})\n" for k in range(1500))
    assert check(parse(HEAD + chain + "g1500 = U @ x\noutput f = v @ g0\n"))
    terms = " + ".join(["h"] * 3000)
    assert check(parse(HEAD + f"h = U @ x\noutput f = v @ ({terms})\n"))
    nested = "tanh(" * 90 + "h" + ")" * 90
    network = parse(HEAD + f"h = U @ x\noutput f = v @ {nested}\n")
    assert parse(show(network)) == network
    assert check(network)


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "large.tp"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    start = time.process_time()
    with pytest.raises(SpecError, match="104,857,600 bytes"):
        load_text(path)
    assert time.process_time() - start < 2
