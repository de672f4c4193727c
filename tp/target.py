"""``target``: where something is to be written, checked before there is anything to write."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path
from typing import Any

from tp.errors import NOWHERE, DataError, Message

PICTURES = (".png", ".pdf", ".svg")


def target(path: Any) -> Path:
    """``path``, absolute: a name in a folder that is there and may be written to. Raises ``DataError`` where it is not."""
    try:
        found = Path(path).absolute()
        os.lstat(found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # nothing of that name yet
    except (TypeError, ValueError, OSError) as error:
        raise _wrong(f"{reprlib.repr(path)} is no file name", "", "file name") from error
    if not os.path.isdir(found.parent):
        home = Path(path).parts[:1] == ("~",)
        remedy = "`~` is not read as your home here: give Path(…).expanduser()" if home else "make it first"
        raise _wrong(f"there is no folder `{found.parent}`", remedy, "no such folder")
    if not os.access(found.parent, os.W_OK | os.X_OK):
        raise _wrong(f"you may not write to the folder `{found.parent}`", "choose another one", "no permission")
    return found


def picture(path: Any) -> Any:
    """Where a figure goes: a file that ends in .png, .pdf or .svg, or an open one; None stays None."""
    if path is None or hasattr(path, "write"):
        return path
    found = target(path)
    if found.is_dir():
        raise _wrong(f"`{found.name}` is a folder", "choose another name", "name taken")
    if found.suffix.lower() not in PICTURES:
        reason = f"`{found.name}` does not say what kind of picture it is"
        raise _wrong(reason, f"end the name in {', '.join(PICTURES)}", "file name")
    return found


def _wrong(reason: str, remedy: str, heading: str) -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, heading))
