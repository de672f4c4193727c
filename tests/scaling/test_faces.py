"""Tables, JSON, the command line, and the way out to torch."""

import json
from fractions import Fraction

import pytest

import tp
from tests.scaling.specs import BIASES, RESIDUAL, mlp
from tp.adapters.torch import initialize_, param_groups
from tp.cli import main


def test_tables():
    report = tp.parse(mlp(2)).mup("adamw", "table8")
    assert "| W3     | output | n^(-1)     | 1        | 1             | n^(-1)  | 1            |" in report.table()
    assert "$n^{-1/2}$" in report.table("latex") and "n<sup>-1/2</sup>" in report.table("html")
    assert "feature learning" in str(report) and "<table>" in report._repr_html_()
    with pytest.raises(tp.DataError):
        report.table("rst")


def test_json():
    data = json.loads(tp.parse(mlp(1)).mup("adam").to_json())
    assert data["rules"]["W2"] == {"role": "output", "a": "0", "b": "1", "c": "1", "epsilon": "0", "decay": None}
    assert data["unique"] is True and data["regime"] == "feature learning"


def test_the_proof_lists_a_tight_constraint_for_every_rate():
    facets = "\n".join(tp.parse(mlp(2)).mup("sgd").facets)
    for name in ("W1", "W2", "W3"):
        assert f"the update of `{name}` acts at Θ(1)" in facets
    assert "the initial `W3` sees what training changed" in facets


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = main([str(a) for a in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_verbs(run, tmp_path):
    spec = tmp_path / "m.tp"
    spec.write_text(mlp(2))
    code, out, _ = run("scale", spec, "--parametrization", "sp", "--explain")
    assert code == 1 and "m.tp:9:" in out and "lower the learning rate of `W2`" in out
    code, out, _ = run("scale", spec, "--parametrization", "ntp", "--json")
    assert code == 0 and json.loads(out)["r"] == "1/2"
    code, out, _ = run("mup", spec, "--optimizer", "adamw", "--explain")
    assert code == 0 and "n^(-1/2)" in out and "tight: " in out
    picture = tmp_path / "F.png"
    code, out, _ = run(
        "coord-check", spec, "--parametrization", "mup", "--widths", "32,64", "--seeds", "2", "--budget", "0", "--plot", picture
    )
    assert "slope" in out and picture.stat().st_size > 1000
    code, _, err = run("mup", spec, "--optimizer", "sophia")
    assert code == 1 and "sophia" in err


class Parameter:
    requires_grad = True


class Model:
    """What the adapter asks of a module."""

    def __init__(self, *names):
        self.parameters = {name: Parameter() for name in names}

    def named_parameters(self):
        return self.parameters.items()


@pytest.mark.parametrize("gauge", ["table3", "table8", "table9"])
def test_parameter_groups_are_the_same_in_every_gauge(gauge):
    model = Model("W1.weight", "block.W2.weight", "W3.weight")
    report = tp.parse(mlp(2)).mup("adamw", gauge)
    groups = param_groups(model, report, width=64, base_width=16, lr=0.1, weight_decay=0.01, eps=1e-8)
    assert [g["lr"] for g in groups] == pytest.approx([0.1, 0.025, 0.025])
    assert [g["init_factor"] for g in groups] == pytest.approx([1, 0.5, 0.25])
    assert [g["weight_decay"] for g in groups] == pytest.approx([0.01, 0.04, 0.04])
    assert [g["eps"] for g in groups] == pytest.approx([2.5e-9, 2.5e-9, 1e-8])
    assert groups[1]["names"] == ["block.W2.weight"]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "sign", "adam", "adamw", "adafactor", "muon"])
@pytest.mark.parametrize("gauge", ["table8", "table9"])
def test_parameter_groups_are_the_report_without_multipliers(optimizer, gauge):
    """Whatever multipliers a report has, groups carry what is left when all are moved into scales and rates: table 3."""
    net, names = tp.parse(BIASES), ("U", "W", "b1", "b2", "c", "v")
    groups = param_groups(Model(*names), net.mup(optimizer, gauge), width=96, base_width=32, lr=0.5, weight_decay=0.1, eps=1e-8)
    plain = net.mup(optimizer, "table3").rules
    assert [g["name"] for g in groups] == list(plain)
    for group, rule in zip(groups, plain.values(), strict=True):
        assert rule.a == 0
        assert group["lr"] == pytest.approx(0.5 * 3.0 ** -float(rule.c))
        assert group["init_factor"] == pytest.approx(0 if rule.b is None else 3.0 ** -float(rule.b))
        assert group["weight_decay"] == pytest.approx(0.1 * 3.0 ** float(rule.decay or 0))
        assert group["eps"] == pytest.approx(1e-8 * 3.0 ** float(rule.epsilon or 0))


def test_parameters_are_mapped_completely():
    model = Model("embed", "layers.0.mix", "layers.1.mix", "head")
    report = tp.parse(mlp(2)).mup("sgd")
    groups = param_groups(model, report, 64, 16, {"W1": "embed", "W2": "layers.*.mix", "W3": ["head"]})
    assert [len(g["params"]) for g in groups] == [1, 2, 1]
    for mapping in ({"W1": "embed", "W3": "head"}, {"W1": "nothing"}, {"W1": "*", "W2": "*mix"}, {"X": "*"}, None):
        with pytest.raises(tp.DataError):
            param_groups(model, report, 64, 16, mapping)
    with pytest.raises(tp.DataError):
        param_groups(model, report, 0, 16)
    for width in ("64", float("nan"), float("inf"), None):
        with pytest.raises(tp.DataError, match="positive numbers"):
            param_groups(model, report, 64, width)


