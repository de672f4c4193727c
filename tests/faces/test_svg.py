"""Programs as pictures."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import sympy as sp
from program import built

from tp.faces.svg import graph
from tp.program.ir import Nonlin, Program, Ref, Space

NS = "{http://www.w3.org/2000/svg}"


def drawn(name: str) -> ElementTree.Element:
    return ElementTree.fromstring(graph(built.ALL[name]()))


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{NS}text")]


@pytest.mark.parametrize("name", built.ALL)
def test_nothing_overlaps_or_leaves_the_picture(name):
    picture = drawn(name)
    width, height = float(picture.get("width")), float(picture.get("height"))
    sides = ("x", "y", "width", "height")
    boxes = [tuple(float(r.get(k)) for k in sides) for r in picture.iter(f"{NS}rect") if r.get("stroke-width")]
    tops = sorted((y, y + h) for _, y, _, h in boxes)
    assert all(end < start for (_, end), (start, _) in pairwise(tops))
    assert all(x >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for path in picture.iter(f"{NS}path"):
        for x in re.findall(r"H([\d.-]+)", path.get("d")):
            assert 0 <= float(x) <= width


def test_loops_are_frames_and_recursions_run_back():
    picture = drawn("mlp")
    assert "for l = 2…L" in texts(picture)
    assert "h[l-1]" in texts(picture)


def test_matrices_stand_at_their_arrows():
    assert {"U", "W[l]"} <= set(texts(drawn("mlp")))
    assert {"W", "Wᵀ"} <= set(texts(drawn("hopfield")))


def test_a_reverse_loop_counts_down():
    assert "for l = L…2" in texts(drawn("mlp_backward"))


def test_names_cannot_break_the_markup():
    n = Space("n", sp.Symbol("n"))
    program = Program("<b>&", (n,), (), (), (Nonlin(Ref("a<script>"), sp.S.One, n),), (Ref("a<script>"),))
    assert "a<script>" in texts(ElementTree.fromstring(graph(program)))
