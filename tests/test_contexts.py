"""Settings of a context: what decorators cover, and blocks that end in another order or place than they began."""

import asyncio
import contextvars
import functools
import gc
import itertools
from contextlib import contextmanager
from threading import Barrier, Thread

import pytest
from helpers import refuses

import minigrad as mg
from minigrad import layers, nn
from minigrad.nn.batch_norm import hooks
from minigrad.tape import recording


def on():
    return bool(recording.get())


# --- decorators ---


def drawn(generator):
    """What a generator yields and what its caller sees meanwhile, to its end."""
    return [(given, on()) for given in generator]


def in_function(decorate):
    return drawn(iter([decorate(on)()]))


def in_generator(decorate):
    @decorate
    def walk():
        yield on()
        yield from (on() for _ in range(2))

    return drawn(walk())


def in_coroutine(decorate):
    @decorate
    async def ask():
        before = on()
        await asyncio.sleep(0)
        return before or on()

    async def main():
        return [(await ask(), on())]

    return asyncio.run(main())


def by_hand(decorate):
    @decorate
    async def ask():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return on()

    coroutine, seen = ask(), []
    try:
        while True:
            coroutine.send(None)
            seen.append((False, on()))
    except StopIteration as stop:
        return [*seen, (stop.value, on())]


def in_async_generator(decorate):
    @decorate
    async def walk():
        yield on()
        await asyncio.sleep(0)
        yield on()

    async def main():
        return [(given, on()) async for given in walk()]

    return asyncio.run(main())


def in_methods(decorate):
    class Walker:
        @decorate
        @staticmethod
        def static():
            yield on()

        @decorate
        @classmethod
        def of_class(cls):
            yield on()

        @decorate
        def method(self):
            yield on()

    found = Walker()
    return [*drawn(found.static()), *drawn(found.of_class()), *drawn(found.method())]


def in_functions_that_return_generators(decorate):
    def walk():
        yield on()

    class Walker:
        def __call__(self):
            yield on()

    async def ask():
        return on()

    functions = [
        lambda: walk(),
        functools.partial(walk),
        functools.wraps(on)(lambda: walk()),
        Walker(),
    ]
    found = [pair for function in functions for pair in drawn(decorate(function)())]
    return [*found, (asyncio.run(decorate(lambda: ask())()), on())]


@pytest.mark.parametrize("decorate", [mg.no_grad(), mg.no_grad], ids=["called", "bare"])
@pytest.mark.parametrize(
    "kind",
    [
        in_function,
        in_generator,
        in_coroutine,
        by_hand,
        in_async_generator,
        in_methods,
        in_functions_that_return_generators,
    ],
)
def test_what_is_decorated_is_inside_and_its_caller_is_not(kind, decorate):
    found = kind(decorate)
    assert found
    assert all(seen == (False, True) for seen in found)
    assert on()


@pytest.mark.parametrize(
    "decorate",
    [nn.hold_statistics(), nn.merging_statistics(lambda layer, own: own)],
    ids=["hold_statistics", "merging_statistics"],
)
def test_contexts_of_statistics_decorate_generators_too(decorate):
    @decorate
    def walk():
        for _ in range(2):
            yield hooks.get()

    for given in walk():
        assert given is not None
        assert hooks.get() is None


def log_of(seen):
    """A generator and an async generator under no_grad that write down what is sent to and thrown into them."""

    @mg.no_grad()
    def walk():
        """Doc."""
        try:
            while True:
                try:
                    seen.append(((yield), on()))
                except KeyError as error:
                    seen.append((type(error), on()))
        finally:
            seen.append(("closed", on()))

    @mg.no_grad()
    async def walk_async():
        try:
            while True:
                try:
                    seen.append(((yield), on()))
                except KeyError as error:
                    seen.append((type(error), on()))
        finally:
            await asyncio.sleep(0)
            seen.append(("closed", on()))

    return walk, walk_async


