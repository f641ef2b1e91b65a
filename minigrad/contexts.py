"""Context-local settings, overridden by ``with`` blocks that may end in any order.

A generator that is suspended inside a ``with`` block can be closed at any time: after blocks that were entered later
have ended or before, in another thread or task, or by the garbage collector. Neither restoring the value of before nor
``ContextVar.reset`` survives that. So each block is an entry in a chain, and the value is that of the innermost block
that has not ended.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Generator
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from functools import wraps
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class Block:
    """One ``with`` block: the setting's value inside it. Its truth value is that of the current value."""

    __slots__ = ("ended", "outer", "value")

    def __init__(self, value: Any, outer: Any) -> None:
        self.value, self.outer, self.ended = value, outer, False

    def __bool__(self) -> bool:
        return bool(_value(self))


def _value(found: Any) -> Any:
    """The value of a setting, given the content of its context variable: a Block, or the value itself."""
    while type(found) is Block:
        if not found.ended:
            return found.value
        found = found.outer
    return found


class Setting(Generic[T]):
    """A context variable that ``Override`` blocks change."""

    def __init__(self, name: str, default: T) -> None:
        self.variable: ContextVar[Any] = ContextVar(name, default=default)

    def get(self) -> T:
        value: T = _value(self.variable.get())
        return value


class Override(ContextDecorator):
    """A context manager, and decorator, inside of which a context variable has another value.

    Decorated generators, coroutines and async generators, and those that a decorated function returns, run inside the
    block at each resumption, and their callers outside of it.

    Parameters
    ----------
    variable : ContextVar
    value : callable
        The value inside, given the one outside.
    """

    def __init__(self, variable: ContextVar[Any], value: Callable[[Any], Any]) -> None:
        self._variable, self._value = variable, value
        # One object may be entered several times, and by several threads.
        self._entered: dict[Block, Token[Any]] = {}

    def _recreate_cm(self) -> Override:
        return Override(self._variable, self._value)

    def __enter__(self) -> None:
        outer = self._variable.get()
        while type(outer) is Block and outer.ended:
            outer = outer.outer
        block = Block(self._value(_value(outer)), outer)
        self._entered[block] = self._variable.set(block)

    def __exit__(self, *exception: object) -> None:
        block = self._variable.get()
        if type(block) is not Block or block not in self._entered:
            block = next(reversed(self._entered))
        token = self._entered.pop(block)
        if self._variable.get() is block:
            try:
                self._variable.reset(token)
                return
            except ValueError:  # entered in another context, which still has it
                pass
        block.ended = True

    def __call__(self, function: Function) -> Function:
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if isinstance(function, type) or not callable(function):
            raise TypeError(
                f"decorator: expected a function, got {function!r}; decorate the methods of a class, or use with"
            )
        for is_one, _, wrapped in _KINDS:
            if is_one(function):
                return wraps(function)(wrapped(self, function))  # type: ignore[return-value]

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                result = function(*args, **kwargs)
            wrapped = _RUNNING.get(type(result))
            return result if wrapped is None else wrapped(self, lambda: result)()

        return inside  # type: ignore[return-value]


@types.coroutine
def _resumed(override: Override, inner: Any) -> Generator[Any, Any, Any]:
    """Run a generator or coroutine to its end, each resumption inside the block."""
    resume, value = inner.send, None
    while True:
        try:
            with override._recreate_cm():
                given = resume(value)
        except StopIteration as stop:
            return stop.value
        try:
            resume, value = inner.send, (yield given)
        except GeneratorExit:
            with override._recreate_cm():
                inner.close()
            raise
        except BaseException as error:
            resume, value = inner.throw, error


def _generators(override: Override, function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any, **kwargs: Any) -> Any:
        return (yield from _resumed(override, function(*args, **kwargs)))

    return inside


def _coroutines(override: Override, function: Callable[..., Any]) -> Callable[..., Any]:
    async def inside(*args: Any, **kwargs: Any) -> Any:
        return await _resumed(override, function(*args, **kwargs))

    return inside


def _async_generators(override: Override, function: Callable[..., Any]) -> Callable[..., Any]:
    async def inside(*args: Any, **kwargs: Any) -> Any:
        inner = function(*args, **kwargs)
        resume, value = inner.asend, None
        while True:
            try:
                given = await _resumed(override, resume(value))
            except StopAsyncIteration:
                return
            try:
                resume, value = inner.asend, (yield given)
            except GeneratorExit:
                await _resumed(override, inner.aclose())
                raise
            except BaseException as error:
                resume, value = inner.athrow, error

    return inside


#: kinds of functions whose calls run later, of what they return, and how they run inside a block
_KINDS: tuple[tuple[Callable[..., bool], type, Any], ...] = (
    (inspect.isgeneratorfunction, types.GeneratorType, _generators),
    (inspect.iscoroutinefunction, types.CoroutineType, _coroutines),
    (inspect.isasyncgenfunction, types.AsyncGeneratorType, _async_generators),
)
_RUNNING = {kind: wrapped for _, kind, wrapped in _KINDS}
