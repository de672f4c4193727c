"""The shipped digits are the published ones."""

import numpy as np

from tp.data import digits


def test_digits_are_the_uci_test_set():
    images, labels = digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.float64
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert images.min() == 0.0 and images.max() == 1.0
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (images * 16).sum() == 561718  # of all counts, 0..16


def test_digits_are_counts_of_sixteen():
    images, _ = digits()
    assert np.array_equal(np.round(images * 16), images * 16)
    assert (images[0] * 16)[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the first image, a zero
