"""The text of a spec file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tp.errors import NOWHERE, Source, Span, SpecError
from tp.network import limits


def load_text(path: str | PathLike[str]) -> str:
    """The text of a spec file, read only when it is small enough to be one."""
    try:
        path = Path(path)
        return _read(path).decode("utf-8")
    except TypeError:
        from tp.network import diagnostics as say

        raise SpecError(say.NoSuchFile(NOWHERE, repr(path), "no file name")) from None
    except UnicodeDecodeError as error:
        from tp.network import diagnostics as say
        from tp.network.syntax import place

        raise SpecError(say.NotText(place(Source(str(path), ""), error.start))) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(4 * limits.TEXT + 1)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        from tp.network import diagnostics as say

        raise SpecError(say.NoSuchFile(NOWHERE, str(path), getattr(error, "strerror", None) or "no file name")) from None
    if len(data) > 4 * limits.TEXT:
        from tp.network import diagnostics as say

        start = Span(Source(str(path), ""), 1, 1)
        raise SpecError(say.TextTooLarge(start, f"{size:,} bytes", f"{limits.TEXT:,} characters"))
    return data
