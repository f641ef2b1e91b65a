"""Record what a computation does to arrays, as a list of functions and arguments that can be run again.

A recording is made by running ops once, one at a time, on ``Watched`` arrays: compiled kernels, and NumPy's ufuncs,
reductions and copies, are noted as steps. A replay calls the very functions that the ops called, so it computes the
same bits, and nothing is compiled for it.

What a step reads or writes is memory that the recording knows: of parameters and buffers, which stays in place; of
arrays that are others in each replay (arguments, results); of intermediate results, which the recording owns and uses
again as soon as an intermediate result is gone. An op for which that does not hold, because it looked at a value, or
called something that is not noted, becomes one step that calls its ``forward``: it is never guessed what it did.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from functools import partial
from sys import getrefcount
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from . import pool
from .numba import NumbaKernels
from .watched import Watched, bare, current

#: bytes at which blocks of memory begin: a cache line
LINE = 64


class _Loan(np.ndarray):
    """A block of a recording's memory in use: the base of an array and of its views, given back with the last."""

    recording: Recording
    block: np.ndarray

    def __del__(self) -> None:
        if self.base is not None:
            self.recording.idle.append(self.block)


class Memory:
    """A piece of memory that steps use.

    Attributes
    ----------
    start, stop : int
        Its addresses when it was recorded.
    buffer : array of bytes or None
        The piece that was recorded; None for that of tensors, which stays.
    owned : bool
        Whether the recording allocated it.
    """

    def __init__(self, array: Any, buffer: Any, owned: bool = False) -> None:
        self.start, self.stop = byte_bounds(array)
        self.buffer, self.owned = buffer, owned
        #: where steps take arrays in it: arguments, index, offset, shape, dtype, strides
        self.uses: list[tuple[list[Any], int, int, Any, Any, Any]] = []
        self.whole: list[tuple[list[Any], int]] = []
        self.parts: list[tuple[list[Any], int, int, Any, Any, Any]] = []
        #: what steps use now, and how often they refer to it
        self.array: Any = None
        self.references = -1

    def use(self, arguments: list[Any], i: int, array: Any) -> None:
        """Note that ``arguments[i]`` is an array like this one, in this memory."""
        offset = array.ctypes.data - self.start
        self.uses.append((arguments, i, offset, array.shape, array.dtype, array.strides))

    def view(self, array: Any) -> Any:
        """A plain array of the same place and form, which does not keep the memory from being used again."""
        if self.buffer is None:
            return bare(array)
        offset = array.ctypes.data - self.start
        return np.ndarray(array.shape, array.dtype, self.buffer, offset, array.strides)

    def largest(self) -> Any:
        """The largest C-contiguous array from the start on that holds all uses; the memory as bytes otherwise."""
        views = [
            in_order(np.ndarray(shape, dtype, self.buffer, offset, strides))
            for *_, offset, shape, dtype, strides in self.uses
        ]
        whole = self.start, max(byte_bounds(view)[1] for view in views)
        fits = (v for v in views if v.flags.c_contiguous and byte_bounds(v) == whole)
        return next(fits, self.buffer)

    def expect(self, array: Any) -> None:
        """Prepare for ``bind``, of arrays like this one."""
        self.empty = partial(pool.empty if array.nbytes >= pool.LARGE else np.empty, array.shape)
        self.dtype = array.dtype
        for use in self.uses:
            arguments, i, offset, shape, dtype, strides = use
            like = (shape, dtype, strides) == (array.shape, array.dtype, array.strides)
            if like and not offset:
                self.whole.append((arguments, i))
            else:
                self.parts.append(use)

    def bind(self, array: Any) -> None:
        """Let steps use the memory of an array instead; none for None."""
        for arguments, i in self.whole:
            arguments[i] = array
        if self.parts:
            buffer = None if array is None else in_order(array).reshape(-1).view(np.uint8)
            for arguments, i, offset, shape, dtype, strides in self.parts:
                place = shape, dtype, buffer, offset, strides
                arguments[i] = None if buffer is None else np.ndarray(*place)

    def renew(self) -> None:
        """Let steps use a new array, unless nobody else has kept the last one."""
        if self.parts or getrefcount(self.array) != self.references:
            self.array = self.empty(self.dtype)
            self.own()

    def own(self) -> None:
        """Let steps use the array, to which nobody else refers."""
        self.bind(self.array)
        self.references = getrefcount(self.array)