def test_torch_optimizers_take_the_groups():
    torch = pytest.importorskip("torch")
    model = torch.nn.Module()
    model.W1, model.W2, model.W3 = torch.nn.Linear(3, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 1)
    for part in (model.W1, model.W2, model.W3):
        part.bias = None
    groups = param_groups(model, tp.parse(mlp(2)).mup("adamw"), 64, 16, lr=0.1)
    initialize_(groups, {"W3": 0.4})
    assert model.W3.weight.std().item() == pytest.approx(0.1, rel=0.5)
    torch.optim.AdamW(groups).step()


def test_only_changes_that_mend_are_advised():
    """A bias beside a product that stays Θ(1) cannot help; lowering the advised rate does."""
    spec = """network biased
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d), lr 1
  weight W : [n, n] ~ N(0, 1/n), lr RATE
  weight b : [n] ~ N(0, 1), lr 1
  weight v : [n] ~ N(0, 1/n), lr 1/n
  h = W @ relu(U @ x) + b
  output f = v @ relu(h)
"""
    (reason,) = tp.parse(spec.replace("RATE", "1")).scaling().reasons
    advice = reason.text.split("\n  ")[1]
    assert "rate of `W` by n^(1/2)" in advice and "`b`" not in advice
    after = tp.parse(spec.replace("RATE", "n^(-1/2)")).scaling()
    assert not any("`W" in r.text.split("contributes")[0] and r.step == 1 for r in after.reasons if r.quantity == reason.quantity)
    assert "learns features" not in tp.parse(spec.replace("RATE", "1")).scaling().explanation()


def test_the_table_speaks_for_all_times():
    """What acts on a state that is 0 at first is not only said to be 0; behind what grows there are initial sizes."""
    report = tp.zoo("gru").scaling()
    assert report.exponents["Wz @ h[0]"].initial is None and report.exponents["Wz @ h[1]"].changes == (Fraction(1, 2),)
    assert report.reasons[0].quantity == "Wz @ h[1]"
    assert report.behind["Wr @ h[3]"].initial == report.behind["h[4]"].initial == report.behind["f"].initial == 0
    assert any(line.split("|")[1:4:2] == [" h[4]       ", "                "] for line in report.sizes().splitlines())
    stable = tp.zoo("gru").scaling("mup")
    assert stable.exponents["Wz @ h[3]"].changes == (0, 0) and not stable.behind
    assert "W[l] @ x1[l]" in tp.zoo("mlp", L=4).scaling("mup").exponents  # alike in all layers: one line


def test_a_crowd_of_blocks_is_named_by_its_end():
    depth = tp.parse(RESIDUAL.replace("1/sqrt(L) * ", ""), L=None).scaling("mup").depth
    assert not depth.stable and "`h[L]` grows like L^(1/2)" in depth.reasons[0]
    assert set(depth.exponents) == {"h[0]", "W[l] @ x1[l]", "h[l]", "h[L]"}


def test_names_in_tables_are_explained():
    """Representatives say what they stand for; temporaries, what they are, moments in them included."""
    report = tp.zoo("transformer").scaling("mup", "adam")
    assert report.legend[0] == "index t = 4 stands for 1..6, l = 2 for 2..11, s = 4 for 1..6"
    assert "x2[l,t] = relu(h[l,t])" in report.legend and any(line.startswith("m5[l,t] = 1/n Σ_α (y") for line in report.legend)
    assert not any(line.startswith(("m1[", "m7[")) for line in report.legend)  # no name in the table has these
    assert str(report).index("change, step 2") < str(report).index(report.legend[0]) and json.loads(report.to_json())["legend"]
    assert tp.zoo("resmlp", L=None).scaling("mup").legend == ("index l = 2 stands for 2..L-1", "x1[l] = relu(h[l-1])")
    assert tp.parse(mlp(2)).scaling("mup").legend == ()  # all names are the spec's


def test_every_representative_stands_for_what_it_is_read_as():
    """Together those of an index cover its range, each value once."""
    for name in ("transformer", "gru", "lstm", "cnn1d", "mlp"):
        concrete = tp.zoo(name)._engine(None).concrete
        for index in {s.index for s in concrete.standing}:
            covered = [v for s in concrete.standing if s.index == index for v in range(int(s.first), int(s.last) + 1)]
            assert covered == list(range(covered[0], covered[0] + len(covered)))


def test_a_failed_check_says_what_failed_and_what_to_do():
    net = tp.parse(mlp(2))
    check = net.coord_check("sgd", "sp", (32, 64, 128), seeds=2, budget=0)
    head, *_, last = str(check).splitlines()
    assert "FAILED: sizes grow with the width in training" in head and 'net.mup("sgd")' in last
    assert "`tp mup SPEC --optimizer sgd`" in check.text(command=True) and "net.mup" not in check.text(command=True)
