"""Whatever the text, parsing and checking give a network or a SpecError, and soon."""

from __future__ import annotations

import time
from fractions import Fraction

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from network.specs import BAD, GOOD

from tp.errors import SpecError
from tp.network import tree as t
from tp.network.check import check
from tp.network.parse import parse
from tp.network.show import show

QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TEXTS = [*GOOD.values(), *BAD.values()]
WORDS = r"""
( ) [ ] , : ; = ~ + - * / ^ @ .. . .T # \ ' " 0 1 2 0.5 10^9 10^10^10 1e300 1e999 -1 n d l h x W L N pi network width
dim let index input weight output train frozen for in over boundary lr zero valid circular reflect sum( mean( avg( dot(
softmax( relu( layernorm( for\tl\tin\t1..3) over\ts) h[l-1] h[l+1] W.T σ é 𝛼 [[1,2],[3]]
"""
TOKENS = [*WORDS.split(), "\n", "\t", "\x00", "\u2028"]


def outcome(text):
    """The checked network or the error, whichever comes; anything else fails the test."""
    start = time.process_time()
    try:
        network = parse(text, "fuzz.tp")
        assert parse(show(network)) == network
        result = check(network)
    except SpecError as error:
        assert error.diagnostics
        assert str(error).startswith("fuzz.tp:")
        result = error
    assert time.process_time() - start < 10
    return result


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        a = draw(st.integers(0, len(text)))
        b = min(len(text), a + draw(st.integers(0, 12)))
        match draw(st.integers(0, 6)):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:a] + draw(st.sampled_from(TOKENS)) + text[a:]
            case 2:
                text = text[:a] + draw(st.sampled_from(TOKENS)) + text[b:]
            case 3:
                text = text[:b] + text[a:]
            case 4:
                lines = text.split("\n")
                i, j = (draw(st.integers(0, len(lines) - 1)) for _ in "ij")
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case 5:
                lines = text.split("\n")
                del lines[draw(st.integers(0, len(lines) - 1))]
                text = "\n".join(lines)
            case _:
                other = draw(st.sampled_from(TEXTS))
                text = text[:a] + other[draw(st.integers(0, len(other))) :]
    return text


@settings(QUIET, max_examples=600)
@given(mutated())
def test_mutated_specs(text):
    outcome(text)


@settings(QUIET, max_examples=150)
@given(st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join))
def test_words_at_random(text):
    outcome("network n\n" + text)


@settings(QUIET, max_examples=150)
@given(st.text(max_size=60))
@example("network n\n\x0c")
@example("\x00")
def test_text_at_random(text):
    outcome(text)


# ---------------------------------------------------------------- trees

names = st.sampled_from(["x", "h", "W", "l", "k1", "a_b", "Sigma", "σ", "relu", "N2", "T", "inner", "forx"])
words = st.sampled_from(["loss", "steps", "lr", "batch"])
numbers = st.builds(lambda k, p: t.Num(Fraction(k, 10**p)), st.integers(0, 10**6), st.integers(0, 8))
tuples = lambda s, least=0: st.lists(s, min_size=least, max_size=3).map(tuple)  # noqa: E731


def grow(inner):
    ranges = st.builds(t.Range, names, inner, inner) | st.builds(t.Range, names)
    return st.one_of(
        st.builds(t.Name, names, tuples(inner, 1)),
        st.builds(t.Neg, inner),
        st.builds(t.Transpose, inner),
        st.builds(t.Binary, st.sampled_from("+-*/^@"), inner, inner),
        st.builds(t.Call, names, tuples(inner, 1), st.none() | ranges),
        st.builds(t.Reduce, st.sampled_from(["sum", "mean"]), inner, tuples(ranges, 1)),
    )


expressions = st.recursive(numbers | st.builds(t.Name, names), grow, max_leaves=15)
indices = tuples(st.builds(t.Name, names) | numbers)
ranges = tuples(st.builds(t.Range, names, expressions, expressions) | st.builds(t.Range, names))
axes = tuples(names)
tables = st.recursive(expressions, lambda inner: st.builds(t.Table, tuples(inner, 1)), max_leaves=6)
optional = st.none() | expressions


@st.composite
def weights(draw):
    name, index, axes_, over = draw(names), draw(indices), draw(axes), draw(ranges)
    variance = draw(optional)
    short = draw(st.booleans())
    multiplier = None if short or variance is None else draw(optional)
    mean, rate, frozen = draw(expressions), draw(optional), draw(st.booleans())
    return t.Weight(name, index, axes_, multiplier, mean, variance, rate, frozen, short, over)


statements = st.one_of(
    st.builds(t.Width, names, optional),
    st.builds(t.Dim, names, optional),
    st.builds(t.Let, names, st.none() | tables, tuples(names)),
    st.builds(lambda n, p, b, o: t.Function(n, p, b, over=o), names, tuples(names, 1), expressions, st.none() | names),
    st.builds(t.Index, tuples(names, 1), expressions, expressions, st.none() | st.sampled_from(["zero", "odd"])),
    st.builds(t.Input, names, indices, axes, ranges),
    weights(),
    st.builds(t.Define, names, indices, expressions, ranges, st.booleans()),
    st.builds(t.Train, names, tuples(st.tuples(words, expressions))),
)


@settings(QUIET, max_examples=150)
@given(st.builds(t.Network, names, tuples(statements)))
def test_parse_undoes_show(network):
    assert parse(show(network)) == network


@settings(QUIET, max_examples=30)
@given(st.lists(st.sampled_from("+-*/@"), min_size=20, max_size=90), st.sampled_from(["left", "right", "both"]))
def test_parse_undoes_show_of_long_chains(ops, side):
    e = t.Name("x")
    for k, op in enumerate(ops):
        left = side == "left" or (side == "both" and k % 2)
        e = t.Binary(op, e, t.Name("y")) if left else t.Binary(op, t.Name("y"), e)
    network = t.Network("n", (t.Define("f", (), e),))
    assert parse(show(network)) == network
