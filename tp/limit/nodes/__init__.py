"""Kernels by nodes: where no formula integrates a limit, every Z is an array of values at common nodes, all samples together."""
