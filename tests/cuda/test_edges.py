"""Arrays at the end of a mapped page: a kernel that reads beyond them, even without effect, crashes the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cuda import emulator

pytestmark = pytest.mark.skipif(
    emulator.COMPILER is None or sys.platform != "linux", reason="needs g++, and Linux"
)
PROGRAM = """
import ctypes, mmap
import numpy as np
from cuda.shared import kernels
from strict import StrictArray

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def at_the_end(array):
    size = -(-array.nbytes // PAGE) * PAGE
    memory = mmap.mmap(-1, size + PAGE)
    first = np.frombuffer(memory, np.uint8).ctypes.data
    assert not LIBC.mprotect(ctypes.c_void_p(first + size), PAGE, 0)
    begin = size - array.nbytes
    found = np.frombuffer(memory, array.dtype, array.size, begin).reshape(array.shape)
    found[...] = array
    return StrictArray(found)


k, rng = kernels(), np.random.default_rng(0)
for n in (1, 4, 5, 7, 8, 1023):
    for dtype in ("f4", "f2", "f8"):
        x, g, v, w = (at_the_end(rng.random(n).astype(dtype)) for _ in range(4))
        k.sigmoid_grad(k.sigmoid(x), g)
        k.sgd((x,), (v,), (g,), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
        k.adam((x,), (v,), (w,), (g,), lr=0.1, betas=(0.9, 0.9), eps=1e-8, weight_decay=0.1,
               steps=at_the_end(np.array([1])))
    for shape, kept in (((n, 4), (1,)), ((2, 3, n), (1,)), ((n, 5), (1,)), ((n, 8), (1,))):
        x, gy = (at_the_end(rng.random(shape).astype("f4")) for _ in range(2))
        y, mean, var, inv_std = k.batch_norm(x, None, None, kept, 1e-3, 0)
        k.batch_norm_grad(x, None, mean, inv_std, gy, kept, 0)
    logits, labels = at_the_end(rng.random((n, 7)).astype("f4")), at_the_end(np.arange(n) % 7)
    loss, p = k.softmax_cross_entropy(logits, labels, 0.5)
    k.softmax_cross_entropy_grad(at_the_end(p.hidden), labels, at_the_end(loss.hidden), 0.5)
    k.add_bias(at_the_end(rng.random((3, n)).astype("f4")), at_the_end(rng.random(n).astype("f4")))
print("all read")
"""


def test_no_kernel_reads_beyond_the_end():
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tests,
        env={"PYTHONPATH": f"{tests}:{tests.parent}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "all read\n", f"exit status {done.returncode}: {done.stderr}"
