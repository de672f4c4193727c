"""The demo, on a smaller network and fewer digits than it shows."""

from tp.cli import demo, main


def test_the_tour(tmp_path, monkeypatch, capsys):
    small = demo.Example("mlp", 60, 40, (64,), (64, 256, 1024), {"d": 64, "L": 2}, ("sw2", "sb2"))
    monkeypatch.setattr(demo, "SHOWN", (small,))
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Θ_h[l]" in out or "Θ_h[2]" in out
    assert "mlp NTK" in out and "linear" in out and "n = 1024" in out and "done in" in out
    assert (tmp_path / "out" / "mlp-ntk.tex").read_text("utf-8").startswith("\\documentclass")


def test_what_is_shown_fits_the_digits():
    for example in demo.SHOWN:
        X, y = demo.chosen(example)
        assert len(X) == len(y) == example.train + example.test <= 1797
        assert X.shape[1:] == example.shape


def test_splits_are_disjoint_and_fixed():
    first, second = demo.chosen(demo.SHOWN[0]), demo.chosen(demo.SHOWN[0])
    assert (first[0] == second[0]).all() and len({x.tobytes() for x in first[0]}) == len(first[0])
