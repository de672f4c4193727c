"""The text of a spec file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tp.errors import NOWHERE, Source, Span, SpecError
from tp.network import limits


def load_text(path: str | PathLike[str]) -> str:
    """The text of a spec file, read only when it is small enough to be one."""
    path = Path(path)
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        from tp.network import diagnostics as say
        from tp.network.syntax import place

        raise SpecError(say.NotText(place(Source(str(path), ""), error.start))) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(4 * limits.TEXT + 1)
        size = path.stat().st_size
    except OSError as error:
        from tp.network import diagnostics as say

        raise SpecError(say.NoSuchFile(NOWHERE, str(path), error.strerror or "not readable")) from None
    if len(data) > 4 * limits.TEXT:
        from tp.network import diagnostics as say

        start = Span(Source(str(path), ""), 1, 1)
        raise SpecError(say.TextTooLarge(start, f"{size:,} bytes", f"{limits.TEXT:,} characters"))
    return data
