"""A program as a picture: its families in a column, loops as frames, arrows for what is read and how.

The column is the program's own order, so an arrow to the next box points straight down; longer ones run in lanes
on the right, and what a loop reads from its last turn runs up on the left. Plain SVG, made here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

import sympy as sp

from tp.faces.definitions import Coordinates, Definition, Entries, Inner, Times, definitions
from tp.faces.notation import Notation
from tp.faces.order import index_order
from tp.faces.plain import SUPERSCRIPT, TextPrinter, ranges
from tp.program.ir import Instruction, Loop, Moment, Outer, Program, Range, Ref, Simple

CHAR, LINE, PAD, GAP, LANE, PORT = 6.65, 16.0, 10.0, 34.0, 18.0, 16.0
FORMULA = 58  # characters of a formula on one line
FILLS = ("#dbe9f6", "#e3f1dc", "#fdebd3", "#ece2f3", "#fbdfe3", "#d9f0ee")
INK, SOFT, SCALAR, INPUT = "#1f2a36", "#6b7785", "#f4f5f6", "#fff6cc"
STROKES = {"MatMul": "#1f5fa8", "Nonlin": "#55606c", "Moment": "#b0431e"}


@dataclass
class Box:
    """One family member: what it is called, what it is, where it stands."""

    names: str
    title: str
    note: str
    lines: list[str]
    fill: str
    loops: tuple[Range, ...] = ()
    definition: Definition | None = None
    ports: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    taken: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    y: float = 0.0

    @property
    def height(self) -> float:
        return max(2 * PAD + LINE * (1 + len(self.lines)), PORT * (max(self.ports.values()) + 1))

    @property
    def width(self) -> float:
        head = len(self.title) * 7.6 + (len(self.note) + 3) * 5.6
        return max(head, max((len(line) * CHAR for line in self.lines), default=0.0)) + 2 * PAD

    def port(self, side: str) -> float:
        """The next free height at a side."""
        self.taken[side] += 1
        return self.y + self.height * self.taken[side] / (self.ports[side] + 1)


@dataclass(frozen=True, slots=True)
class Arrow:
    """``target`` reads ``source``; ``back`` in the next turn of a loop."""

    source: int
    target: int
    kind: str
    label: str
    back: bool = False


def graph(program: Program) -> str:
    """The dataflow of a program as SVG."""
    boxes = list(_boxes(program))
    arrows = _arrows(boxes)
    return _Drawing(program, boxes, arrows).svg()


# ---------------------------------------------------------------- what is drawn


def _boxes(program: Program) -> Iterator[Box]:
    """Inputs, then the program's variables in its order, temporaries folded in."""
    printer = DefinitionText(Notation())
    for data in program.data:
        axes = data.ref.index[len(data.ref.index) - data.finite_axes :]
        ref = Ref(data.ref.name, *data.ref.index[: len(data.ref.index) - data.finite_axes])
        sizes = [printer.doprint(r.hi) for e in axes for r in data.domain if r.index == e]
        where = ranges(tuple(r for r in data.domain if r.index not in axes), printer)
        size = "×".join(sizes)
        space = "ℝ" + (size.translate(SUPERSCRIPT) if size.isdigit() else f"^({size})" if size else "")
        yield Box(ref.name, printer.doprint(ref), where, [f"input in {space}"], INPUT)
    shown = {d.lhs: d for d in definitions(program)}
    outputs = {ref.name for ref in program.outputs}
    fills = {space.name: FILLS[k % len(FILLS)] for k, space in enumerate(program.spaces)}
    for ins, loops in _walk(program.body):
        if ins.out not in shown:
            continue
        vectors = None if isinstance(ins, Moment) else ins.space
        d = shown[ins.out]
        first = DefinitionText(Notation(), None, index_order(d.lhs))
        formula = textwrap.wrap("= " + first.doprint(d.rhs), FORMULA, subsequent_indent="  ", break_long_words=False)
        where = ranges(ins.domain, printer)
        note = ", ".join(filter(None, ("output" if ins.out.name in outputs else "", where)))
        yield Box(ins.out.name, first.doprint(ins.out), note, formula, fills[vectors.name] if vectors else SCALAR, loops, d)


def _walk(body: Iterable[Instruction], loops: tuple[Range, ...] = ()) -> Iterator[tuple[Simple, tuple[Range, ...]]]:
    for ins in body:
        if isinstance(ins, Loop):
            r = Range(ins.range.index, ins.range.hi, ins.range.lo) if ins.reverse else ins.range
            yield from _walk(ins.body, (*loops, r))
        else:
            yield ins, loops


