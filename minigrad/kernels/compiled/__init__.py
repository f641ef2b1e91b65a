"""Kernels that Numba compiles, imported at the first call of one: loops over arrays, nothing else is known here."""
