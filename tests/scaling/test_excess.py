"""Perturbations beyond the number that is followed: merged they bound sizes from above, left out from below."""

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest

import tp
from tests.scaling import specs
from tp.readings.scale.rules import Shape, _derivative, nonlinear
from tp.readings.scale.tags import LIMIT, Excess, corr, product, pruned
from tp.readings.scale.walk import Walk


def test_merged_components_correlate_with_all_that_theirs_do():
    many = {(1 << k | 1 << 80, 0): (0, 0) for k in range(LIMIT + 12)}
    excess = Excess()
    _, kept = pruned(({}, dict(many)), 4, excess)
    assert excess.met and len(kept) < len(many)
    for tag in many:
        partners = [tag, (tag[0], 1 << 90), (0, tag[0])]
        assert all(any(corr(k, p) for k in kept) for p in partners if corr(tag, p))
    left = Excess(drop=True)
    _, fewer = pruned(({}, dict(many)), 4, left)
    assert left.met and len(fewer) == LIMIT and set(fewer) <= set(kept)


@pytest.mark.parametrize("parity", [0, 1, -1])
def test_pairs_of_kinds_are_all_pairs(parity):
    """Second-order terms by the largest component of each kind are those of all pairs of components."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        tags = [(int(odd) & ~int(star), int(star)) for odd, star in rng.integers(0, 64, (30, 2))]
        values = [*rng.integers(-3, 0, 8).tolist(), *rng.integers(-3, 1, 20).tolist()]
        base: dict = {**dict.fromkeys(tags[:2], (0, 0)), **{t: (v, k) for k, (t, v) in enumerate(zip(tags[2:10], values))}}  # noqa: B905
        pert = {t: (v, 50 + k) for k, (t, v) in enumerate(zip(tags[10:], values[8:], strict=True))}
        found = nonlinear((base, pert), Shape(parity=parity))
        small = [(t, v, False) for t, (v, _) in base.items() if v < 0] + [(t, v, True) for t, (v, _) in pert.items()]
        mains = [t for t, (v, _) in base.items() if v >= 0]
        expected: tuple = (dict.fromkeys(_derivative(mains, parity, 0), 0), {})
        for order, terms in ((1, small), (2, list(combinations_with_replacement(small, 2)))):
            for term in terms:
                (tag, value, moved) = term if order == 1 else _pair(*term)
                for around in _derivative(mains, parity, order):
                    both = product(around, tag)
                    if order == 1 or not both[0]:
                        expected[moved][both] = max(value, expected[moved].get(both, value))
        assert tuple({t: v for t, (v, _) in part.items()} for part in found) == expected


def _pair(one, other):
    return product(one[0], other[0]), one[1] + other[1], one[2] or other[2]


def test_bounds_of_a_residual_network_agree():
    engine = tp.parse(specs.RESIDUAL)._engine(None)
    report = tp.parse(specs.RESIDUAL).scaling("mup")
    walk = engine.walk("sgd")
    point = {f"w_{p}": r.a + r.b for p, r in report.rules.items()} | {f"u_{p}": 2 * r.a + r.c for p, r in report.rules.items()}
    steps = walk.certified(point, 2)
    assert [walk.exponent(steps[2].sizes[m.slot][1]) for m in walk.forward if m.name == "f"] == [0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_averages_within_a_norm_have_only_to_be_bounded(optimizer):
    """Gates behind norms with gains: far more perturbations than are followed, and bounds of all that has a name agree."""
    net = tp.parse(specs.REGLU)
    report = net.mup(optimizer)
    walk = net._engine(None).walk(optimizer)
    assert walk.excess.met and walk.program.passing and report.feature_learning
    assert {tuple(report.rules[f"{name}[l]"]) for name in "GVW"} == {(0, Fraction(1, 2), int(optimizer == "adam"))}
    sizes = {name: q.changes for name, q in report.exponents.items()}
    assert set(sizes.values()) == {(0, 0)} and {"h[1]", "h[4]", "f"} <= set(sizes)


def test_what_is_divided_by_has_a_size_at_first():
    """An upper bound of a variance that is small at first is a lower one of what is normalized."""
    walk = tp.parse(specs.REGLU)._engine(None).walk("sgd")
    divisors = walk.program.passing & walk.program.divisors
    means = walk.program.passing - divisors
    small, whole = ((-1, 0), (0, 0)), ((0, 0), (-1, 0))
    assert divisors and not any(walk._bounded(m, small) for m in divisors) and all(walk._bounded(m, whole) for m in divisors)
    assert means and all(walk._bounded(m, small) for m in means) and not any(walk._bounded(m, ((0, 0), (1, 0))) for m in means)


def test_bounds_that_differ_are_refused(monkeypatch):
    run = Walk.run

    def without_changes(self, point, steps, roles=None):
        found = run(self, point, steps, roles)
        self.excess.met = True
        for step in found if self.excess.drop else ():
            step.sizes = {slot: (base, None) for slot, (base, _) in step.sizes.items()}
        return found

    monkeypatch.setattr(Walk, "run", without_changes)
    with pytest.raises(tp.LimitError, match="between bounds"):
        tp.parse(specs.RNN).scaling("ntp")