class DefinitionText(TextPrinter):
    """Definitions in one line: ``W[l] relu(h[l-1]) + b[l]``."""

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        found = super().terms(expr)
        if any(t.has(Times) for t in found):
            return sorted(found, key=lambda t: isinstance(t, Ref))
        return sorted(found, key=lambda t: t.could_extract_minus_sign())

    def _print_Times(self, expr: Times) -> str:
        W, x, transposed = expr.args
        inner = self._print(x)
        return self._print(W) + ("ᵀ " if transposed else " ") + (f"({inner})" if x.is_Add or x.is_Mul else inner)

    def _print_Inner(self, expr: Inner) -> str:
        return f"⟨{self._print(expr.args[0])}, {self._print(expr.args[1])}⟩"

    def _print_Entries(self, expr: Entries) -> str:
        return f"[{self._print(expr.args[0])}]"

    def _print_Outer(self, expr: Outer) -> str:
        return "⊗".join(map(self._print, expr.args))

    def _print_Coordinates(self, expr: Coordinates) -> str:
        return f"Σ_α ({self._print(expr.args[0])})"


def _arrows(boxes: Sequence[Box]) -> list[Arrow]:
    """Who reads whom, and how."""
    found: dict[tuple[int, int, bool], Arrow] = {}
    names = {box.names for box in boxes}
    for target, box in enumerate(boxes):
        if box.definition is None:
            continue
        for ref, kind, through in _reads(box.definition.rhs, "Nonlin", ()):
            if ref.name not in names:
                continue
            for source, back in _sources(boxes, target, ref):
                label = TextPrinter(Notation()).doprint(ref) if back else ", ".join(through)
                key = (source, target, back)
                old = found.get(key)
                if old and old.label != label and not back:
                    label = ", ".join(dict.fromkeys(filter(None, [*old.label.split(", "), *label.split(", ")])))
                strongest = max(kind, old.kind if old else kind, key=("Nonlin", "MatMul", "Moment").index)
                found[key] = Arrow(source, target, strongest, label, back)
    return list(found.values())


def _reads(expr: sp.Basic, kind: str, through: tuple[str, ...]) -> Iterator[tuple[Ref, str, tuple[str, ...]]]:
    """Every variable of a formula, with the strongest instruction it passes and the matrices it meets."""
    if isinstance(expr, Ref):
        yield expr, kind, through
    elif isinstance(expr, Times):
        matrix = TextPrinter(Notation()).doprint(expr.args[0]) + ("ᵀ" if expr.args[2] else "")
        yield from _reads(expr.args[1], "Moment" if kind == "Moment" else "MatMul", (*through, matrix))
    else:
        inside = "Moment" if isinstance(expr, (Inner, Coordinates)) else kind
        for arg in expr.args:
            yield from _reads(arg, inside, through)


def _sources(boxes: Sequence[Box], target: int, ref: Ref) -> list[tuple[int, bool]]:
    """The boxes a reading may mean; True for the last turn of a loop they share."""
    here = boxes[target]
    candidates = [k for k, box in enumerate(boxes) if box.names == ref.name and _may_mean(box, ref)]
    before = [k for k in candidates if k < target]
    carried = [k for k in candidates if set(boxes[k].loops) & set(here.loops) and (k >= target or _shifted(boxes[k], ref))]
    if carried:
        base = [k for k in before if k not in carried]
        return [(k, True) for k in carried] + [(k, False) for k in base[-1:]]
    if ref.index and all(e.is_number for e in ref.index):
        exact = [k for k in before if boxes[k].definition and boxes[k].definition.lhs == ref]  # type: ignore[union-attr]
        before = exact or before
    return [(k, False) for k in (before[-1:] if _literal_choice(boxes, before) else before)]


def _literal_choice(boxes: Sequence[Box], before: list[int]) -> bool:
    """Several clauses of a family: the last one is meant, unless none of them is in a loop."""
    return any(boxes[k].loops for k in before)


def _may_mean(box: Box, ref: Ref) -> bool:
    if box.definition is None:
        return True
    own = box.definition.lhs
    if len(own.index) != len(ref.index):
        return False
    return not any(a.is_number and b.is_number and a != b for a, b in zip(own.index, ref.index, strict=True))


def _shifted(box: Box, ref: Ref) -> bool:
    """Is the loop's index read at another value than the one being computed?"""
    own = box.definition.lhs if box.definition else ref
    indices = {r.index for r in box.loops}
    return any(a != b for a, b in zip(own.index, ref.index, strict=True) if a in indices)


# ---------------------------------------------------------------- how it is drawn


