"""``docs/language.md``: its examples derive, its errors are what is said, its tables are complete and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tp
from tp.cli import main
from tp.errors import TPError
from tp.gaussian.expectation import Expectation
from tp.network import limits
from tp.network.build import RESERVED
from tp.network.check import BOUNDARIES
from tp.network.parse import parse
from tp.network.prelude import CONSTANTS, FORMS, PRIMITIVES, prelude
from tp.network.training import LOSSES, OPTIMIZERS, OPTIONS
from tp.resources import grammar_text, language_text

PAGE = Path(__file__).parents[1] / "docs" / "language.md"
TEXT = PAGE.read_text("utf-8")
FRAME, *EXAMPLES = re.findall(r"^```tp\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
(WRONG,) = re.findall(r"^```tp wrong\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
REFUSED = re.findall(r"^\| `([^|]+)` \| ([^|:]+)(?::[^|]*)? \| [^|]+ \|$", TEXT.split("## What is refused")[1], re.MULTILINE)
FUNCTIONS = re.findall(
    r"^\| (`[^|]+`) \| ([^|]+) \| ([^|]+) \|$", TEXT.split("## Functions")[1].split("## Outputs")[0], re.MULTILINE
)
IN_TURN = "network turn\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1)\n  weight v : [n] ~ N(0, 1/n)\n"


@pytest.mark.parametrize("lines", ["", *EXAMPLES], ids=lambda lines: lines.strip().partition("\n")[0] or "frame")
def test_examples_derive(lines: str) -> None:
    net = tp.parse(FRAME + lines)
    found = " ".join(str(e.lhs) for e in (net.nngp() if lines else net.ntk()).equations)
    assert all(f"{'K' if lines else 'Theta'}[{name}" in found for name in net.checked.outputs)


def test_errors_read_as_shown(golden, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.tp").write_text(FRAME + WRONG, "utf-8")
    assert main(["derive", "my.tp"]) == 1
    before, _, after = re.split(r"^```text\n(.*?)^```$", TEXT, maxsplit=1, flags=re.MULTILINE | re.DOTALL)
    golden(PAGE, f"{before}```text\n{capsys.readouterr().err}```{after}")


@pytest.mark.parametrize(("lines", "said"), REFUSED)
def test_refusals(lines: str, said: str) -> None:
    with pytest.raises(TPError) as caught:
        tp.parse(FRAME + lines.replace("; ", "\n")).ntk()
    assert f": {said.strip()}\n" in str(caught.value)


def test_everything_has_its_place() -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", prose))))
    keywords = re.findall(r"/(\w+)\\b/", grammar_text())
    assert len(keywords) == 16
    known = {*keywords, *RESERVED, *PRIMITIVES, *FORMS, *CONSTANTS, *prelude(), *BOUNDARIES, *OPTIMIZERS, *LOSSES, *OPTIONS}
    assert known <= words
    sizes = (
        limits.TEXT,
        limits.STATEMENTS,
        limits.CLAUSES,
        limits.RANGE,
        limits.FAMILY,
        limits.DEPTH,
        limits.NAME,
        limits.DIGITS,
    )
    assert all(re.search(rf"\b{size:,}\b", TEXT) for size in sizes)


def test_functions_are_those_that_there_are() -> None:
    named = {re.match(r"\w+", call)[0] for calls, _, _ in FUNCTIONS for call in re.findall(r"`([^`]+)`", calls)}
    assert named == {*PRIMITIVES, *prelude()}


def test_functions_are_what_is_said() -> None:
    """A primitive is its expression, at several numbers; a definition is the very text."""
    lines = ["network table", "  width n", "  input y : []", "  input z : []", "  let a = 3/10"]
    for calls, text, _ in FUNCTIONS:
        *short, call = re.findall(r"`([^`]+)`", calls)
        if not text.startswith("`"):
            continue
        is_, default = re.match(r"`([^`]+)`", text)[1], re.search(r", a = (\S+)", text)
        name = re.match(r"\w+", call)[0]
        if name in prelude():
            assert parse(f"network one\n  let {call} = {is_}\n").statements == (prelude()[name],)
            continue
        lines.append(f"  output f_{name} = {call} - ({is_})")
        assert bool(short) == bool(default)
        lines += [f"  output g_{name} = {s} - {call.replace(', a', f', {default[1]}')}" for s in short]
    assert len(lines) >= 18
    run = tp.parse("\n".join(lines) + "\n").simulate({"y": [0.4, 0.4, -2.0], "z": [1.3, -0.7, 0.2]}, width=1)
    for name, values in run.outputs.items():
        assert values == pytest.approx([0.0] * 3, abs=1e-12), name


SHORT = {
    calls: said for calls, text, said in FUNCTIONS if said.startswith(("closed", "—")) and not re.search("max|min|avg", text)
}


@pytest.mark.parametrize("calls", SHORT)
def test_closed_forms_are_those_that_there_are(calls: str) -> None:
    arguments = {"k, z": "3, h", "z, a": "h, 1/3", "y, z": "1/2, h", "z": "h"}
    name, inside = re.match(r"(\w+)\((.*)\)", re.findall(r"`([^`]+)`", calls)[-1]).groups()
    limit = tp.parse(f"{IN_TURN}  h = U @ x\n  output f = v @ {name}({arguments[inside]})\n").nngp().closed()
    assert any(e.rhs.has(Expectation) for e in limit.equations) == (SHORT[calls].strip() == "—")


def test_command_prints_it(capsys) -> None:
    assert main(["language"]) == 0
    assert capsys.readouterr().out.strip() == language_text().strip() == TEXT.strip()
    assert (
        main(
            [
                "language",
                "index",
            ]
        )
        == 1
    )
    assert "its parts are: Lines; Sizes and constants; Indices" in capsys.readouterr().err
    assert main(["language", "INDICES"]) == 0
    assert capsys.readouterr().out.startswith("## Indices\n")
