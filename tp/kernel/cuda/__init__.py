"""The same generated functions on a CUDA device: one thread a pair of samples."""
