"""The operations, one family a file.

``arithmetic``, ``elementwise``, ``reduction``, ``shape``, ``indexing`` and ``matmul`` stand below ``Tensor`` and lend
it its operators and methods: their functions reach the tape through their first argument's ``apply``. The others stand
above it.
"""
