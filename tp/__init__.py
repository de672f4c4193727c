"""Tensor Programs, derived: write a network once, get its infinite-width limits, and the proof that they are true.

import tp
net = tp.zoo("mlp", L=4)      # or tp.load("my.tp"), tp.parse(text)
net.ntk()                     # the recursion, with its rules and sources
net.kernel("ntk")(X)          # its numbers on data
net.verify()                  # finite widths against the limit

What can be written in a spec: `tp language` on the command line, or docs/language.md.
"""

from importlib import import_module
from typing import Any

from tp.version import __version__

_WHERE = {
    "load": "tp.net",
    "parse": "tp.net",
    "zoo": "tp.net",
    "Net": "tp.net",
    "digits": "tp.data",
    "SpecError": "tp.errors",
    "DataError": "tp.errors",
    "LimitError": "tp.errors",
    "DeviceError": "tp.errors",
    "load_ipython_extension": "tp.faces.notebook",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    """Names are looked up when they are used, so that ``import tp`` costs nothing (PEP 562)."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'tp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