def in_order(array: Any) -> Any:
    """An array with its axes in the order in which they are in memory."""
    if array.flags.c_contiguous:
        return array
    return array.transpose(sorted(range(array.ndim), key=lambda i: (-array.strides[i], i)))


class Recording:
    """What ops did, as steps.

    Attributes
    ----------
    steps : list of (function, arguments)
        In order; arguments are lists.
    reason : str
        Why the op that is being applied cannot be noted; empty if it can.
    failed : bool
        Whether an op made what no replay can give its users in the same layout.
    blocks : list of arrays of bytes
        The memory of intermediate results.
    """

    def __init__(self, kernels: NumbaKernels) -> None:
        self._kernels, self._noting = kernels, _NotingKernels(self, kernels)
        self.steps: list[tuple[Callable[..., Any], list[Any]]] = []
        self.reason, self.failed = "", False
        self.blocks: list[np.ndarray] = []
        self.idle: list[np.ndarray] = []
        self._lent: list[np.ndarray] = []
        self._starts: list[int] = []
        self._memories: dict[int, Memory] = {}
        self._noted: list[tuple[Callable[..., Any], list[Any]]] = []
        self._uses: list[tuple[Memory, list[Any], int, Any]] = []
        self._brought: list[tuple[Memory, Any]] = []

    # --- memory ---

    def fixed(self, array: Any) -> tuple[Any, Memory]:
        """An array that is the same in every replay, watched, and its memory."""
        memory = Memory(array, None)
        self._add(memory)
        return array.view(Watched), memory

    def brought(self, array: Any) -> tuple[Any, Memory]:
        """A watched copy of an array that is another one in each replay, and its memory."""
        own = in_layout(bare(array), array.strides)
        memory = Memory(own, own.base)
        self._add(memory)
        self._brought.append((memory, own))
        return own.view(Watched), memory

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A watched array in memory of the recording."""
        dtype = np.dtype(dtype)
        size = max(math.prod(shape) * dtype.itemsize, 1)
        fits = [b for b in self.idle if size <= b.nbytes <= 2 * size + LINE]
        if fits:
            block = min(fits, key=lambda b: b.nbytes)
            self.idle = [b for b in self.idle if b is not block]
        else:
            whole = np.empty(size + LINE, np.uint8)
            skip = -whole.ctypes.data % LINE
            block = whole[skip : skip + size]
            self.blocks.append(block)
        self._add(Memory(block, block, owned=True))
        self._lent.append(block)
        loan = np.ndarray.__new__(_Loan, (size,), np.uint8, block)
        loan.recording, loan.block = self, block
        return np.ndarray.__new__(Watched, shape, dtype, loan)

    def like(self, array: Any) -> Any:
        """A watched array of the same form in memory of the recording."""
        loan = self.empty((array.nbytes,), np.uint8).base
        strides = np.empty_like(bare(array)).strides  # the array may be a part of another
        return np.ndarray.__new__(Watched, array.shape, array.dtype, loan, 0, strides)

    def _add(self, memory: Memory) -> None:
        if memory.start not in self._memories:
            insort(self._starts, memory.start)
        self._memories[memory.start] = memory

    def find(self, array: Any) -> Memory | None:
        """The memory that an array is in."""
        start = array.ctypes.data
        i = bisect_right(self._starts, start) - 1
        memory = self._memories[self._starts[i]] if i >= 0 else None
        return memory if memory is not None and start < memory.stop else None

    # --- steps ---

    def note(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Note a call; its arguments as a replay gives them."""
        step = function, list(args)
        self._noted.append(step)
        self._take(step[1])
        return step[1]

    def launch(self, kernel: Any, refuse: Callable[..., Any] | None, *args: Any) -> Any:
        """Note the launch of a compiled kernel, and launch it; where it says False, ``refuse`` raises."""
        start = self._kernels.compiled.launch.entry(kernel, *map(bare, args))
        if refuse is not None:
            start = partial(_start, start, refuse)
        return start(*self.note(start, args))

    def _take(self, arguments: list[Any]) -> None:
        for i, a in enumerate(arguments):
            if isinstance(a, np.ndarray):
                memory = self.find(a)
                if memory is None and a.size:
                    self.reason = self.reason or "an array of unknown origin"
                if memory is None:
                    arguments[i] = bare(a)
                    continue
                arguments[i] = memory.view(a)
                self._uses.append((memory, arguments, i, a))

    def apply(
        self,
        compute: Callable[..., Any],
        inputs: list[Any],
        reason: str = "",
        changes: bool = False,
    ) -> list[Any]:
        """What ``compute(kernels, *arrays)`` makes of watched arrays (or None), watched.

        With a ``reason`` replays call it. ``changes`` says that it changes an argument in place.
        """
        self.reason, self._lent = reason, []
        token = current.set(self)
        try:
            results = compute(self._noting, *inputs) or ()
        finally:
            current.reset(token)
        known = [self.find(y) for y in results]
        if not self.reason and None not in known and (changes or self._repeats(results)):
            self._commit()
            return [y.view(Watched) for y in results]
        self._noted.clear()
        self._uses.clear()
        if not all(map(dense, results)):
            self.failed = True
            return [self.fixed(y)[0] for y in results]
        forward = partial(compute, self._kernels)
        found = [self.brought(y) for y in results]
        made = [(memory, y.strides) for y, memory in found]

        def step(*arrays: Any) -> None:
            for y, (memory, strides) in zip(forward(*arrays), made, strict=True):
                memory.bind(y if y.strides == strides else in_layout(y, strides))

        self.note(step if results else forward, inputs)
        self._commit()
        return [y for y, _ in found]

    def _repeats(self, results: Sequence[Any]) -> bool:
        """Whether what was noted makes the same results again, from memory that holds something else.

        It does not if an op has written where nobody noticed, through ``numpy.asarray`` of a watched array, say.
        """
        expected = [bare(y).copy("K") for y in results]
        for block in self._lent:
            block.fill(0xA5)
        for function, arguments in self._noted:
            function(*arguments)
        same = [a.tobytes() == bare(y).tobytes() for a, y in zip(expected, results, strict=True)]
        if not all(same):
            self.reason = "something that was not noted"
            for a, y in zip(expected, results, strict=True):
                np.copyto(bare(y), a)
        return all(same)

    def finish(self) -> None:
        """Prepare what is another array in each replay for being bound."""
        for memory, array in self._brought:
            memory.expect(array)
            memory.bind(None)
            memory.buffer = None  # the copy that was recorded

    def _commit(self) -> None:
        self.steps += self._noted
        for memory, *use in self._uses:
            memory.use(*use)
        self._noted, self._uses = [], []


