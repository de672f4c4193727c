"""Perturbations beyond the number that is followed: merged they bound sizes from above, left out from below."""

import pytest

import tp
from tests.scaling import specs
from tp.readings.scale.tags import LIMIT, Excess, corr, pruned
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


def test_bounds_of_a_residual_network_agree():
    engine = tp.parse(specs.RESIDUAL)._engine(None)
    report = tp.parse(specs.RESIDUAL).scaling("mup")
    walk = engine.walk("sgd")
    point = {f"w_{p}": r.a + r.b for p, r in report.rules.items()} | {f"u_{p}": 2 * r.a + r.c for p, r in report.rules.items()}
    steps = walk.certified(point, 2)
    assert [walk.exponent(steps[2].sizes[m.slot][1]) for m in walk.forward if m.name == "f"] == [0]


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
