"""Wrong arguments of public calls: said, with a way out, as everything else that is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Any, ParamSpec, TypeVar

from tp.errors import NOWHERE, DataError, Message

P = ParamSpec("P")
R = TypeVar("R")


def asked(function: Callable[P, R]) -> Callable[P, R]:
    """``function``; called with arguments that it does not take it raises ``DataError`` in place of ``TypeError``."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # from within
            raise DataError(_told(function, len(args), kwargs, str(error))) from None
        except DataError as error:
            if (told := _as_option(function, kwargs, error)) is None:
                raise
            raise DataError(told) from None

    return call


def _told(function: Callable[..., Any], count: int, kwargs: dict[str, Any], otherwise: str) -> Message:
    """What is wrong with a call of so many arguments without a name and these with one."""
    parameters = inspect.signature(function).parameters
    own = [p for n, p in parameters.items() if n != "self"]
    name = "a kernel" if function.__name__ == "__call__" else f"`{function.__name__}`"
    unknown = [k for k in kwargs if k not in parameters]
    if unknown and not any(p.kind is Parameter.VAR_KEYWORD for p in own):
        remedy = _nearest(unknown[0], parameters) or f"it takes {', '.join(f'`{p.name}`' for p in own) or 'none'}"
        return Message(NOWHERE, f"{name} takes no `{unknown[0]}`", remedy, "wrong arguments")
    given = {*list(parameters)[:count], *kwargs}
    needed = [p for p in own if p.default is Parameter.empty and p.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)]
    missing = [f"{p.name}=…" if p.kind is Parameter.KEYWORD_ONLY else f"`{p.name}`" for p in needed if p.name not in given]
    if missing:
        return Message(NOWHERE, f"{name} is called without what it needs", f"give {' and '.join(missing)}", "wrong arguments")
    plain = [p.name for p in own if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    if count > len(parameters) - len(own) + len(plain):
        takes = (
            f"takes {', '.join(f'`{p}`' for p in plain)} without a name, and no more" if plain else "takes none without a name"
        )
        others = [p.name for p in own if p.name not in plain]
        return Message(NOWHERE, f"{name} {takes}", f"by name: {', '.join(others)}" if others else "", "wrong arguments")
    return Message(NOWHERE, otherwise, "", "wrong arguments")


def _nearest(name: str, parameters: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, [p for p in parameters if p != "self"], 1)
    return f"did you mean `{near[0]}`?" if near else ""


def _as_option(function: Callable[..., Any], kwargs: dict[str, Any], error: DataError) -> Message | None:
    """An unknown constant that is a misspelt option: ``devise="cuda"``."""
    parameters = inspect.signature(function).parameters
    for m in error.diagnostics:
        if isinstance(m, Message) and m.heading == "unknown constant":
            name = next((k for k in kwargs if k not in parameters and f"`{k}`" in m.reason), "")
            if name and (remedy := _nearest(name, parameters)):
                return Message(m.span, f"`{name}` is no option, and no constant of the network", remedy, "wrong arguments")
    return None
