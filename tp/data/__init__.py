"""Data that ships with the package: the UCI 8×8 handwritten digits."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Arrays = tuple[np.ndarray[tuple[int, int, int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.int64]]]


def digits() -> Arrays:
    """1797 handwritten digits: images [1797, 8, 8] in 0..1 and labels [1797] in 0..9, in the source's order.

    Source: Alpaydin & Kaynak 1998, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository,
    CC BY 4.0; see ``digits.LICENSE`` beside the archive.
    """
    import numpy as np

    with files("tp.data").joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return archive["images"].astype(np.float64) / 16.0, archive["labels"].astype(np.int64)
