"""Limit → Kernel: a limit's equations become one generated numba module and a callable.

``build.build`` compiles, ``kernel.Kernel`` is the callable, ``reference.reference`` evaluates the same equations slowly
and independently, as the oracle.
"""
