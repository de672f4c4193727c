"""Notebooks from their sources: ``python notebooks/build.py`` runs every ``NN_name.py``, or those named, and stores ``.ipynb``.

A source is Python in percent format: ``# %%`` begins a code cell, ``# %% [markdown]`` a text cell (comment lines),
``# %% [tp] NAME`` a spec cell (comment lines, run by the ``%%tp`` magic). ``# %% volatile`` begins a code cell whose
output may change from run to run. A line ``# %magic`` of a code cell is a magic.

``build.py --check`` runs the sources again and compares with what is stored; the tests do the same.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
MARK = re.compile(r"# %%(?:$| (?:\[(?P<kind>markdown|tp)\])? ?(?P<rest>.*)$)")
NUMBER = re.compile(r"[-+]?\d+\.\d*(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+", re.IGNORECASE)
STYLE = re.compile(r'<span style="[^"]*">')
FIGURES = ("image/png", "image/jpeg", "application/pdf")


def sources() -> list[Path]:
    """The notebooks' sources, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def read(path: Path) -> Any:
    """The notebook of a source, without outputs."""
    cells: list[Any] = []
    for number, (kind, rest, lines) in enumerate(_chunks(path.read_text("utf-8"))):
        text = "\n".join(lines).strip("\n")
        if kind == "markdown":
            cell = nbformat.v4.new_markdown_cell(_uncomment(text))
        elif kind == "tp":
            cell = nbformat.v4.new_code_cell(f"%%tp {rest}".rstrip() + "\n" + _uncomment(text))
        else:
            cell = nbformat.v4.new_code_cell(re.sub(r"^# (?=%[a-z])", "", text, flags=re.MULTILINE))
            if rest == "volatile":
                cell.metadata["tags"] = ["volatile"]
        cell["id"] = f"cell-{number:02d}"
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _chunks(text: str) -> Iterator[tuple[str | None, str, list[str]]]:
    """(kind, rest of the mark, lines) of every cell; what stands before the first mark is no cell."""
    chunk: tuple[str | None, str, list[str]] | None = None
    for line in text.splitlines():
        if mark := MARK.match(line):
            if chunk:
                yield chunk
            chunk = (mark["kind"], (mark["rest"] or "").strip(), [])
        elif chunk:
            chunk[2].append(line)
    if chunk:
        yield chunk


def _uncomment(text: str) -> str:
    return "\n".join(re.sub(r"^# ?", "", line) for line in text.splitlines())


def execute(notebook: Any) -> Any:
    """Run it in a fresh kernel, in this folder; only what belongs to the reader stays."""
    here = {"metadata": {"path": HERE}}
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))  # this checkout's tp
    client = NotebookClient(notebook, timeout=300, record_timing=False, coalesce_streams=True, resources=here)
    client.execute(env={**os.environ, "PYTHONPATH": path})
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]  # progress bars
    return notebook


def differences(stored: Any, fresh: Any) -> list[str]:
    """What differs between two runs: cells, execution counts, and outputs other than figures and volatile ones."""
    if [(c.cell_type, c.source) for c in stored.cells] != [(c.cell_type, c.source) for c in fresh.cells]:
        return ["the cells are not those of the source"]
    found = []
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        if old.cell_type != "code":
            continue
        if old.execution_count != new.execution_count:
            found.append(f"{old.id}: execution count {old.execution_count} is now {new.execution_count}")
        if "volatile" in old.metadata.get("tags", ()):
            continue
        before, after = list(_texts(old)), list(_texts(new))
        if len(before) != len(after) or not all(map(_same, before, after)):
            found.append(f"{old.id}: output differs\n--- stored\n{before}\n--- now\n{after}")
    return found


def _texts(cell: Any) -> Iterator[str]:
    """Every output of a cell as text: kind and content; of figures the kind alone."""
    for out in cell.outputs:
        if out.output_type == "stream":
            yield f"{out.name}: {out.text}"
        elif out.output_type == "error":
            yield f"error: {out.ename}: {out.evalue}"
        else:
            for kind, content in sorted(out.data.items()):
                yield kind if kind in FIGURES else f"{kind}: {content}"


def _same(before: str, after: str) -> bool:
    """Equal up to rounding of numbers, to addresses in memory, and to what styles Pygments gives to words."""
    before, after = (re.sub(r"0x[0-9a-f]{6,}", "0x", STYLE.sub("<span>", text)) for text in (before, after))
    if NUMBER.sub("#", before) != NUMBER.sub("#", after):
        return False
    pairs = zip(NUMBER.findall(before), NUMBER.findall(after), strict=True)
    return all(math.isclose(float(x), float(y), rel_tol=1e-5, abs_tol=1e-8) for x, y in pairs)


def main() -> int:
    """Build all notebooks, or those named, or with ``--check`` compare them."""
    wrong, named = 0, {Path(name).stem for name in sys.argv[1:] if not name.startswith("-")}
    for path in sources():
        if named and path.stem not in named:
            continue
        fresh, target = execute(read(path)), path.with_suffix(".ipynb")
        if "--check" in sys.argv[1:]:
            for difference in differences(nbformat.read(target, as_version=4), fresh):
                print(f"{target.name}: {difference}", file=sys.stderr)
                wrong += 1
        else:
            nbformat.write(fresh, target)
            print(f"wrote {target.name}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