def _start(start: Any, refuse: Any, *args: Any) -> Any:
    done = start(*args)
    if not done:
        refuse(*args)
    return done


class _NotingKernels(NumbaKernels):
    """Kernels whose launches a recording notes, and whose arrays are in its memory."""

    def __init__(self, recording: Recording, kernels: NumbaKernels) -> None:
        super().__init__(kernels.xp)
        self._recording = recording
        self.compiled = _Noting(kernels.compiled, recording)
        self.empty, self.empty_like = recording.empty, recording.like  # type: ignore[assignment]
        self.small_empty = recording.empty

    def launch(self, kernel: Any, refuse: Any, *args: Any) -> Any:  # type: ignore[override]
        return self._recording.launch(kernel.args[0], refuse, *args)


class _Noting:
    """A module, or package, of compiled kernels, whose launches a recording notes."""

    def __init__(self, module: Any, recording: Recording) -> None:
        self._module, self._recording = module, recording

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, ModuleType):
            return _Noting(found, self._recording)
        return partial(self._recording.launch, found, None)


def dense(array: Any) -> bool:
    """Whether an array has all of a piece of memory, in some order of its axes."""
    return bool(in_order(array).flags.c_contiguous)


def in_layout(array: Any, strides: tuple[int, ...]) -> Any:
    """A copy of an array, without gaps and of these strides; its base is a buffer of bytes."""
    buffer = np.empty(max(array.nbytes, 1), np.uint8)
    copy = np.ndarray(array.shape, array.dtype, buffer, 0, strides)
    copy[...] = array
    return copy
