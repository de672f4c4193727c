"""``tp gram``: a kernel's numbers on data."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.cli import files, options
from tp.errors import NOWHERE, DataError, Message, StatisticalWarning

if TYPE_CHECKING:
    from tp.net import Net

ABOUT = """
Derives the limit, compiles it and evaluates it on the samples of a file: .npy or .npz (samples first, then the
input's own shape; several inputs are the arrays of one .npz by name) or .csv (one sample a row, last index fastest).
Without --out the matrix is printed; with it, it is written whole or not at all. With --memory it may be larger than
memory: it goes to --out (.npy or .zarr) in tiles, and a run that was cut short goes on with --resume. What no formula
integrates, as gru and lstm, is a mean over nodes with a statistical error, which is told; --nodes says how many."""

EXAMPLES = """
  tp gram mlp --data X.csv                               print the NTK of the rows of X
  tp gram mlp --data X.npy --limit nngp --out K.npy      write the NNGP kernel
  tp gram mlp --data X.npy --data2 Y.npy --out K.npy     between two sets of samples
  tp gram my.tp --let L=4 --data X.npy --dtype float32 --out K.npy
  tp gram gru --data X.npy --nodes 2^17 --out K.npy      half the error of the 2^15 nodes that there are otherwise
  tp gram mlp --data X.npy --out K.npy --memory 2GB      larger than memory; again with --resume after a kill"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "gram", "evaluate a kernel on data", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--data", type=files.array_path, required=True, metavar="X.npy", help="the samples: .npy, .npz or .csv")
    parser.add_argument("--data2", type=files.array_path, metavar="Y.npy", help="a second set of samples, for the columns")
    parser.add_argument("--limit", choices=("nngp", "ntk"), default="ntk", help="which kernel (default: ntk)")
    parser.add_argument("--out", type=files.matrix_path, metavar="K.npy", help="where to write it: .npy, .npz, .csv or .zarr")
    parser.add_argument("--memory", type=options.memory, metavar="2GB", help="write tile by tile, holding no more than this")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut short")
    parser.add_argument("--processes", action="store_true", help="compute tiles in processes instead of threads")
    parser.add_argument("--output", metavar="NAME", help="which output, where there are several (default: the first)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="precision (default: float64)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="cpu", help="where pairs are computed (default: cpu)"
    )
    parser.add_argument("--nodes", type=options.nodes, metavar="2^17", help="by so many nodes, whatever formulas there are")
    parser.add_argument("--json", action="store_true", help="print the matrix, or with --out a summary, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from tp.limit.zcalculus.pairs import PairKernel

    net = options.load(arguments)
    tiled = arguments.memory or arguments.resume or arguments.processes or (arguments.out and arguments.out.suffix == ".zarr")
    if not tiled:
        files.writable(arguments.out)
    X = _samples(net, arguments.data)
    Y = _samples(net, arguments.data2) if arguments.data2 else None
    asked = {"dtype": arguments.dtype, "output": arguments.output, "device": arguments.device, "nodes": arguments.nodes}
    kernel: Any = net.kernel(arguments.limit, **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StatisticalWarning)  # it is told below
        matrix = _tiles(arguments, kernel, X, Y) if tiled else kernel(X, Y)
    if kernel.statistical:
        bound = (getattr(kernel, "by_nodes", None) or kernel).bound
        told = f"means over nodes: two standard errors are below {bound:.0e} √(k(x, x) k(x′, x′))"
        if isinstance(kernel, PairKernel):
            told = f"integrals at Sobol points: two standard errors are below {bound:.0e} of the largest entry"
        print(f"{told}; net.kernel().measured(X) has those of every entry", file=sys.stderr)
    shape = "×".join(map(str, matrix.shape))
    about = {"kernel": arguments.limit, "shape": list(matrix.shape), "dtype": str(matrix.dtype)}
    if arguments.out:
        if not tiled:
            files.write_array(arguments.out, matrix)
        text = f"{arguments.limit}, {shape}, in {arguments.out}"
        print(json.dumps({**about, "out": str(arguments.out)}) if arguments.json else text)
    elif arguments.json:
        print(json.dumps({**about, "matrix": matrix.tolist()}))
    else:
        for row in matrix.reshape(len(matrix), -1):
            print(" ".join(f"{entry:12.6g}" for entry in row))


def _tiles(arguments: argparse.Namespace, kernel: Any, X: Any, Y: Any) -> Any:
    """The matrix on disk, by tiles; an unfinished run is gone on with only where that is asked for."""
    if arguments.out is None:
        raise _wrong("tiles need a file to go to", "give --out K.npy or --out K.zarr")
    begun = arguments.out.with_name(f"{arguments.out.name}.partial")
    if begun.exists() and not arguments.resume:
        raise _wrong(f"`{begun.name}` is a run that was cut short", "add --resume to go on with it, or remove it")
    executor = "processes" if arguments.processes else None
    return kernel.gram(X, Y, out=arguments.out, memory=arguments.memory or "2GB", executor=executor)[arguments.limit]


def _wrong(reason: str, remedy: str) -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, "tiles"))


def _samples(net: Net, path: Path) -> Any:
    """The arrays of a file; rows of a .csv take the shape of the network's input where they have its size."""
    arrays = files.read_arrays(path)
    if path.suffix != ".csv" or isinstance(arrays, dict) or len(net.program.data) != 1:
        return arrays
    extents = [r.hi - r.lo + 1 for r in net.program.data[0].domain]
    if not all(extent.is_Integer for extent in extents) or prod(extents) != arrays.shape[1]:
        return arrays
    return arrays.reshape(-1, *map(int, extents))
