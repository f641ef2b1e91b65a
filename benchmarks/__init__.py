"""This project and its peers on the same work, side by side in one run: ``python -m benchmarks --help``.

A workload is one file in ``workloads``: it builds inputs, makes one step function per peer out of them, and names the
numbers of a step that must agree (``agreement``) before anything is timed (``harness``); ``environment`` says on what.
On a GPU, ``device`` is where all happens and whose clock counts, and ``report`` says what was reached.
"""
