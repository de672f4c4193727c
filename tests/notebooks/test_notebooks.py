"""Stored notebooks are what their sources give today."""

import copy
import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own warnings are not ours to mend

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("notebooks_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: path.stem)
def stored(request):
    return request.param, nbformat.read(request.param.with_suffix(".ipynb"), as_version=4)


def test_there_are_notebooks(build):
    assert SOURCES and build.sources() == SOURCES


def test_running_again_gives_the_stored_outputs(build, stored):
    path, notebook = stored
    assert build.differences(notebook, build.execute(build.read(path))) == []


def test_cells_were_run_in_order_without_errors(stored):
    _, notebook = stored
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(out.output_type == "error" for cell in code for out in cell.outputs)


def test_stored_outputs_name_no_folder_of_the_machine(stored):
    _, notebook = stored
    assert not re.search(r"/(home|root|tmp|Users|work)/", nbformat.writes(notebook))


def test_a_changed_output_is_noticed(build, stored):
    _, notebook = stored
    changed = copy.deepcopy(notebook)
    out = next(
        o
        for c in changed.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type != "stream" and "text/plain" in o.data
    )
    out.data["text/plain"] += " + 1"
    assert len(build.differences(notebook, changed)) == 1


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("error 0.1234567", "error 0.1234568", True),
        ("error 0.1234567", "error 0.1235567", False),
        ("<object at 0x7f00aa11>", "<object at 0x7f00bb22>", True),
        ("K^{1}", "K^{2}", False),
        ('<span style="color: #666">1</span>', '<span style="color: #666666">1</span>', True),
        ('<span style="color: #666">1</span>', '<span style="color: #666">2</span>', False),
    ],
)
def test_comparison(build, before, after, same):
    assert build._same(before, after) is same