def test_decorated_generators_are_sent_to_thrown_into_and_closed():
    seen = []
    walk, walk_async = log_of(seen)

    async def main():
        generator = walk_async()
        await generator.asend(None)
        await generator.asend(1)
        await generator.athrow(KeyError())
        await generator.aclose()

    generator = walk()
    next(generator), generator.send(1), generator.throw(KeyError())
    generator.close()
    asyncio.run(main())
    assert seen == [(1, False), (KeyError, False), ("closed", False)] * 2
    assert walk.__doc__ == "Doc."
    assert on()


def test_the_result_of_a_decorated_generator():
    @mg.no_grad()
    def walk():
        yield 1
        return 2

    def outer():
        return (yield from walk())

    generator = outer()
    next(generator)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == 2


class Decorated:
    """A class."""


@pytest.mark.parametrize("wrong", [Decorated, property(on), 3])
def test_what_is_no_function_is_not_decorated(wrong):
    for decorate in (mg.no_grad(), mg.no_grad):
        with refuses(TypeError, "expected a function, got"):
            decorate(wrong)


# --- blocks that end in any order ---


def suspended():
    with mg.no_grad():
        yield


@contextmanager
def frozen():
    with mg.no_grad():
        yield


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_blocks_end_in_any_order(order):
    """It is on again when the last has ended, and not before."""
    blocks = [suspended(), frozen(), mg.no_grad()]
    enter = [blocks[0].__next__, blocks[1].__enter__, blocks[2].__enter__]
    leave = [blocks[0].close, *(lambda b=b: b.__exit__(None, None, None) for b in blocks[1:])]
    for f in enter:
        f()
    for i in order:
        assert not on()
        leave[i]()
    assert on()
    with mg.no_grad():
        assert not on()
    assert on()


def in_a_thread(f):
    thread = Thread(target=f)
    thread.start()
    thread.join()


def in_a_context(f):
    contextvars.copy_context().run(f)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("elsewhere", [in_a_thread, in_a_context])
def test_a_generator_closed_elsewhere(elsewhere):
    generator = suspended()
    next(generator)
    assert not on()
    elsewhere(generator.close)
    assert on()
    generator = suspended()
    elsewhere(lambda: next(generator))
    assert on()
    generator.close()
    assert on()
    with mg.no_grad():
        generator = suspended()
        next(generator)
        elsewhere(generator.close)
        assert not on()
    assert on()


def test_a_generator_that_nobody_closes():
    generator = suspended()
    next(generator)
    x = mg.ones(2, requires_grad=True)
    assert not (x * 2).requires_grad
    with mg.no_grad():
        del generator
        gc.collect()
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_blocks_nest_and_end_with_an_exception():
    block = mg.no_grad()
    with pytest.raises(ZeroDivisionError), block:
        with mg.no_grad(), block:
            assert not on()
        assert not on()
        1 / 0  # noqa: B018
    assert on()


def test_one_block_and_one_function_in_two_threads_at_once():
    block, barrier, seen = mg.no_grad(), Barrier(2), []

    @mg.no_grad()
    def together():
        barrier.wait(10)
        return on()

    def work():
        with block:
            seen.append(on())
        seen.append(on())
        seen.append((together(), on()))

    with block:
        thread = Thread(target=work)
        thread.start()
        assert not together()
        thread.join()
        assert not on()
    assert seen == [False, True, (False, True)]
    assert on()


def test_a_task_goes_on_as_it_was_started():
    async def later():
        await asyncio.sleep(0)
        return on()

    async def main():
        with mg.no_grad():
            task = asyncio.create_task(later())
        return on(), await task

    assert asyncio.run(main()) == (True, False)


def test_scopes_and_statistics_end_in_any_order():
    def scope():
        with mg.layers.variable_scope("outer"):
            yield

    def held():
        with nn.hold_statistics():
            yield

    for make, get in ((scope, lambda: layers.current.get().name), (held, hooks.get)):
        before, first, second = get(), make(), make()
        next(first), next(second)
        first.close()
        assert get() != before
        in_a_thread(second.close)
        assert get() == before
