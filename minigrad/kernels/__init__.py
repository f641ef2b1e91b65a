"""Kernel sets: functions of arrays. No Tensor is known here.

``generic`` runs on any array module that follows NumPy's interface (CuPy, the tests' strict device); ``numpy``
replaces what NumPy can do better on a CPU.
"""
