"""Object files of the compiler, as far as it is asked what their functions take from elsewhere.

*System V Application Binary Interface*, chapter 4: sections, symbols, relocations. Of 64 bits, least significant byte first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SYMBOLS, RELOCATIONS, IMPLICIT = 2, 4, 9
"""Kinds of sections; the last has relocations of another form."""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    start: int
    size: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: int
    """0 for one that is elsewhere."""
    start: int
    size: int


def taken(code: bytes, wrapper: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names that an object file takes from elsewhere: those that all but its function ``wrapper`` take, and the others.

    Raises ``ValueError`` for another file.
    """
    try:
        sections = _sections(code)
        (at,) = (k for k, s in enumerate(sections) if s.kind == SYMBOLS)
        symbols = list(_symbols(code, sections, at))
        (inside,) = (s for s in symbols if s.name == wrapper and s.section)
        elsewhere = {s.name for s in symbols if not s.section and s.name}
        found = set()
        for section in sections:
            if section.kind == IMPLICIT:
                raise ValueError("relocations of another form")
            if section.kind == RELOCATIONS:
                for place, which in _relocations(code, section):
                    own = section.info == inside.section and inside.start <= place < inside.start + inside.size
                    if not own and not symbols[which].section:
                        found.add(symbols[which].name)
    except (struct.error, IndexError) as error:
        raise ValueError("no object file") from error
    return frozenset(found - {""}), frozenset(elsewhere - found)


def _sections(code: bytes) -> list[_Section]:
    if code[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no object file")
    (start,) = struct.unpack_from("<Q", code, 0x28)
    each, count = struct.unpack_from("<HH", code, 0x3A)
    found = []
    for k in range(count):
        _, kind, _, _, at, size, link, info, _, _ = struct.unpack_from("<IIQQQQIIQQ", code, start + k * each)
        found.append(_Section(kind, at, size, link, info))
    return found


def _symbols(code: bytes, sections: list[_Section], at: int) -> Iterator[_Symbol]:
    names = sections[sections[at].link].start
    for k in range(0, sections[at].size, 24):
        name, _, _, section, start, size = struct.unpack_from("<IBBHQQ", code, sections[at].start + k)
        first = names + name
        yield _Symbol(code[first : code.index(b"\0", first)].decode(), section, start, size)


def _relocations(code: bytes, section: _Section) -> Iterator[tuple[int, int]]:
    """Places in the section that they are of, and which symbols."""
    for place, info, _ in struct.iter_unpack("<QQq", code[section.start : section.start + section.size]):
        yield place, info >> 32
