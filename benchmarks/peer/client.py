"""Talks to the peer's process: one JSON line each way, data through files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / ".venv-peer"


def interpreter(given: str | None) -> str:
    """The Python of the peer's environment; without one, made from requirements.txt."""
    if given:
        return given
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing the peer into {ENVIRONMENT.name} …", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    return str(python)


class Peer:
    """One process of the peer at one precision; a context manager that ends it."""

    def __init__(self, python: str, dtype: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        flags = ["--float64"] if dtype == "float64" else []
        self.process = subprocess.Popen(
            [python, HERE / "serve.py", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._read()["peer"]

    def load(self, layers: Any, x: np.ndarray, tile: int = 0) -> float:
        """Gives the network and the data; seconds of the first call (on one tile if in tiles), compilation included."""
        path = Path(self.folder.name) / "x.npy"
        np.save(path, x)
        answer = self._ask({"load": layers, "x": str(path), "tile": tile})
        if answer["dtype"] != str(x.dtype):
            raise RuntimeError(f"the peer computes in {answer['dtype']}, not {x.dtype}")
        return float(answer["first"])

    def call(self, count: int) -> tuple[float, float]:
        """Seconds of one evaluation of both kernels, its own clock: until they are in NumPy's memory, and on its device."""
        answer = self._ask({"call": count})
        return float(answer["seconds"]), float(answer["device"])

    def kernels(self, count: int) -> np.ndarray:
        """NNGP and NTK of the first samples, stacked."""
        path = Path(self.folder.name) / "k.npy"
        self._ask({"save": str(path), "count": count})
        return np.load(path)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with status {self.process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()
