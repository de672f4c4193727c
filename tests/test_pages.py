"""What the README and the architecture page show is what the engine prints."""

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import tp
from tp.cli import main

ROOT = Path(__file__).parents[1]
README, ARCHITECTURE = ROOT / "README.md", ROOT / "docs" / "architecture.md"
PAGES = (README, ARCHITECTURE, ROOT / "docs" / "language.md", ROOT / "CONTRIBUTING.md")


def block(page: Path, language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def shown(golden):
    """``shown(page, command, output)``: the page has ``output`` in the ``text`` block below ``command``."""

    def compare(page: Path, command: str, output: str) -> None:
        text = page.read_text("utf-8")
        before, rest = text.split(f"`{command}`", 1)
        lead, indent, _, after = re.split(r"^( *)```text\n(.*?)^ *```$", rest, maxsplit=1, flags=re.MULTILINE | re.DOTALL)
        body = "".join(f"{indent}{line}".rstrip() + "\n" for line in output.rstrip().splitlines())
        golden(page, f"{before}`{command}`{lead}{indent}```text\n{body}{indent}```{after}")

    return compare


def test_derived_output(shown, tmp_path, capsys):
    (tmp_path / "deep.tp").write_text(block(README, "tp"), encoding="utf-8")
    assert main(["derive", str(tmp_path / "deep.tp"), "--limit", "ntk", "--closed"]) == 0
    shown(README, "tp derive deep.tp --limit ntk --closed", capsys.readouterr().out)


def test_verify_output(shown, capsys):
    assert main(["verify", "mlp", "--widths", "64,256,1024", "--seeds", "40"]) == 0
    shown(README, "tp verify mlp --widths 64,256,1024 --seeds 40", capsys.readouterr().out)


def test_rules_output(shown, capsys):
    assert main(["mup", "mlp", "--optimizer", "adam"]) == 0
    shown(README, "tp mup mlp --optimizer adam", capsys.readouterr().out)


@pytest.mark.parametrize("command", ["tp show rnn --only program", "tp derive rnn --limit nngp"])
def test_architecture_output(shown, capsys, command):
    assert main(command.split()[1:]) == 0
    shown(ARCHITECTURE, command, capsys.readouterr().out)


def test_architecture_follows_the_shipped_spec():
    assert tp.parse(block(ARCHITECTURE, "tp")).network == tp.zoo("rnn").network


def test_python_example_runs(tmp_path, monkeypatch):
    (tmp_path / "deep.tp").write_text(block(README, "tp"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    X = tp.digits()[0][:3].reshape(3, 64)
    names = {"X": X}
    exec(block(README, "python").replace("4096", "512"), names)
    assert names["K"].shape == names["Theta"].shape == (3, 3)


def example(word: str) -> str:
    """The Python block of the README that has a word."""
    (found,) = (
        b for b in re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL) if word in b
    )
    return found


def test_training_example_runs():
    code = example("run.limit()")
    names = {"X": [[1.0, 0.5], [-0.6, 0.8]], "y": [1.0, -1.0], "tp": tp}
    code = code.replace("1024, seeds=8", "128, seeds=2").replace("steps=5", "steps=1").replace("d=64", "d=2")
    exec(code.replace("run.limit()", "limit = run.limit()", 1), names)
    assert names["limit"].outputs.shape == (2, 2, 1)


def test_kernels_on_disk_example_runs(tmp_path, monkeypatch):
    code = example("k.gram(")
    monkeypatch.chdir(tmp_path)
    X = tp.digits()[0][:9].reshape(9, 64)
    names = {"X": X[:6], "y": X[:6, 20] / 16, "X_test": X[6:], "net": tp.zoo("mlp", d=64)}
    exec(code, names)
    assert names["gram"]["ntk"].shape == (6, 6) and names["mean"].shape == names["variance"].shape == (3,)


def test_torch_example_runs(monkeypatch):
    """With what it asks of torch: parameters that have names and can be drawn, and an optimizer that takes groups."""

    class Parameter:
        requires_grad = True

        def normal_(self, mean, std, generator=None):
            self.std = std

    parameters = {f"{name}.weight": Parameter() for name in ("embed", "blocks.0", "blocks.1", "head")}
    parameters |= {f"{name}.bias": Parameter() for name in ("embed", "blocks.0", "blocks.1")}
    model = SimpleNamespace(named_parameters=lambda: parameters.items())
    torch = ModuleType("torch")
    torch.no_grad, torch.optim = nullcontext, SimpleNamespace(Adam=lambda groups: {g["name"]: g for g in groups})
    monkeypatch.setitem(sys.modules, "torch", torch)
    names = {"tp": tp, "torch": torch, "model": model}
    exec(example("param_groups"), names)
    assert [len(g["params"]) for g in names["groups"]] == [1, 2, 3, 1]
    assert {k: g["lr"] for k, g in names["optimizer"].items()} == {"W[1]": 3e-3, "W[l]": 3e-3 / 8, "b[l]": 3e-3, "v": 3e-3 / 8}
    assert parameters["blocks.1.weight"].std == pytest.approx(0.1 / 8**0.5) and parameters["head.weight"].std == 0.1 / 8
    assert not hasattr(parameters["embed.bias"], "std")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^\s,)]+)\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for name in re.findall(r"`((?:tp|grammar|notebooks|docs|\.ci)/[\w./]*)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), name
