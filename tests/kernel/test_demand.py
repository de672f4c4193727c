"""What is computed, and what is not."""

from __future__ import annotations

import pytest

from tests.kernel.plain import kernel
from tests.kernel.specs import FLATTEN, LAYERNORM, MLP, RNN, conv, mlp
from tp.kernel.arrange import arrange
from tp.kernel.cells import Cell
from tp.kernel.compile import _output_wants
from tp.kernel.demand import Demand
from tp.kernel.kernel import Kernel
from tp.kernel.order import Loop, Nest, formulas, order
from tp.kernel.prepare import prepare


def plan(text: str, kinds=("K", "Theta")):
    _, limit = kernel(text, kinds)
    system = prepare(limit, {})
    pairs = Demand(system, single=False)
    wants = [w for n, kind in enumerate(kinds) for w in _output_wants(system, kind, "f", f"out{n}")]
    return arrange(pairs.plan(wants), "ij")


def axes(made, role="local"):
    return {name: len(t.axes) for name, t in made.tables.items() if t.role == role}


def test_a_flatten_readout_computes_no_pair_of_positions():
    made = plan(FLATTEN)
    assert max(axes(made).values()) == 1
    assert set(axes(made, "gram").values()) == {1}


def test_a_pooled_readout_computes_all_pairs_of_positions_but_one_variance_each():
    made = plan(conv())
    assert max(axes(made).values()) == 2
    assert set(axes(made, "gram").values()) == {2}
    assert set(axes(made, "site").values()) == {1}


def test_the_last_time_of_a_recurrence_needs_equal_times_only():
    last, mean = (plan(RNN.format(phi="relu", readout=r)) for r in ("relu(h[T])", "mean(relu(h[t]) for t)"))
    assert max(axes(last).values()) == 1
    assert max(axes(mean).values()) == 2


def test_nothing_of_the_tangent_kernel_is_computed_for_the_nngp():
    assert not [name for name in plan(mlp(), ("K",)).tables if "Theta" in name]


def test_covariance_and_tangent_share_one_loop_and_keep_two_layers():
    made = plan(mlp())
    code = order(made)
    loops = [x for x in code.items if isinstance(x, Loop)]
    assert len(loops) == 1 and len(loops[0].body) == 1  # one loop over layers, one nest in it
    assert {f.table for f in formulas(loops[0])} == {"K2", "Theta2"}
    assert {name: steps for name, (_, steps) in code.rolled.items()} == {"K2": 2, "Theta2": 2}


def test_taps_share_the_expectations_of_a_position_pair():
    code = order(plan(conv()))
    (nest,) = (x for x in code.items if isinstance(x, Nest) and {f.table for f in x.formulas} == {"aux3", "aux4"})
    assert all(not f.rhs.atoms(Cell) & {c for c in f.rhs.atoms(Cell) if c.table.startswith("aux")} for f in nest.formulas)


def texts(text: str, **values) -> str:
    return kernel(text.format(**values))[0].source


@pytest.mark.parametrize(
    "other", [{"L": 4}, {"L": 50}, {"sw2": "1.7"}, {"sb2": "0.05"}, {"L": 7, "sw2": "1.1", "sb2": "2"}], ids=str
)
def test_the_generated_text_holds_no_number_of_the_network(other):
    usual = {"L": 3, "sw2": "2", "sb2": "0.1", "phi": "relu"}
    assert texts(MLP, **usual) == texts(MLP, **{**usual, **other})


def test_the_number_of_positions_is_a_parameter():
    assert kernel(conv(size=4))[0].source == kernel(conv(size=9))[0].source


def test_names_of_the_spec_are_not_in_the_text():
    renamed = mlp().replace("h[", "hidden[").replace("W[", "Weights[").replace("sb", "bias")
    assert kernel(renamed)[0].source == kernel(mlp())[0].source


def test_what_one_sample_decides_is_not_computed_per_pair():
    k, _ = kernel(LAYERNORM)
    pairs = k.source.split("def pairs(")[1].split("\n\n\n")[0]
    assert "sqrt" not in pairs


def test_a_kernel_shows_itself():
    k, _ = kernel(mlp())
    assert isinstance(k, Kernel) and k.bound <= 1e-12
    assert "closed forms" in k._repr_html_() and "mlp" in repr(k)
