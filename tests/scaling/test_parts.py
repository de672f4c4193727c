"""Members of a family that are read by their number, or every second one: as if all were written out, name by name."""

import re
from fractions import Fraction

import numpy as np
import pytest

import tp
from tp.readings.measure import alike

HEAD = """network parts
  width n
  dim   d = 2
  index t in 1..4
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n^2)
  weight w : [n] ~ N(0, 1/n^2)
"""
TOKENS = (
    "  h[t] = U @ x[t]\n  k[t] = W @ tanh(h[t])\n",
    "".join(f"  h_{t} = U @ x[{t}]\n  k_{t} = W @ tanh(h_{t})\n" for t in range(1, 5)),
)


def written_out(lines: str) -> str:
    """h[3] as h_3; a line for every t."""
    made = []
    for line in lines.splitlines():
        body, _, ends = line.partition("  for t in ")
        first, last = map(int, ends.split("..")) if ends else (0, 0)
        made += [body.replace("2*t", str(2 * t)).replace("[t]", f"[{t}]") for t in range(first, last + 1)]
    return re.sub(r"\b([hkg])\[(\d)\]", r"\1_\2", "\n".join(made)) + "\n"


@pytest.mark.parametrize(
    "lines",
    [
        "  output f = v @ h[1] + w @ tanh(k[2])",  # a linear read-out of one token that is not in the middle
        "  output f = v @ tanh(k[4]) + w @ h[4]",
        "  g[t] = tanh(k[2*t])  for t in 1..2\n  output f = v @ g[1] + w @ h[2]",
        "  g[t] = tanh(k[t])  for t in 1..1\n  output f = v @ g[1] + w @ tanh(h[3])",
        "  g[t] = k[t]  for t in 1..2\n  g[t] = tanh(h[t])*k[1]  for t in 3..4\n  output f = v @ g[1] + w @ g[4]",
    ],
)
def test_members_that_are_read_apart(lines):
    short, long = (tp.parse(HEAD + tokens + more) for tokens, more in zip(TOKENS, (lines, written_out(lines)), strict=True))
    for optimizer in ("sgd", "adam"):
        one, other = short.mup(optimizer), long.mup(optimizer)
        assert {p: tuple(r) for p, r in one.rules.items()} == {p: tuple(r) for p, r in other.rules.items()}
        same = {re.sub(r"\[(\d)\]", r"_\1", name): q for name, q in one.exponents.items()}
        same = {name: q for name, q in same.items() if name in other.exponents}
        assert {"f", "h_3"} <= set(same)
        for name, q in same.items():
            assert (q.initial, q.changes) == (other.exponents[name].initial, other.exponents[name].changes), name
    larger = {p: tuple(r) for p, r in one.rules.items()} | {"v": (0, "1/2", 1), "w": (0, "1/2", 1)}
    assert short.scaling(larger).regime == long.scaling(larger).regime


def test_a_class_token_has_a_gradient():
    tokens = "  weight c : [n] ~ N(0, 1)\n  h[0] = c\n  h[t] = U @ x[t]\n"
    report = tp.parse(HEAD + tokens + "  output f = v @ tanh(W @ mean(tanh(h[t]) for t in 0..4)) + w @ h[3]\n").mup()
    assert tuple(report.rules["c"]) == tuple(report.rules["U"]) == (0, 0, -1)
    assert report.exponents["h[0]"].changes == (0, 0)


def test_each_is_measured_at_the_members_it_stands_for():
    net = tp.parse(HEAD + TOKENS[0] + "  output f = v @ tanh(k[4]) + w @ h[4]\n")
    run, members = net.simulate(np.ones((1, 4, 2)), width=4), net._engine(None).concrete.members
    found = {m.name: alike(run, m, members) for m in members if m.out[0] == "h"}
    assert found == {"h[3]": [("h", 1), ("h", 2), ("h", 3)], "h[4]": [("h", 4)]}


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 3), (4, 1)])
def test_members_with_fresh_weights_are_independent(one, other):
    heads = "  weight Q[a] : [n, n] ~ N(0, 1/n)  for a in 1..4\n  q[a] = Q[a] @ tanh(U @ x[1])  for a in 1..4\n"
    net = tp.parse(HEAD + heads + f"  output f = v @ tanh(W @ tanh(q[1])) + w @ q[4] + avg(q[{one}]*q[{other}])\n")
    assert net.scaling("mup").exponents["f"].initial == Fraction(-1, 2)


