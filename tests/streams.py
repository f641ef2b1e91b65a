"""A stand-in for CuPy's streams and memory, where nothing happens earlier, or later, than it has to.

What is queued on a stream runs when somebody waits for it; the streams that are said to be early, "copying" or
"computing", run ahead, as far as the events that they wait for have passed. Memory that is given back goes to the next
who asks for as much, at once, whatever is still queued: an order that is missing shows as wrong values.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import strict

from minigrad.backend import Backend
from minigrad.kernels import pinned


class Event:
    """A place in a stream's queue."""

    def __init__(self, stream):
        self.stream, self.place = stream, stream.queued

    @property
    def passed(self):
        return self.stream.done >= self.place

    def synchronize(self):
        while not self.passed:
            self.stream.run_one()


class Stream:
    """A queue of things to do, and of events to wait for."""

    def __init__(self, device):
        self.device = device
        self.queue = deque()
        self.queued = self.done = 0

    def put(self, what):
        self.queue.append(what)
        self.queued += 1
        self.device.run_ahead()

    def run_one(self):
        what = self.queue.popleft()
        what.synchronize() if isinstance(what, Event) else what()
        self.done += 1

    def record(self):
        return Event(self)

    def wait_event(self, event):
        self.put(event)

    def synchronize(self):
        Event(self).synchronize()


class Memory:
    """Buffers by size, used again as soon as nobody holds the array in them; new ones hold nonsense."""

    def __init__(self):
        self.free = defaultdict(list)
        self.made = 0

    def array(self, shape, dtype, holder=lambda array: array):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not self.free[size]:
            self.made += 1
            self.free[size].append(bytearray(b"\xa5" * size))
        buffer = self.free[size].pop()
        held = holder(np.ndarray(shape, dtype, buffer))
        weakref.finalize(held, self.free[size].append, buffer)
        return held


def again(array):
    """The same memory, not holding on to it: what a queue knows."""
    return np.ndarray(array.shape, array.dtype, array.base)


class Array(strict.StrictArray):
    """An array of the device, which is copied to on a stream."""

    __slots__ = ()

    def set(self, array, stream):
        assert self.dtype == array.dtype and self.shape == array.shape
        target, source = again(self.hidden), again(array)
        stream.put(lambda: np.copyto(target, source))


class Device:
    """What ``import cupy`` and ``import cupyx`` give, and the backend."""

    def __init__(self, early):
        self.early = early
        self.streams = []
        self.current = Stream(self)
        self.memory, self.pinned = Memory(), Memory()
        self.cupy = SimpleNamespace(
            empty=lambda shape, dtype: self.memory.array(shape, dtype, Array),
            cuda=SimpleNamespace(Stream=self.stream, get_current_stream=lambda: self.current),
        )
        self.cupyx = SimpleNamespace(empty_pinned=self.pinned.array)

    def stream(self, non_blocking):
        assert non_blocking, "a stream that waits for the default one overlaps with nothing"
        self.streams.append(Stream(self))
        return self.streams[-1]

    def run_ahead(self):
        early = {"copying": self.streams, "computing": [self.current], "nothing": []}
        for stream in early[self.early]:
            queue = stream.queue
            while queue and not (isinstance(queue[0], Event) and not queue[0].passed):
                stream.run_one()

    def finish(self):
        for stream in (self.current, *self.streams):
            stream.synchronize()

    def fill(self, array, value):
        memory = again(array.hidden)
        self.current.put(lambda: memory.fill(value))

    def read(self, array):
        """What the array holds when the current stream comes to it."""
        memory, seen = again(array.hidden), np.empty_like(array.hidden)
        self.current.put(lambda: np.copyto(seen, memory))
        return seen

    def backend(self):
        module = strict.StrictModule()
        return Backend("streams", module, Array, None, None, None, ahead=pinned.ahead)
