"""The wheel holds what a user needs, and nothing else; the sources what their tests read."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("tensor_programs-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_sources_hold_what_their_tests_read():
    held = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/tp", "/grammar", "/tests", "/benchmarks", "/docs", "/notebooks", "/README.md", "/CHANGELOG.md"} <= set(held)
    assert all((ROOT / name[1:]).exists() for name in held)


def test_wheel_holds_grammar_zoo_and_data(wheel):
    names = set(wheel.namelist())
    zoo = {f"tp/zoo/{path.name}" for path in (ROOT / "tp/zoo").glob("*.tp")}
    assert len(zoo) >= 8
    assert (
        zoo | {"tp/grammar/spec.lark", "tp/docs/language.md", "tp/data/digits.npz", "tp/data/digits.LICENSE", "tp/py.typed"}
        <= names
    )


def test_wheel_holds_every_module(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tp").rglob("*.py")}
    assert modules <= set(wheel.namelist())


def test_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"tp", "tensor_programs"}


def test_wheel_declares_command_and_licences(wheel):
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "tp = tp.cli:command" in wheel.read(f"{folder}/entry_points.txt").decode()
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "License-Expression: MIT AND CC-BY-4.0" in metadata
    assert {f"{folder}/licenses/LICENSE", f"{folder}/licenses/tp/data/digits.LICENSE"} <= set(wheel.namelist())


def test_readme_commands_are_what_ci_runs():
    """``.ci/run`` takes its two commands out of the README; they are the promised ones."""
    commands = (ROOT / "README.md").read_text("utf-8").split("```sh\n")[1].split("```")[0].splitlines()
    assert commands == [
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/tp demo',
        ".venv/bin/pytest -q",
    ]