@pytest.mark.parametrize(("one", "other"), [(2, 5), (6, 1)])
def test_layers_of_a_loop_are_independent(one, other):
    net = tp.parse(
        HEAD
        + "  weight M[l] : [n, n] ~ N(0, 1/n)  for l in 1..6\n  z[0] = U @ x[1]\n  z[l] = M[l] @ tanh(z[l-1])  for l in 1..6\n"
        + f"  output f = v @ tanh(z[6]) + avg(z[{one}]*z[{other}])\n"
    )
    assert net.scaling("mup").exponents["f"].initial == Fraction(-1, 2)


HEADS = "  weight Q[a] : [n, n] ~ N(0, 1/n)  for a in 1..4\n  q[a] = Q[a] @ tanh(U @ x[1])  for a in 1..4\n"
MEETINGS = {
    "a definition between": ("r = tanh(q[2])", "avg(q[1]*r)", True),
    "the same member": ("r = tanh(q[1])", "avg(q[1]*r)", False),
    "an index of another name": ("r[b] = tanh(q[b])  for b in 1..4", "avg(r[3]*r[2])", True),
    "every second one": ("r[b] = tanh(q[2*b])  for b in 1..2", "avg(r[1]*q[3])", True),
    "a product of both": ("r = q[1]*q[2]", "avg(r)", True),
    "a sum that it is in": ("r = sum(q[b] for b in 2..3)", "avg(r*q[3])", False),
    "a sum that it is not in": ("r = sum(q[b] for b in 1..2)", "avg(r*q[4])", True),
    "two sums": ("r = sum(q[b] for b in 1..2)", "avg(r*sum(q[c] for c in 3..4))", True),
    "neighbours": ("r[b] = tanh(q[b])  for b in 1..4", "sum(avg(r[b]*q[b+1]) for b in 1..3)", True),
    "behind one matrix": ("r = W @ tanh(q[2])", "avg(r*(W @ tanh(q[3])))", True),
    "behind one matrix that has met another": ("k = W @ tanh(q[1])\n  r = W @ q[2]", "avg(r*(W @ q[3]))", True),
    "behind one matrix that has met their sum": ("k = W @ sum(q[b] for b in 1..3)\n  r = W @ q[2]", "avg(r*(W @ q[3]))", True),
    "a sum and its member behind one matrix": ("k = W @ sum(q[b] for b in 1..3)\n  r = W @ q[2]", "avg(r*k)", False),
    "three behind one matrix": ("k = W @ tanh(q[1])\n  r = (W @ q[2])*k", "avg(r*(W @ q[3]))", True),
    "means of what is in no other": (
        "k = W @ q[3]\n  r = W @ ((q[1] + q[2])*(q[2] + q[3]))",
        "avg(r*(W @ relu(q[2] + q[3])))",
        False,
    ),
    "weights of another index": (
        "weight M[i] : [n, n] ~ N(0, 1/n)  for i in 1..5\n  z[0] = q[1]\n  z[l] = M[l] @ tanh(z[l-1])  for l in 1..5",
        "avg(z[1]*z[2])",
        True,
    ),
    "blocks of a residual stream": (
        "weight M[l] : [n, n] ~ N(0, 1/n)  for l in 1..5\n  z[0] = q[1]\n  z[l] = z[l-1] + M[l] @ tanh(z[l-1])  for l in 1..5",
        "avg(z[2]*z[4])",
        False,
    ),
}


@pytest.mark.parametrize("case", MEETINGS)
def test_what_descends_from_different_members_is_independent(case):
    """By derivation, and at finite width: over seeds the average is n^(-1/2) times another random number, or it is not."""
    line, average, independent = MEETINGS[case]
    net = tp.parse(HEAD + HEADS + f"  {line}\n  g = {average}\n  output f = v @ tanh(W @ tanh(q[1])) + w @ q[4] + g\n")
    assert net.scaling("mup").exponents["g"].initial == (Fraction(-1, 2) if independent else 0)
    x = np.full((1, 4, 2), 0.8)
    sizes = [np.mean([float(net.simulate(x, width=n, seed=k)["g"][0]) ** 2 for k in range(24)]) for n in (16, 256)]
    assert (sizes[1] < sizes[0] / 5) == independent  # 16 times smaller if it is


def test_gates_with_numbers_have_representatives_of_their_own():
    names = tp.zoo("lstm").scaling("mup").exponents
    assert {f"a[{g}, 2]" for g in range(1, 5)} <= set(names)


