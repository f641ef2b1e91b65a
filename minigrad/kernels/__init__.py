"""Kernel sets: functions of arrays. No Tensor is known here.

``generic`` runs on any array module that follows NumPy's interface; ``numpy`` replaces what NumPy can do better on a
CPU, ``numba`` what compiled loops can (``compiled``), and ``cupy`` what CUDA kernels can on a GPU (``cuda``).
"""
