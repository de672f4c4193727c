"""What the verbs accept on the command line."""

import argparse
import io
import sys
from fractions import Fraction

import pytest

from tp.cli import main, open_streams, options, parser

VERBS = ("show", "derive", "gram", "verify", "train", "plot", "language", "zoo", "demo")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("L=4", ("L", 4)),
        ("sb2=0.1", ("sb2", Fraction(1, 10))),
        ("a=-1/3", ("a", Fraction(-1, 3))),
        ("eps=2e-3", ("eps", Fraction(1, 500))),
        ("L=", ("L", None)),
        ("σ=2", ("σ", 2)),
    ],
)
def test_settings_are_exact(text, value):
    assert options.setting(text) == value


@pytest.mark.parametrize(
    "text", ["L", "=3", "L=x", "L=__import__('os')", "L=1/0", "L=1e999999999", "L=nan", "L=" + "9" * 100, "a b=1"]
)
def test_other_settings_are_usage_errors(text):
    with pytest.raises(argparse.ArgumentTypeError):
        options.setting(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1,,2", "1.5", ""])
def test_widths_are_whole_and_positive(text):
    with pytest.raises(argparse.ArgumentTypeError):
        options.widths(text)


@pytest.mark.parametrize("text", ["256", "256,256"])
def test_a_rate_needs_several_widths(text):
    assert options.widths(text) == (256,)
    with pytest.raises(argparse.ArgumentTypeError, match="two different"):
        options.several_widths(text)


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "examples:" in text and f"tp {verb}" in text.split("examples:")[1]
    assert max(map(len, text.splitlines())) <= 130


def test_top_help_names_every_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {verb} " in text for verb in VERBS) and "tp demo" in text


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["derive"],
        ["derive", "mlp", "--limit", "x"],
        ["gram", "mlp"],
        ["verify", "mlp", "--plot", "e.bmp"],
        ["show", "mlp", "--let", "L"],
    ],
)
def test_usage_errors_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: tp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["derive", "mlp", "--closd"], "tp derive: error: unrecognized arguments: --closd; did you mean --closed?"),
        (
            ["mup", "mlp", "--optimiser=adam"],
            "tp mup: error: unrecognized arguments: --optimiser=adam; did you mean --optimizer?",
        ),
        (["gram", "mlp", "--data", "X.npy", "--kind", "ntk"], "tp gram: error: unrecognized arguments: --kind ntk\n"),
    ],
)
def test_what_a_verb_does_not_take_is_said_with_its_own_usage(argv, told, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"usage: tp {argv[0]} ") and told in error


def test_version(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--version"])
    assert capsys.readouterr().out.startswith("tp 0.")


def test_streams_of_few_characters(monkeypatch):
    for name, content in (("stdin", "σ".encode() + b"\xff"), ("stdout", b""), ("stderr", b"")):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    open_streams()
    assert sys.stdin.read() == "σ\udcff"  # text, and a byte that is none: a syntax error, not a traceback
    print("Θ_f(x, x′) = λ² √⟨x, x′⟩ Ẑ + Ż − σ⁻¹ é ‹ 日", flush=True)
    assert sys.stdout.buffer.getvalue() == b"Theta_f(x, x') = lambda^2 sqrt<x, x'> Zhat + Zdot - sigma^-1 e <- \\u65e5\n"


def test_streams_that_are_closed(monkeypatch, capsys):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_streams()
    assert main(["zoo", "mlp"]) == 0 and main(["show", "-"]) == 1
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


def test_help_fits_the_terminal(monkeypatch, capsys):
    """Paragraphs are filled; tables and examples stay as they are."""
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit):
        main(["mup", "--help"])
    page = capsys.readouterr().out
    prose, _, examples = page.partition("examples:")
    assert max(map(len, prose.splitlines())) <= 70
    assert (
        "\n  --gauge table8   the read-out's scale is a multiplier\n" in prose and "  tp mup mlp --optimizer adam\n" in examples
    )
