"""NumPy's OpenBLAS is left with the threads it had."""

from __future__ import annotations

import threading

import pytest

from minigrad.kernels.openblas import Library, OneThread, library


def test_threads_are_given_back_when_the_last_has_left():
    count = [5]
    fake = Library(0, 0, lambda n: count.__setitem__(0, n), lambda: count[0], "none")
    alone = OneThread(fake)
    with alone:
        assert count == [1]
        with alone:
            assert count == [1]
        assert count == [1]
    assert count == [5]
    count[0] = 3
    with pytest.raises(ZeroDivisionError), alone:
        1 / 0  # noqa: B018
    assert count == [3]

    def work():
        for _ in range(200):
            with alone:
                assert count == [1]

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count == [3]


def test_the_library_of_the_wheels():
    found = library()
    if found is None:
        pytest.skip("this NumPy does not come with OpenBLAS and integers of 64 bits")
    assert found.sgemm and found.dgemm and found.get_threads() >= 1 and found.family
