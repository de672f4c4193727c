r"""A limit as LaTeX, the way a paper prints it; only amsmath, amssymb and booktabs are needed.

``latex(limit)`` is a fragment to ``\input``: the network, the notation, the recursions, and where each equation
comes from. ``document(limit)`` is a whole article; ``formulas(limit)`` the displays alone, one per equation.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import sympy as sp

from tp.faces.decimals import DIGITS, rounded
from tp.faces.definitions import matrices
from tp.faces.display import align, ranges, rows
from tp.faces.families import of_equations
from tp.faces.letters import explained, signs
from tp.faces.network_tex import DefinitionPrinter, network
from tp.faces.notation import Notation, ascii_name, notation
from tp.faces.order import index_order
from tp.faces.references import Work, work
from tp.faces.tex import LimitPrinter, decorated, escape
from tp.limit.equations import Entry, Equation, Limit, Value
from tp.program.ir import Domain, Ref

TITLES = {"K": "Gaussian process kernel (NNGP)", "Theta": "Tangent kernel (NTK)"}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the paragraphs and displays below it."""

    title: str
    parts: tuple[str, ...]


def latex(limit: Limit) -> str:
    """The derivation as a fragment: paragraphs and displays, for any document class."""
    blocks = []
    for section in sections(limit):
        first, *rest = section.parts
        run_in = f"\\paragraph{{{section.title}.}}"
        blocks += [f"{run_in} {first}" if not first.startswith("\\begin") else f"{run_in}\n{first}", *rest]
    return "\n\n".join(blocks) + "\n"


def document(limit: Limit) -> str:
    """A compilable article with a list of sources and the spec it was derived from."""
    name = escape(limit.program.name)
    lines = [
        r"\documentclass[10pt]{article}",
        r"\usepackage{amsmath,amssymb,booktabs}",
        r"\addtolength{\textheight}{3cm}\addtolength{\topmargin}{-1.5cm}\allowdisplaybreaks\emergencystretch2em",
        r"\begin{document}",
        rf"\begin{{center}}\Large The infinite-width limit of \texttt{{{name}}}\end{{center}}",
    ]
    for section in sections(limit):
        lines += ["", rf"\section{{{section.title}}}", "\n\n".join(section.parts)]
    lines += [_spec(limit), r"\end{document}", ""]
    return "\n".join(line for line in lines if line is not None)


def formulas(limit: Limit) -> list[str]:
    """One display per equation."""
    limit = of_equations(limit)
    style = notation(limit)
    return [align([equation], style) for equation in limit.equations]


def sections(limit: Limit) -> Iterator[Section]:
    """The parts of the derivation, in the order they are read."""
    limit = of_equations(limit)
    style = notation(limit)
    numbers = {id(e): str(k) for k, e in enumerate(ordered(limit), 1)}
    if parts := tuple(network(limit.program, explained(limit), style)):
        yield Section("Network", parts)
    parts = tuple(conventions(limit, style))
    if lines := named_vectors(limit, style):
        text = "The derivation names these Gaussian vectors:\n\\begin{align*}\n"
        parts += (text + " \\\\\n".join(lines) + "\n\\end{align*}",)
    yield Section("Notation", (*parts, *introduced(limit, style)))
    for tangent, group in groupby(ordered(limit), key=_is_tangent):
        parts = (align(group, style, numbers), *_power(limit, "Theta" if tangent else "K"))
        yield Section(TITLES["Theta" if tangent else "K"], parts)
    yield Section("Derivation", tuple(_steps(limit, numbers)))


def introduced(limit: Limit, style: Notation) -> Iterator[str]:
    """What the names stand for that are the derivation's own."""
    told = [f"{_in_tex(f'`{name}`', style)} is {_in_tex(text, style)}" for name, text in limit.words]
    if told:
        yield "Names of the derivation: " + "; ".join(told) + "."


def _in_tex(text: str, style: Notation) -> str:
    """Words in which names stand between backticks."""
    return re.sub("`(.*?)`", lambda m: f"${decorated(style.parts(m[1]))}$", text).replace("Θ", r"$\Theta$")


def ordered(limit: Limit) -> list[Equation]:
    """The equations with the tangent kernel's last; each still uses earlier ones only."""
    return sorted(limit.equations, key=_is_tangent)


def _is_tangent(equation: Equation) -> bool:
    return isinstance(equation.lhs, Entry) and equation.lhs.kind_name == "Theta"


def _power(limit: Limit, kind: str) -> Iterator[str]:
    power = limit.power.get(kind, sp.S.Zero)
    if power != 0:
        sizes = [s.name for s in limit.program.spaces] or ["n"]
        exponent = LimitPrinter(Notation()).doprint(power)
        yield f"These are leading coefficients: the kernel itself is ${decorated(sizes[0])}^{{{exponent}}}$ times as large."


