"""What the README shows is what the engine prints."""

import re
from pathlib import Path

import pytest

import tp
from tp.cli import main

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)) for indent, body in found]


@pytest.fixture
def shown(golden):
    """``shown(command, output)``: the README has ``output`` in the ``text`` block below ``command``."""

    def compare(command: str, output: str) -> None:
        text = README.read_text("utf-8")
        before, rest = text.split(f"`{command}`", 1)
        lead, indent, _, after = re.split(r"^( *)```text\n(.*?)^ *```$", rest, maxsplit=1, flags=re.MULTILINE | re.DOTALL)
        body = "".join(f"{indent}{line}".rstrip() + "\n" for line in output.rstrip().splitlines())
        golden(README, f"{before}`{command}`{lead}{indent}```text\n{body}{indent}```{after}")

    return compare


def test_derived_output(shown, tmp_path, capsys):
    (tmp_path / "deep.tp").write_text(blocks("tp")[0], encoding="utf-8")
    assert main(["derive", str(tmp_path / "deep.tp"), "--limit", "ntk", "--closed"]) == 0
    shown("tp derive deep.tp --limit ntk --closed", capsys.readouterr().out)


def test_verify_output(shown, capsys):
    assert main(["verify", "mlp", "--widths", "64,256,1024", "--seeds", "40"]) == 0
    shown("tp verify mlp --widths 64,256,1024 --seeds 40", capsys.readouterr().out)


def test_python_example_runs(tmp_path, monkeypatch):
    (tmp_path / "deep.tp").write_text(blocks("tp")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    X = tp.digits()[0][:3].reshape(3, 64)
    names = {"X": X}
    exec(blocks("python")[0].replace("4096", "512"), names)
    assert names["K"].shape == names["Theta"].shape == (3, 3)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^\s,)]+)\)", README.read_text("utf-8")):
        assert target.startswith("https://") or (README.parent / target).exists(), target
