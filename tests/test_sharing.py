"""What several threads add to, and what forked children draw: nothing is lost, and nothing is drawn twice."""

import os
import sys
from threading import Thread

import numpy as np
import pytest
from helpers import equal, python

import minigrad as mg
from minigrad import nn

THREADS, TIMES = 7, 200


@pytest.fixture
def at_once():
    """Call a function ``TIMES`` times in each of ``THREADS`` threads, which switch all the while."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def run(function):
        errors = []

        def work():
            try:
                for _ in range(TIMES):
                    function()
            except Exception as error:
                errors.append(error)

        threads = [Thread(target=work) for _ in range(THREADS)]
        [t.start() for t in threads], [t.join() for t in threads]
        assert errors == []

    yield run
    sys.setswitchinterval(before)


def accumulating(w):
    return lambda: (w * 1).sum().backward()


def jitted(w):
    return mg.jit(accumulating(w))


def captured(w):
    w.grad = mg.zeros(w.shape)
    return mg.capture(accumulating(w))


def through_one_of_two(w):
    other = nn.Parameter([0.0])
    return lambda: (w * 1 + other).sum().backward()


@pytest.mark.parametrize("make", [accumulating, jitted, captured, through_one_of_two])
def test_no_gradient_is_lost(backend, at_once, make):
    w = nn.Parameter(np.zeros(3, np.float32))
    at_once(make(w))
    equal(w.grad, np.full(3, THREADS * TIMES, np.float32))


@pytest.mark.parametrize("wrap", [lambda norm: norm, mg.jit], ids=["eager", "jit"])
def test_no_batch_is_lost(backend, at_once, wrap):
    norm, x = nn.BatchNorm(2, momentum=None), mg.tensor([[0.0, 1.0], [2.0, 3.0]])
    forward = wrap(norm)
    at_once(lambda: forward(x))
    assert norm.num_batches.item() == THREADS * TIMES
    equal(norm.running_mean, np.array([1, 2], np.float32))


FORKS = """
import logging  # complains when it is first imported while a thread forks
import os, threading, warnings, minigrad as mg

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of forks beside threads

def drawn():
    return mg.dropout(mg.ones(64)).numpy().tobytes().hex()

def child(f):
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(w, str(f()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(r, 10_000).decode()

"""


def forked(code):
    done = python("-c", FORKS + code)
    return done.stdout.strip() + done.stderr.strip().rpartition("\n")[2]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_children_draw_masks_of_their_own():
    code = """
def family():
    return [child(drawn), child(drawn), drawn(), child(lambda: child(drawn))]

assert len(set(family())) == 4  # without a seed
mg.manual_seed(0)
first = family()
mg.manual_seed(0)
print(len(set(first)), family() == first)

def seeded():
    mg.manual_seed(0)
    return drawn()

print(child(seeded) == seeded(), first[2] == seeded(), sep="\\n")
"""
    assert forked(code).split() == ["4", "True", "True", "True"]


@needs_fork
def test_children_of_several_threads_draw_masks_of_their_own():
    code = """
found = []
threads = [threading.Thread(target=lambda: found.append(child(drawn))) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(len(set(found)))
"""
    assert forked(code) == "8"


@needs_fork
def test_a_child_goes_backward_whatever_other_threads_did():
    """The lock that another thread holds while a child is forked would never be released there."""
    code = """
w, busy = mg.ones(3, requires_grad=True), True
step = mg.jit(lambda: (w * 1).sum().backward())

def go_on():
    while busy:
        step(), (w * 1).sum().backward()

def fresh():
    w.grad = None
    step(), (w * 1).sum().backward()
    return w.grad.numpy()[0]

threads = [threading.Thread(target=go_on) for _ in range(2)]
[t.start() for t in threads]
print({child(fresh) for _ in range(20)})
busy = False
"""
    assert forked(code) == "{'2.0'}"
