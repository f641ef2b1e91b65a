"""Several processes that compile kernels: each kernel is compiled by one, for which the others wait.

The first process that finds a kernel missing starts a second one, ``rehearsal``, which compiles what a training step
needs, the last first. Two cores then compile a step's kernels in about half the time.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

REHEARSAL = "minigrad.kernels.rehearsal"

#: seconds to wait for a process that may have been stopped or interrupted while it compiled
PATIENCE = 60
#: the open file of which this process has locked one byte, a kernel's
_claim: int | None = None
_started = False


def claim(kernel: Path) -> None:
    """Claim the kernel that is to be kept in a file; wait while another process has it, but not for ever.

    Where nothing can be written or locked, each process compiles what it needs.
    """
    global _claim
    release()
    if fcntl is None:
        return
    with suppress(OSError):
        kernel.parent.mkdir(parents=True, exist_ok=True)
        _claim = os.open(kernel.with_name("claims"), os.O_WRONLY | os.O_CREAT, 0o666)
        _start_rehearsal()
        place, until = (
            int(sha256(kernel.name.encode()).hexdigest()[:15], 16),
            monotonic() + PATIENCE,
        )
        while monotonic() < until:
            with suppress(BlockingIOError, PermissionError):  # another process has it
                fcntl.lockf(_claim, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                return
            sleep(0.01)


def release() -> None:
    """Give up the claim, if there is one."""
    global _claim
    if _claim is not None:
        os.close(_claim)
        _claim = None


def _start_rehearsal() -> None:
    """Start the second process, once, where it has a core and this one is an interpreter; it ends with this one."""
    global _started
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    program = os.path.basename(sys.executable or "").lower()
    if _started or REHEARSAL in sys.modules or cores == 1 or "python" not in program:
        return
    _started = True
    code = f"from {REHEARSAL} import rehearse; rehearse()"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    silent: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | paths, **silent)
    atexit.register(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
