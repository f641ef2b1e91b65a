"""Doctests of the compiled kernels are collected where Numba is installed: their modules import it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("numba") else ["minigrad/kernels/compiled"]
