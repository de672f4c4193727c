"""More networks where they tell most: which, for how much, and what that decides."""

from fractions import Fraction as F
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

import tp
from tests.scaling import specs
from tp.readings.coord_check import Study, experiment, rules_of
from tp.readings.measure import flips
from tp.readings.scale.infer import Engine, growths
from tp.readings.scale.optimizers import optimizer
from tp.readings.scale.report import Quantity
from tp.readings.seeds import Open, cost, next_batch, worth
from tp.readings.slopes import SHARING, Slope

WIDTHS = (128, 256, 512, 1024)
OPEN = Open(Slope(0.0, 0.2, (0.5,) * 4), False)


def test_the_ends_of_the_range_tell_most():
    counts, one = np.full(4, 8), np.ones(4, int)
    wide = [10**6 * n for n in WIDTHS]  # no corrections
    gain = worth(OPEN, WIDTHS, wide, counts, one)
    assert min(gain[0], gain[3]) > max(gain[1], gain[2]) > 0
    assert worth(OPEN, WIDTHS, wide, counts * 4, one).max() < gain.max()  # less is left to be told
    known = np.array([10**4, 8, 8, 10**4])  # with corrections it takes a third width to tell them from a slope
    assert worth(OPEN, WIDTHS, WIDTHS, known, one)[1:3].max() > 10 * worth(OPEN, WIDTHS, WIDTHS, known, one)[[0, 3]].max()


def test_no_more_is_spent_than_is_left():
    networks, sets, spent = next_batch([OPEN], WIDTHS, WIDTHS, [8] * 4, [0] * 4, 16, 1e7, 1e7)
    assert sets == [0] * 4 and spent <= 1e7
    assert spent == pytest.approx(sum((n - 8) * cost(w) for n, w in zip(networks, WIDTHS, strict=True)))
    assert next_batch([OPEN], WIDTHS, WIDTHS, [8] * 4, [0] * 4, 16, 1e7, 100.0)[2] == 0


def test_fewer_sets_than_tell_are_not_bought():
    item = Open(OPEN.slope, True)
    _, sets, _ = next_batch([item], WIDTHS, WIDTHS, [8] * 4, [SHARING] * 3 + [0], 8, 3e7, 1e9)
    assert sets[3] == 0 or sets[3] >= SHARING
    assert sum(sets) > 3 * SHARING


def test_products_of_three_signs_sum_to_zero():
    run = tp.zoo("transformer", L=1, T=2).simulate(np.ones((1, 2, 16)), width=8)
    rows = flips(run)
    families = sorted({k[0] for keys in rows for k in keys})
    assert families == ["A", "B", "E", "K", "O", "P", "Q", "V"] and len(rows) == 16 and rows[0] == []
    signs = {f: np.array([-1 if any(k[0] == f for k in keys) else 1 for keys in rows]) for f in families}
    for size in (1, 2, 3):
        for some in combinations(families, size):
            assert np.prod([signs[f] for f in some], axis=0).sum() == 0
    gains = {"g", "g1", "g2"}  # constants have no sign to flip
    assert not gains & {k[0] for keys in rows for k in keys}


def test_flipped_signs_leave_little_of_what_fluctuates():
    """The first-order change of attention logits has mean 0: a tenth of it is left by 16 flips, a quarter by 16 seeds."""
    text = specs.ATTENTION.replace("weight E : [n, d] ~ N(0, 1/d)", "weight E : [n, d] ~ N(0, 1/d), frozen")
    net, sgd = tp.parse(text.format(let="", scale="1/n")), optimizer("sgd")
    engine = Engine(net.program, growths(net.program, None))
    networks = experiment(engine, rules_of(engine, net.mup("sgd"), sgd), sgd, steps=1)
    (name,) = (n for n in networks.named if n.startswith("a["))
    means = networks.shared(32, 0, 0.125)[name, 1, "odd"]
    whole = networks.sizes(32, 0, 0.125)[name, 1, "odd"]
    assert np.sqrt(np.mean(means**2)) < 0.12 * whole[0]


# ---------------------------------------------------------------- a study of numbers whose law is known


class Law:
    """In place of networks: a scalar ``a`` that has moved by m n^e + σ n^(-1/2) ξ, and its means over flipped signs."""

    def __init__(self, m, exponent, sigma=6.0):
        self.m, self.exponent, self.sigma = m, exponent, sigma
        self.named = {"a": SimpleNamespace(vector=False)}
        self.smooth = True

    def narrowest(self, width):
        return width

    def run(self, width, seed):
        return SimpleNamespace(weights={})

    def _entries(self, width, seed, sigma):
        noise = np.random.default_rng([width, seed]).standard_normal(8)
        return self.m * width**self.exponent * np.linspace(0.5, 1.5, 8) + sigma * width**-0.5 * noise

    def sizes(self, width, seed, lr):
        return {("a", 1, "even"): np.sqrt([np.mean(self._entries(width, seed, self.sigma) ** 2)])}

    def shared(self, width, index, lr):
        return {("a", 1, "even"): self._entries(width, 10**6 + index, self.sigma / 6)}


def studied(law, derived, budget):
    report = SimpleNamespace(exponents={"a": Quantity("a", F(0), (derived,))})
    study = Study(law, report, WIDTHS, 1.0)
    study.train([32, 16, 8, 8], [0] * 4)
    study.decide(budget)
    return study.rows[0], study


def test_a_hidden_part_is_undecided_without_a_budget_and_found_with_one():
    row, study = studied(Law(0.1, 0.0), F(0), 0)
    assert row.verdict == "undecided" and row.part == "even" and row.slope < -0.3 and study.open[0].sets
    row, study = studied(Law(0.1, 0.0), F(0), 8)
    assert row.verdict == "confirmed" and row.part == "even shared" and abs(row.slope) < 0.1
    assert any(study.sets) and not study.open


def test_a_wrong_exponent_of_a_hidden_part_is_contradicted():
    """What is shared falls like n^(-1/2) too: it is found, and it is not n^0."""
    row, _ = studied(Law(2.0, -0.5, sigma=3.0), F(0), 20)
    assert row.verdict == "contradicted" and row.slope < -0.3


def test_what_is_not_there_is_given_up():
    """Sets at three widths show nothing; to see something would take more than the budget, and nothing more is spent."""
    row, study = studied(Law(0.0, 0.0), F(0), 8)
    assert row.verdict == "undecided" and row.part == "even"
    assert [len(found) for found in study.networks] == [32, 16, 8, 8]
    assert sum(len(found) for found in study.sets) <= 4 * SHARING


def test_without_the_means_for_sets_other_exponents_are_still_decided():
    row, study = studied(Law(0.1, 0.0), F(0), 0.2)
    assert row.verdict == "undecided" and not any(study.sets)


def test_a_derived_exponent_that_is_too_small_is_contradicted():
    row, _ = studied(Law(5.0, 0.0, sigma=0.5), F(-1, 2), 4)
    assert row.verdict == "contradicted" and row.slope > -0.2