# ---------------------------------------------------------------- the notation in words


def conventions(limit: Limit, style: Notation) -> Iterator[str]:
    """What every sign used in the equations means; what is not used is not explained."""
    atoms = {a for e in limit.equations for side in (e.lhs, e.rhs) for a in side.atoms(Entry, Value)}
    found = signs(limit)
    x = decorated(style.sample)
    y = decorated(style.sample + "'")
    inputs = list(dict.fromkeys(d.ref.name for d in limit.program.data))
    of = (
        ""
        if style.sample in inputs or not inputs
        else f": samples of {', '.join(f'${decorated(style.parts(n))}$' for n in inputs)}"
    )
    said = [f"${x}$ and ${y}$ are two inputs, possibly the same{of}."]
    sites = (r for a in atoms if a.kind_name in ("K", "Theta", "S", "m") for r in a.args if isinstance(r, Ref))
    if any(style.split(r)[1] for r in sites):
        said.append(rf"${x}_{{p}}$ names the site $p$ of ${x}$: a position, a time, a node.")
    said += [text.format(x=x, y=y) for kind, text in _WORDS.items() if kind in found]
    said += [text for name, text in _FUNCTIONS.items() if name in found]
    paired = "Lambda" in found
    if paired:
        said.append("Two values of one Gaussian family have the covariance matrix")
    yield "Throughout, " + " ".join(said)
    if paired:
        k = [[f"K_h({a}, {b})" for b in (x, y)] for a in (x, y)]
        matrix = rf"{k[0][0]} & {k[0][1]} \\ {k[0][1]} & {k[1][1]}"
        yield "\\[\n" + rf"\Lambda_h({x}, {y}) = \begin{{pmatrix}} {matrix} \end{{pmatrix}}." + "\n\\]"


_WORDS = {
    "K": r"For a vector $h$ of the network, "
    r"$K_h({x},{y}) = \lim \frac1n\sum_\alpha h_\alpha({x})\,h_\alpha({y})$; "
    r"for an output $f$, $K_f$ is the covariance of $f({x})$ and $f({y})$ over initializations.",
    "K of two": r"For two vectors $g$ and $h$ it is "
    r"$K_{{g,\,h}}({x},{y}) = \lim \frac1n\sum_\alpha g_\alpha({x})\,h_\alpha({y})$.",
    "S": r"$S_h$ is the same average for vectors that are not Gaussian.",
    "Theta": r"$\Theta_h({x},{y})$ is the limit of $\sum_\theta \langle \partial_\theta h_\alpha({x}), "
    r"\partial_\theta h_\alpha({y})\rangle$ over all trained parameters $\theta$, weighted by their learning rates.",
    "Theta of two": r"$\Theta_{{g,\,h}}$ is the same sum for two vectors.",
    "Z": r"$Z^{{h}}({x})$ is the limit of the coordinates $h_\alpha({x})$; "
    r"several are jointly Gaussian, with the covariances $K$.",
    "theta": r"A ring marks the limit of a scalar.",
    "m": r"$m_h({x}) = \lim \frac1n\sum_\alpha h_\alpha({x})$.",
    "Gram": r"$\langle\cdot,\cdot\rangle$ is the inner product of inputs.",
}


_FUNCTIONS = {
    "normal_cdf": r"$\Phi$ is the standard normal distribution function.",
    "normal_pdf": r"$\varphi$ is the standard normal density.",
    "normal_cdf2": r"$\Phi_2(h, k; \rho)$ is the probability that two standard normal variables of correlation $\rho$ "
    "are at most $h$ and $k$.",
    "owens_t": r"$T$ is Owen's function.",
    "KroneckerDelta": r"$\delta_{st}$ is $1$ where $s = t$, and $0$ elsewhere.",
    "decimal": f"Decimals are rounded to {DIGITS} digits.",
    "hermite": r"$h_k$ is the $k$-th orthonormal Hermite polynomial.",
}


def named_vectors(limit: Limit, style: Notation, others: Iterable[tuple[Ref, sp.Expr, Domain]] = ()) -> list[str]:
    """Rows that define the Gaussian vectors the derivation names, below those of ``others``."""
    lines = []
    for ref, expr, domain in (*others, *limit.named):
        printer = DefinitionPrinter(style, limit.program, index_order(ref))
        where = ranges(domain, printer)
        lines.append(
            f"{printer.doprint(ref)} &:= {printer.doprint(rounded(matrices(expr)))}" + (rf"\qquad {where}" if where else "")
        )
    return lines


# ---------------------------------------------------------------- where each equation comes from


