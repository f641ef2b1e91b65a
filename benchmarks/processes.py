"""Peers in processes of their own, which are told what to do next over a pipe."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from .agreement import Arrays
from .harness import Start


def serve(workload: str, name: str, pipe: Connection) -> None:
    """Be a peer until the other side hangs up: answer (method, arguments) with what it returns."""
    from .workloads import WORKLOADS

    work = WORKLOADS[workload]
    peer = work.makers[name](work.build())
    try:
        while True:
            method, arguments = pipe.recv()
            result = getattr(peer, method)(*arguments)
            pipe.send(None if method == "step" else result)
    except (BrokenPipeError, EOFError):
        pass


@dataclass
class Remote:
    """A ``Peer`` elsewhere."""

    pipe: Connection

    def step(self) -> None:
        self._call("step")

    def numbers(self) -> Arrays:
        numbers: Arrays = self._call("numbers")
        return numbers

    def seconds(self, steps: int) -> float:
        return float(self._call("seconds", steps))

    def each(self, steps: int) -> list[float]:
        return list(self._call("each", steps))

    def peak(self, steps: int) -> float:
        return float(self._call("peak", steps))

    def _call(self, method: str, *arguments: Any) -> Any:
        self.pipe.send((method, arguments))
        try:
            return self.pipe.recv()
        except EOFError:
            raise RuntimeError("a peer's process has ended; its error stands above") from None


@contextmanager
def processes() -> Iterator[Start]:
    """Starts peers by workload and name; their processes end with the block."""
    context = multiprocessing.get_context("spawn")
    started: list[tuple[Connection, Any]] = []

    def start(workload: str, name: str) -> Remote:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(workload, name, there), daemon=True)
        # It inherits that Ctrl-C is ignored, and ends when this side hangs up.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        there.close()
        started.append((here, process))
        return Remote(here)

    try:
        yield start
    finally:
        for pipe, process in started:
            pipe.close()
            process.join(10)
