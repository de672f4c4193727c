"""Where there are no maximal rules: which constraints contradict each other, on which line, and ways out that were tried."""

import pytest

import tp
from tests.scaling import specs
from tp.cli import main
from tp.errors import NOWHERE, LimitError, Message
from tp.readings import mup_depth
from tp.readings.mup_ways import LONGEST

GROWTH = {"m": "1/2"}
NARROW = specs.BOTTLENECK


def refused(**settings):
    with pytest.raises(tp.LimitError) as caught:
        tp.parse(NARROW).mup("sgd", growth=GROWTH, **settings)
    return caught.value


def test_the_contradiction_is_named_with_its_line():
    (found,) = refused().diagnostics
    line = NARROW.splitlines()[found.span.line - 1]
    assert "weight U" in line and "^^^^" in found.render()
    said = found.reason
    assert "the update of `U` acts at Θ(1)" in said and "`z` does not grow in step 2" in said and "`h2` is Θ(1) at init" in said


def test_every_way_out_leads_somewhere():
    """Each remedy is taken here once more, from the spec's text."""
    said = refused()
    remedy, command = said.diagnostics[0].remedy, said.diagnostics[0].command
    assert '"adam"' in remedy and "steps=2" in remedy and "line" in remedy
    assert "--optimizer adam" in command and "--steps 2" in command and "=2" not in command
    net = tp.parse(NARROW)
    assert net.mup("adam", growth=GROWTH).feature_learning and net.mup("sgd", growth=GROWTH, steps=2).stable
    line = next(k for k, text in enumerate(NARROW.splitlines(), 1) if "tanh(z)" in text)
    assert f"in line {line} " in remedy
    assert tp.parse(NARROW.replace("tanh(z)", "sigmoid(z)")).mup("sgd", growth=GROWTH).feature_learning


def test_what_does_not_help_is_not_offered():
    """With one update Adam is not maximal either, and is not advised."""
    with pytest.raises(tp.LimitError):
        tp.parse(NARROW).mup("adam", growth=GROWTH, steps=1)
    assert "adam" not in refused(steps=1).diagnostics[0].remedy
    assert LONGEST == 4  # counts of steps that are tried


def test_the_command_line_says_its_options(capsys, tmp_path):
    spec = tmp_path / "narrow.tp"
    spec.write_text(NARROW)
    assert main(["mup", str(spec), "--growth", "m=1/2"]) == 1
    err = capsys.readouterr().err
    assert "--optimizer adam" in err and "--steps 2" in err and "narrow.tp:" in err


def test_a_depth_that_cannot_be_followed_leaves_the_rules_of_the_width(monkeypatch, capsys, tmp_path):
    def too_many(*args, **more):
        raise LimitError(
            Message(NOWHERE, "too many parts of `h`", "ask for fewer steps=…", "too many parts", "ask for fewer --steps")
        )

    monkeypatch.setattr(mup_depth, "report", too_many)
    report = tp.parse(specs.RESIDUAL, L=None).mup("sgd")
    assert report.feature_learning and report.unique and report.rules["v"].b == 1
    assert "width is complete without" in str(report) and "steps=…" in str(report)
    spec = tmp_path / "residual.tp"
    spec.write_text(specs.RESIDUAL)
    assert main(["mup", str(spec), "--let", "L=", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "fewer --steps" in out and "steps=…" not in out and "width is complete" in out and "tight: " in out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "at least 1"),
        ({"steps": "x"}, "at least 1"),
        ({"foo": 2}, "no constant"),
        ({"growth": {"n": "x"}}, "exact number"),
    ],
)
def test_wrong_settings(settings, said):
    net = tp.zoo("linear_mup")
    for ask in (net.mup, net.scaling):
        with pytest.raises(tp.DataError, match=said):
            ask(**settings)


def test_what_is_no_spec():
    for wrong in (3, b"network a"):
        with pytest.raises(tp.DataError, match="a spec is text"):
            tp.parse(wrong)
    for wrong in (3, "a\0b", "/nowhere/at/all.tp"):
        with pytest.raises(tp.SpecError, match="cannot read the spec"):
            tp.load(wrong)


def test_some_width_grows_like_n():
    with pytest.raises(tp.DataError, match="no width grows like n itself"):
        tp.zoo("mlp").mup("adam", growth={"n": 2})


@pytest.mark.parametrize(
    "said, ask",
    [
        ("1.5 seeds", lambda net: net.verify(widths=(8, 16), seeds=1.5)),
        ("1.5 seeds", lambda net: net.coord_check("sgd", widths=(8, 16), seeds=1.5)),
        ("'a' steps", lambda net: net.coord_check("sgd", widths=(8, 16), steps="a")),
        ("the rate is 'a'", lambda net: net.coord_check("sgd", widths=(8, 16), lr="a")),
        ("the budget is 'a'", lambda net: net.coord_check("sgd", widths=(8, 16), budget="a")),
    ],
)
def test_settings_that_are_no_numbers(said, ask):
    with pytest.raises(tp.DataError, match=said):
        ask(tp.zoo("mlp"))


def test_a_number_names_no_network():
    with pytest.raises(tp.SpecError, match="no network `3`"):
        tp.zoo(3)


CIRCLE = """network circle
  width n
  dim   c = 2
  index p in 0..3 boundary {boundary}
  input  x[p] : [c]
  weight A : [n, c] ~ N(0, 1)
  weight B[k] : [n, n] ~ N(0, 1/n) for k in -1..1
  weight v : [n] ~ N(0, 1/n)
  h[p] = A @ x[p]
{ends}  g[p] = sum(B[k] @ relu({read}[p+k]) for k in -1..1) for p in 0..3
  output f = v @ mean(relu(g[p]) for p in 0..3)
"""


@pytest.mark.parametrize(("boundary", "below", "above"), [("circular", 3, 0), ("reflect", 1, 2)])
def test_reads_beyond_the_ends_may_be_written_out(boundary, below, above):
    wrapped = tp.parse(CIRCLE.format(boundary=boundary, ends="", read="h"))
    ends = rf"y\[p\] = h\[p\]; y\[-1\] = h\[{below}\]; y\[4\] = h\[{above}\]"
    with pytest.raises(LimitError, match=f"(?s)beyond the range with `boundary {boundary}`.*write the ends out, `{ends}`"):
        wrapped.scaling("mup")
    ends = f"  y[p] = h[p] for p in 0..3\n  y[-1] = h[{below}]\n  y[4] = h[{above}]\n"
    written = tp.parse(CIRCLE.format(boundary="zero", ends=ends, read="y"))
    assert written.scaling("mup").feature_learning
    X = [[[1.0, 0.0], [0.5, 1.0], [0.0, -1.0], [2.0, 0.3]]]
    assert written.kernel("nngp")(X) == pytest.approx(wrapped.kernel("nngp")(X), rel=1e-12)
