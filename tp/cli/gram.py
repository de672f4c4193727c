"""``tp gram``: a kernel's numbers on data."""

from __future__ import annotations

import argparse
import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.cli import files, options

if TYPE_CHECKING:
    from tp.net import Net

ABOUT = """
Derives the limit, compiles it and evaluates it on the samples of a file: .npy or .npz (samples first, then the
input's own shape; several inputs are the arrays of one .npz by name) or .csv (one sample a row, last index fastest).
Without --out the matrix is printed; with it, it is written whole or not at all."""

EXAMPLES = """
  tp gram mlp --data X.csv                               print the NTK of the rows of X
  tp gram mlp --data X.npy --limit nngp --out K.npy      write the NNGP kernel
  tp gram mlp --data X.npy --data2 Y.npy --out K.npy     between two sets of samples
  tp gram my.tp --let L=4 --data X.npy --dtype float32 --out K.npy"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "gram", "evaluate a kernel on data", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--data", type=files.array_path, required=True, metavar="X.npy", help="the samples: .npy, .npz or .csv")
    parser.add_argument("--data2", type=files.array_path, metavar="Y.npy", help="a second set of samples, for the columns")
    parser.add_argument("--limit", choices=("nngp", "ntk"), default="ntk", help="which kernel (default: ntk)")
    parser.add_argument("--out", type=files.array_path, metavar="K.npy", help="where to write it: .npy, .npz or .csv")
    parser.add_argument("--output", metavar="NAME", help="which output, where there are several (default: the first)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="precision (default: float64)")
    parser.add_argument("--json", action="store_true", help="print the matrix, or with --out a summary, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    files.writable(arguments.out)
    net = options.load(arguments)
    X = _samples(net, arguments.data)
    Y = _samples(net, arguments.data2) if arguments.data2 else None
    matrix: Any = net.kernel(arguments.limit, dtype=arguments.dtype, output=arguments.output)(X, Y)
    shape = "×".join(map(str, matrix.shape))
    about = {"kernel": arguments.limit, "shape": list(matrix.shape), "dtype": str(matrix.dtype)}
    if arguments.out:
        files.write_array(arguments.out, matrix)
        text = f"{arguments.limit}, {shape}, in {arguments.out}"
        print(json.dumps({**about, "out": str(arguments.out)}) if arguments.json else text)
    elif arguments.json:
        print(json.dumps({**about, "matrix": matrix.tolist()}))
    else:
        for row in matrix.reshape(len(matrix), -1):
            print(" ".join(f"{entry:12.6g}" for entry in row))


def _samples(net: Net, path: Path) -> Any:
    """The arrays of a file; rows of a .csv take the shape of the network's input where they have its size."""
    arrays = files.read_arrays(path)
    if path.suffix != ".csv" or isinstance(arrays, dict) or len(net.program.data) != 1:
        return arrays
    extents = [r.hi - r.lo + 1 for r in net.program.data[0].domain]
    if not all(extent.is_Integer for extent in extents) or prod(extents) != arrays.shape[1]:
        return arrays
    return arrays.reshape(-1, *map(int, extents))