BEYOND = """network beyond
  width n
  dim   d = 2
  index t in 1..4 EDGE
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n^2)
  h[t] = W @ (PHI) + U @ x[t]
  output f = v @ mean(tanh(h[t]) for t)
"""


@pytest.mark.parametrize(
    ("phi", "zero"),
    [
        ("tanh(h[t-1])", True),
        ("relu(h[t-1])", True),
        ("h[t-1]^2", True),
        ("layernorm(h[t-1])", True),
        ("softplus(h[t-1])", False),
        ("cos(h[t-1])", False),
        ("clip(h[t-1], -1, 2)", True),
        ("clip(h[t-1], 1/2, 1)", False),
        ("max(h[t-1], 1/2)", False),
    ],
)
def test_functions_beyond_a_range_that_is_0_there(phi, zero):
    edge = tp.parse(BEYOND.replace("PHI", phi).replace("EDGE", "boundary zero"))
    said = tp.parse(BEYOND.replace("PHI", phi).replace("EDGE\n", "\n  h[0] = 0\n"))
    for optimizer in ("sgd", "adam"):
        short, long = (net.scaling("mup", optimizer=optimizer).exponents for net in (edge, said))
        assert {name: (q.initial, q.changes) for name, q in short.items()} == {
            name: (q.initial, q.changes) for name, q in long.items() if name != "h[0]"
        }
        assert zero == ("W @ x1[1]" in short and short["W @ x1[1]"].initial is None)


@pytest.mark.parametrize(("phi", "size"), [("clip(q, -1, 2)", -1), ("max(q, 0)", -1), ("max(q, 1/2)", 0), ("clip(q, 1/2, 1)", 0)])
def test_a_clip_of_what_is_small_is_it_or_a_number(phi, size):
    net = tp.parse(f"""network clipped
  width n
  dim d = 3
  input x : [d]
  frozen weight U : [n, d] ~ N(0, 1)
  frozen weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n^2)
  h = U @ x
  q = h/n
  g = W @ {phi}
  output f = v @ (g + h)
""")
    assert net.scaling().exponents["g"].initial == size


def test_a_clip_at_a_constant_without_a_value_is_refused():
    text = BEYOND.replace("EDGE", "boundary zero").replace("PHI", "max(h[t-1], c)").replace("  dim ", "  let c\n  dim ", 1)
    with pytest.raises(tp.LimitError, match="give what it is compared with a value"):
        tp.parse(text).scaling("mup")
    assert tp.parse(text, c=2).scaling("mup").feature_learning


def test_no_exponent_is_claimed_of_too_many_independent_vectors():
    """Up to 64 each has a letter of its own; what is beyond is refused, not taken for correlated."""

    def size(count):
        letters = "".join(f"  frozen weight U{k} : [n, d] ~ N(0, 1)\n" for k in range(count))
        met = "".join(f"  q{k} = W @ tanh(U{k} @ x)\n" for k in range(count))
        text = f"network many\n  width n\n  dim d = 2\n  input x : [d]\n{letters}  frozen weight W : [n, n] ~ N(0, 1/n)\n"
        last = f"  a = avg(q{count - 2}*q{count - 1})\n  output f = a + v @ q0\n"
        return tp.parse(text + f"  weight v : [n] ~ N(0, 1/n^2)\n{met}{last}").scaling("mup").exponents["a"].initial

    assert size(24) == Fraction(-1, 2)
    with pytest.raises(tp.LimitError, match="more than 64 independent vectors"):
        size(70)


def test_updates_that_are_correlated_share_a_letter():
    """tanh u and tanh w are independent, b² relu u and b² relu w are not: behind one matrix, too, their product has a mean.

    Measured with lr=1 at widths 64…4096: the change of s falls like n^(+0.02 ± 0.05).
    """
    net = tp.parse(
        """network updates
  width n
  dim d = 3
  input x : [d]
  frozen weight U : [n, d] ~ N(0, 1)
  frozen weight V : [n, d] ~ N(0, 1)
  frozen weight W : [n, n] ~ N(0, 1/n)
  weight b : [n] = 1 * N(0, 0)
  weight v : [n] ~ N(0, 1/n)
  u = U @ x
  w = V @ x
  s = dot(W @ (tanh(u) + 16*b^2*relu(u)), W @ (tanh(w) + 16*b^2*relu(w)))/n
  output f = v @ (tanh(u + 4*b) + s*tanh(w))
"""
    )
    sizes = net.scaling("mup", steps=2).exponents["s"]
    assert (sizes.initial, sizes.changes) == (Fraction(-1, 2), (0, 0))