class _Drawing:
    """Positions of boxes, lanes and frames, and the SVG they make."""

    def __init__(self, program: Program, boxes: list[Box], arrows: list[Arrow]) -> None:
        self.program, self.boxes, self.arrows = program, boxes, arrows
        self.straight = [a for a in arrows if not a.back and a.target == a.source + 1]
        self.right = [a for a in arrows if not a.back and a.target != a.source + 1]
        self.left = [a for a in arrows if a.back]
        self.depth = max((len(b.loops) for b in boxes), default=0)
        self.body = max((b.width for b in boxes), default=120.0)
        self.lanes = self._lanes()
        self._place()

    def _lanes(self) -> dict[int, int]:
        """A lane per source, the shortest run innermost; sources whose runs do not overlap share one."""
        far = {a.source: max(b.target for b in self.right if b.source == a.source) for a in self.right}
        lanes: dict[int, int] = {}
        for source in sorted(far, key=lambda s: (far[s] - s, s)):
            taken = {lanes[o] for o in lanes if not (far[o] <= source or far[source] <= o)}
            lanes[source] = next(k for k in range(len(far)) if k not in taken)
        return lanes

    def _place(self) -> None:
        for k, box in enumerate(self.boxes):
            for side, arrows in (("left", self.left), ("right", self.right)):
                box.ports[side] = len([a for a in arrows if a.target == k]) + any(a.source == k for a in arrows)
        y = 18.0
        before: tuple[Range, ...] = ()
        for box in self.boxes:
            common = sum(a == b for a, b in zip(before, box.loops, strict=False))
            y += 14.0 * (len(before) - common) + 26.0 * (len(box.loops) - common)
            box.y = y
            y += box.height + GAP
            before = box.loops
        self.bottom = y + 14.0 * len(before) - GAP + 10.0
        inset = 16.0 * self.depth
        back = max(len({a.source for a in self.left}), 0)
        self.x = 20.0 + inset + (12.0 + LANE * back + self._label_width(self.left) if back else 0.0)
        lanes = max(self.lanes.values(), default=-1) + 1
        self.lane_x = self.x + self.body + inset + 16.0 + self._label_width(self.right)
        self.total = self.lane_x + LANE * lanes + 16.0

    @staticmethod
    def _label_width(arrows: list[Arrow]) -> float:
        return max((len(a.label) * 6.0 + 14.0 for a in arrows), default=0.0)

    # -- pieces

    def svg(self) -> str:
        legend = list(self._legend())
        width = max(self.total, 20.0 + self.legend_width)
        size = f'width="{width:.0f}" height="{self.bottom + 34:.0f}" viewBox="0 0 {width:.0f} {self.bottom + 34:.0f}"'
        name = escape(self.program.name)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="DejaVu Sans, Verdana, sans-serif">',
            f"<title>The tensor program {name}</title>",
            *self._markers(),
            f'<rect width="{width:.0f}" height="{self.bottom + 34:.0f}" fill="#ffffff"/>',
            *self._frames(),
            *(part for k in range(len(self.boxes)) for part in self._box(k)),
            *(part for arrow in self.straight for part in self._down(arrow)),
            *self._runs(),
            *self._returns(),
            *legend,
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    @staticmethod
    def _markers() -> Iterator[str]:
        yield "<defs>"
        for kind, color in STROKES.items():
            yield (
                f'<marker id="tp-{kind}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
                f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{color}"/></marker>'
            )
        yield "</defs>"

    def _frames(self) -> Iterator[str]:
        """A frame around the boxes of each loop, outer ones first."""
        for depth in range(self.depth):
            start = None
            for k in range(len(self.boxes) + 1):
                loop = self.boxes[k].loops[: depth + 1] if k < len(self.boxes) else ()
                if start is not None and loop != self.boxes[start].loops[: depth + 1]:
                    yield from self._frame(start, k - 1, depth)
                    start = None
                if start is None and len(loop) > depth:
                    start = k

    def _frame(self, first: int, last: int, depth: int) -> Iterator[str]:
        margin = 16.0 * (self.depth - depth)
        inner = max(len(b.loops) for b in self.boxes[first : last + 1]) - depth
        top = self.boxes[first].y - 26.0 * inner + 4
        bottom = self.boxes[last].y + self.boxes[last].height + 12.0 * inner
        x, width = self.x - margin, self.body + 2 * margin
        yield (
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}" rx="8" fill="#fafbfc" '
            f'stroke="{SOFT}" stroke-dasharray="5 4"/>'
        )
        label = f"for {ranges((self.boxes[first].loops[depth],), TextPrinter(Notation()))}"
        yield _text(x + 8, top + 14, label, 11, SOFT)

    def _box(self, k: int) -> Iterator[str]:
        box = self.boxes[k]
        rx = 12 if box.fill in (SCALAR, INPUT) else 4
        yield (
            f'<rect x="{self.x:.1f}" y="{box.y:.1f}" width="{self.body:.1f}" height="{box.height:.1f}" rx="{rx}" '
            f'fill="{box.fill}" stroke="{INK}" stroke-width="1"/>'
        )
        top = box.y + (box.height - LINE * (1 + len(box.lines))) / 2
        yield _text(self.x + PAD, top + 12, box.title, 13, INK, 'font-weight="bold"')
        if box.note:
            yield _text(self.x + self.body - PAD, top + 12, box.note, 10, SOFT, 'text-anchor="end"')
        for row, line in enumerate(box.lines, 1):
            yield _text(self.x + PAD, top + 12 + LINE * row, line, 11, INK, 'font-family="DejaVu Sans Mono, monospace"')

    def _down(self, arrow: Arrow) -> Iterator[str]:
        above, below = self.boxes[arrow.source], self.boxes[arrow.target]
        x = self.x + self.body / 2
        y1, y2 = above.y + above.height, below.y
        yield _path(f"M{x:.1f},{y1:.1f} V{y2 - 1:.1f}", arrow.kind)
        if arrow.label:
            yield _text(x + 7, y2 - 10, arrow.label, 11, STROKES[arrow.kind])

    def _runs(self) -> Iterator[str]:
        """Arrows that skip boxes: one trunk per source, a branch per reader."""
        for source, lane in sorted(self.lanes.items(), key=lambda item: -item[1]):
            x = self.lane_x + LANE * lane
            y1 = self.boxes[source].port("right")
            right = self.x + self.body
            mine = sorted((a for a in self.right if a.source == source), key=lambda a: a.target)
            for arrow in mine:
                y2 = self.boxes[arrow.target].port("right")
                yield _path(f"M{right:.1f},{y1:.1f} H{x - 6:.1f} q6,0 6,6 V{y2 - 6:.1f} q0,6 -6,6 H{right + 1:.1f}", arrow.kind)
                if arrow.label:
                    yield _text(right + 12 + 16.0 * self.depth, y2 - 4, arrow.label, 11, STROKES[arrow.kind])

    def _returns(self) -> Iterator[str]:
        """What a loop reads from its last turn."""
        span = {a.source: max(abs(b.target - b.source) for b in self.left if b.source == a.source) for a in self.left}
        for lane, source in enumerate(sorted(span, key=lambda s: (span[s], s))):
            x = self.x - 16.0 * self.depth - self._label_width(self.left) - LANE * lane
            y1 = self.boxes[source].port("left")
            for arrow in (a for a in self.left if a.source == source):
                y2 = self.boxes[arrow.target].port("left")
                turn = 6.0 if y2 > y1 else -6.0
                yield _path(
                    f"M{self.x:.1f},{y1:.1f} H{x + 6:.1f} q-6,0 -6,{turn} V{y2 - turn:.1f} q0,{turn} 6,{turn} H{self.x - 1:.1f}",
                    arrow.kind,
                )
                yield _text(self.x - 12 - 16.0 * self.depth, y2 - 4, arrow.label, 11, STROKES[arrow.kind], 'text-anchor="end"')

    def _legend(self) -> Iterator[str]:
        """Colours of the spaces, kinds of arrows."""
        x, y = 20.0, self.bottom + 16.0
        used = {a.kind for a in self.arrows}
        for kind in (kind for kind in STROKES if kind in used):
            yield _path(f"M{x:.1f},{y:.1f} H{x + 24:.1f}", kind)
            yield _text(x + 30, y + 4, kind, 10, SOFT)
            x += 30 + 6.2 * len(kind) + 16
        fills = {s.name: FILLS[k % len(FILLS)] for k, s in enumerate(self.program.spaces)}
        for name, fill in [(f"vector of width {n}", f) for n, f in fills.items()] + [("scalar", SCALAR), ("input", INPUT)]:
            if any(b.fill == fill for b in self.boxes):
                yield f'<rect x="{x:.1f}" y="{y - 6:.1f}" width="14" height="12" rx="3" fill="{fill}" stroke="{INK}"/>'
                yield _text(x + 20, y + 4, name, 10, SOFT)
                x += 20 + 6.2 * len(name) + 16
        self.legend_width = x


def _path(d: str, kind: str) -> str:
    return f'<path d="{d}" fill="none" stroke="{STROKES[kind]}" {_WIDTHS[kind]} marker-end="url(#tp-{kind})"/>'


_WIDTHS = {"MatMul": 'stroke-width="2.2"', "Nonlin": 'stroke-width="1.3"', "Moment": 'stroke-width="1.6" stroke-dasharray="6 3"'}


def _text(x: float, y: float, text: str, size: int, color: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" xml:space="preserve" {more}>{escape(text)}</text>'