def _steps(limit: Limit, numbers: dict[int, str]) -> Iterator[str]:
    """A table of rules with the equations each gave, then the works they are published in."""
    works: list[Work] = []
    uses: dict[tuple[str, str], list[Equation]] = {}
    for equation in ordered(limit):
        uses.setdefault((equation.rule, equation.source), []).append(equation)
    lines: list[str] = []
    used = 0
    for (rule, source), equations in uses.items():
        words = [_prose(rule), _cite(source, works)]
        places = [_place(e, numbers) for e in equations]
        for start in range(0, len(places), PLACES):
            cells = [*(words if start == 0 else ["", ""]), ", ".join(places[start : start + PLACES])]
            height = max(len(cell) // letters + 1 for cell, letters in zip(cells, LETTERS, strict=True))
            if lines and (used + height > HEIGHT):
                yield _table(lines)
                lines, used = [], 0
            lines.append(" & ".join(rf"\raggedright {cell}" for cell in cells) + r" \tabularnewline[2pt]")
            used += height
    if lines:
        yield _table(lines)
    if works:
        items = [rf"\item[{{[{k}]}}] {_prose(w.reference)}" for k, w in enumerate(works, 1)]
        opening = r"\begin{list}{}{\setlength{\leftmargin}{2em}\setlength{\itemsep}{0pt}}\small\raggedright"
        yield "\n".join([opening, *items, r"\end{list}"])


def _place(equation: Equation, numbers: dict[int, str]) -> str:
    line = f":~{equation.span.line}" if equation.span.line else ""
    return f"({numbers[id(equation)]}){line}"


HEIGHT, PLACES, LETTERS = 44, 60, (18, 42, 24)
"""Lines of a table that fit on one page, places in one of its rows, and letters in a line of each of its columns."""


def _cite(source: str, works: list[Work]) -> str:
    """``[2], rule ZHat``; a work is numbered when it is first cited."""
    cited: list[str] = []
    for part in filter(None, (p.strip() for p in source.split(";"))):
        found, place = work(part)
        if found is not None and found not in works:
            works.append(found)
        told = [f"[{works.index(found) + 1}]"] if found is not None else []
        cited.append(", ".join(told + ([_prose(place)] if place else [])))
    return "; ".join(cited)


def _table(lines: list[str]) -> str:
    columns = r"@{}p{0.21\textwidth}p{0.42\textwidth}p{0.25\textwidth}@{}"
    head = r"rule & source & equation: line \\"
    return "\n".join(
        [
            r"\begin{center}\small",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", head, r"\midrule", *lines, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{center}",
        ]
    )


def _prose(text: str) -> str:
    """A rule's or source's words: escaped, with ``*emphasis*`` and ```code``` honoured."""
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", re.sub(r"\*([^*]+)\*", r"\\emph{\1}", _words(text)))


def _words(text: str) -> str:
    text = re.sub(r"\b([A-Z])\^(\w+)(['′]*)", lambda m: f"${m[1]}^{{{m[2]}{chr(39) * len(m[3])}}}$", text)
    for sign, spelled in _SIGNS.items():
        text = text.replace(sign, spelled)
    pieces = re.split(r"(\$[^$]*\$)", text)
    return "".join(p if p.startswith("$") and p.endswith("$") and len(p) > 1 else escape(p) for p in pieces)


_SIGNS = {"Ẑ": r"$\hat{Z}$", "Ż": r"$\dot{Z}$", "Θ": r"$\Theta$", "²": "$^2$", "ᵀ": r"$^\top$", "–": "--", "σ": r"$\sigma$",
          "φ": r"$\phi$", "∂": r"$\partial$", "⟨": r"$\langle$", "⟩": r"$\rangle$", "→": r"$\to$", "Σ": r"$\Sigma$"}  # fmt: skip


def _spec(limit: Limit) -> str:
    """The text the limit was derived from, as it was written."""
    source = next((e.span.source for e in limit.equations if e.span.line), None)
    if source is None or not source.text.strip():
        return ""
    lines = []
    for number, line in enumerate(source.text.rstrip().splitlines(), 1):
        pieces = textwrap.wrap(ascii_name(line.expandtabs(4)), 74, drop_whitespace=False, subsequent_indent="      ") or [""]
        lines += [f"{number if k == 0 else '':>3}  {piece}".rstrip() for k, piece in enumerate(pieces)]
    body = "\n".join(lines).replace(r"\end{verbatim}", r"\end {verbatim}")
    return f"\n\\section{{Specification}}\n{{\\footnotesize\n\\begin{{verbatim}}\n{body}\n\\end{{verbatim}}\n}}"


__all__ = ["Section", "document", "formulas", "latex", "rows", "sections"]
