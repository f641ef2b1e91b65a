"""What a captured function reads from outside: a change of it is seen, whatever way it is read and changed."""

import argparse
import array
import collections
import contextlib
import dataclasses
import functools
import types
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import equal, refuses

import minigrad as mg
from minigrad import CaptureError, nn

X = np.ones(3, np.float32)


@dataclass
class Settings:
    scale: float = 2.0


PYTHON = {
    m.__name__: m for m in (argparse, array, collections, contextlib, dataclasses, functools, types)
}


def run(source, **names):
    """A module of its own with this source, as that of a user."""
    module = types.ModuleType("users_module")
    vars(module).update(mg=mg, nn=nn, np=np, **PYTHON, **names)
    exec(source, vars(module))
    return vars(module)


#: what the function is, and what changes between two of its calls: by 2 before, by 3 afterwards
GLOBALS = {
    "a number": ("s = 2.0\ndef f(x): return x * s", "s = 3.0"),
    "through a helper": ("s = 2.0\ndef g(x): return x * s\ndef f(x): return g(x)", "s = 3.0"),
    "the helper": (
        "def g(x): return x * 2\ndef f(x): return g(x)",
        "def g(x): return x * 3",
    ),
    "the code of the helper": (
        "def g(x): return x * 2\ndef f(x): return g(x)",
        "g.__code__ = (lambda x: x * 3).__code__",
    ),
    "in a nested function": (
        "s = 2.0\ndef f(x):\n def g(): return x * s\n return g()",
        "s = 3.0",
    ),
    "in a comprehension": ("s = [2.0]\ndef f(x): return sum([x * i for i in s])", "s = [3.0]"),
    "items of a list": ("s = [2.0]\ndef f(x): return x * s[0]", "s[0] = 3.0"),
    "one more item": ("s = [2.0]\ndef f(x): return x * sum(s)", "s.append(1.0)"),
    "a list for an equal one": ("s = [2.0]\ndef f(x): return x * s[0]", "s = [2.0]; s[0] = 3.0"),
    "items of a dict": ("s = {'a': 2.0}\ndef f(x): return x * s['a']", "s['a'] = 3.0"),
    "a method of a dict": ("s = {'a': 2.0}\ndef f(x): return x * s.get('b', 2.0)", "s['b'] = 3.0"),
    "a nested dict": ("s = {'a': [2.0]}\ndef f(x): return x * s['a'][0]", "s['a'][0] = 3.0"),
    "a list in a tuple": ("s = ([2.0],)\ndef f(x): return x * s[0][0]", "s[0][0] = 3.0"),
    "a set": ("s = {1, 2}\ndef f(x): return x * len(s)", "s.add(3)"),
    "a sign": ("s = 0.0\ndef f(x): return x * (2 if str(s)[0] == '0' else 3)", "s = -0.0"),
    "an array": ("s = np.array([2.0])\ndef f(x): return x * float(s[0])", "s[0] = 3.0"),
    "a function in a list": (
        "s = 2.0\ndef g(x): return x * s\nfs = [g]\ndef f(x): return fs[0](x)",
        "s = 3.0",
    ),
    "a lambda": ("s = 2.0\nf = lambda x: x * s", "s = 3.0"),
    "a partial": (
        "s = [2.0]\ndef g(s, x): return x * s[0]\nf = functools.partial(g, s)",
        "s[0] = 3.0",
    ),
    "a partial's keywords": (
        "def g(x, s): return x * s\nf = functools.partial(g, s=2.0)",
        "f.keywords['s'] = 3.0",
    ),
    "a decorated function": (
        "s = 2.0\n@mg.no_grad()\ndef g(x): return x * s\ndef f(x): return g(x)",
        "s = 3.0",
    ),
    "a wrapped function": (
        "s = 2.0\n@functools.wraps(print)\ndef g(x): return x * s\n"
        "@contextlib.contextmanager\ndef c(): yield s\n"
        "def f(x):\n with c() as t: return x * t",
        "s = 3.0",
    ),
    "another jit": ("s = 2.0\ng = mg.jit(lambda x: x * s)\ndef f(x): return g(x)", "s = 3.0"),
    "a default": ("def f(x, s=2.0): return x * s", "f.__defaults__ = (3.0,)"),
    "a keyword default": ("def f(x, *, s=2.0): return x * s", "f.__kwdefaults__['s'] = 3.0"),
    "items of a default": ("def f(x, s=[2.0]): return x * s[0]", "f.__defaults__[0][0] = 3.0"),
    "a class's attribute": ("class C: s = 2.0\ndef f(x): return x * C.s", "C.s = 3.0"),
    "a base's attribute": (
        "class B: s = 2.0\nclass C(B): pass\ndef f(x): return x * C.s",
        "C.s = 3.0",
    ),
    "a static method": (
        "s = 2.0\nclass C:\n @staticmethod\n def g(x): return x * s\ndef f(x): return C.g(x)",
        "s = 3.0",
    ),
    "a class method": (
        "class C:\n s = 2.0\n @classmethod\n def g(cls, x): return x * cls.s\n"
        "def f(x): return C.g(x)",
        "C.s = 3.0",
    ),
    "an object": ("class C: s = 2.0\nc = C()\ndef f(x): return x * c.s", "c.s = 3.0"),
    "an object's method": (
        "class C:\n def g(self, x): return x * 2\nc = C()\ndef f(x): return c.g(x)",
        "C.g = lambda self, x: x * 3",
    ),
    "what a method reads": (
        "class C:\n s = 2.0\n def g(self, x): return x * self.s\nc = C()\ndef f(x): return c.g(x)",
        "c.s = 3.0",
    ),
    "what a property reads": (
        "class C:\n t = 2.0\n @property\n def s(self): return self.t\n"
        "c = C()\ndef f(x): return x * c.s",
        "c.t = 3.0",
    ),
    "a callable object": (
        "class C:\n s = 2.0\n def __call__(self, x): return x * self.s\nf = C()",
        "f.s = 3.0",
    ),
    "a bound method": (
        "class C:\n s = 2.0\n def g(self, x): return x * self.s\nc = C()\nf = c.g",
        "c.s = 3.0",
    ),
    "an object that is passed on": (
        "class C: pass\nc = C()\nc.s = 2.0\ndef g(x, c): return x * c.s\ndef f(x): return g(x, c)",
        "c.s = 3.0",
    ),
    "an object in a list": (
        "class C: pass\ncs = [C()]\ncs[0].s = 2.0\ndef f(x): return sum([x * c.s for c in cs])",
        "cs[0].s = 3.0",
    ),
    "a model's class": (
        "class M(nn.Module):\n def forward(self, x): return x * 2\nf = M()",
        "M.forward = lambda self, x: x * 3",
    ),
    "a model's forward": (
        "class M(nn.Module):\n def forward(self, x): return x * 2\nf = M()",
        "f.forward = lambda x: x * 3",
    ),
    "a model's class attribute": (
        "class M(nn.Module):\n s = 2.0\n def forward(self, x): return x * self.s\n"
        "f = nn.Sequential(M())",
        "M.s = 3.0",
    ),
    "an attribute of a model that goes": (
        "class M(nn.Module):\n s = 3.0\n def forward(self, x): return x * self.s\nf = M()\nf.s = 2.0",
        "del f.s",
    ),
    "a global of a model": (
        "s = 2.0\nclass M(nn.Module):\n def forward(self, x): return x * s\nm = M()\n"
        "f = nn.Sequential(m)",
        "s = 3.0",
    ),
    "a model": (
        "def make(s): return nn.Linear(3, 3, bias=False, weight_init=lambda *_: s * np.eye(3))\n"
        "m = make(2)\ndef f(x): return m(x)",
        "m = make(3)",
    ),
    "a builtin that is hidden": ("def f(x): return x * max(1, 2)", "max = lambda *a: 3"),
    "an optimizer's setting": (
        "o = mg.optim.SGD([nn.Parameter([1.0])], lr=2.0)\ndef f(x): return x * o.lr",
        "o.lr = 3.0",
    ),
    "a model's settings": (
        "class M(nn.Module):\n def __init__(self): self.c = C(2.0)\n"
        " def forward(self, x): return x * self.c.scale\nf = M()",
        "f.c.scale = 3.0",
    ),
    "an overridden method": (
        "s = 2.0\nclass B:\n def g(self, x): return x * s\n"
        "class C(B):\n def g(self, x): return super().g(x)\nc = C()\ndef f(x): return c.g(x)",
        "s = 3.0",
    ),
    "an overridden forward": (
        "class B(nn.Module):\n def forward(self, x): return x * 2\n"
        "class M(B):\n def forward(self, x): return super().forward(x)\nf = M()",
        "B.forward = lambda self, x: x * 3",
    ),
    "a model's call": (
        "s = 2.0\nclass M(nn.Module):\n def __call__(self, x): return super().__call__(x) * s\n"
        " def forward(self, x): return x\nf = nn.Sequential(M())",
        "s = 3.0",
    ),
    "a method of layers in a list": (
        "s = 2.0\nclass L(nn.Module):\n def g(self, x): return x * s\n"
        "class M(nn.Module):\n def __init__(self): self.ls = [L()]\n"
        " def forward(self, x):\n  for l in self.ls: x = l.g(x)\n  return x\nf = M()",
        "s = 3.0",
    ),
    "a method of an object made inside": (
        "s = 2.0\nclass C:\n def g(self, x): return x * s\ndef f(x):\n c = C()\n return c.g(x)",
        "s = 3.0",
    ),
    "what makes an object": (
        "s = [2.0]\n@dataclasses.dataclass\nclass D:\n s: float = 0.0\n"
        " def __post_init__(self): self.s = s[0]\ndef f(x): return x * D().s",
        "s[0] = 3.0",
    ),
    "a partial method": (
        "class C:\n s = 2.0\n def g(self, a, x): return x * self.s\n"
        " h = functools.partialmethod(g, 1)\nc = C()\ndef f(x): return c.h(x)",
        "c.s = 3.0",
    ),
    "a descriptor": (
        "class D:\n s = 2.0\n def __get__(self, *args): return self.s\nclass C: d = D()\nc = C()\n"
        "def f(x): return x * c.d",
        "D.s = 3.0",
    ),
    "a special method": (
        "s = 2.0\nclass C:\n def __getitem__(self, key): return s\nc = C()\ndef f(x): return x * c[0]",
        "s = 3.0",
    ),
    "attributes by __getattr__": (
        "class C(dict):\n def __getattr__(self, name): return self[name]\nc = C(s=2.0)\n"
        "def f(x): return x * c.s",
        "c['s'] = 3.0",
    ),
    "an attribute of a function": ("def f(x): return x * f.s\nf.s = 2.0", "f.s = 3.0"),
    "an attribute by a text": (
        "class C: pass\nc = C()\ndef f(x): return x * getattr(c, 's', 2.0)",
        "c.s = 3.0",
    ),
    "all attributes": (
        "class C: pass\nc = C()\nc.s = 2.0\ndef f(x): return x * sum(vars(c).values())",
        "c.s = 3.0",
    ),
    "a local name": (
        "class C: pass\nc = C()\nc.d = C()\nc.d.s = 2.0\ndef f(x):\n d = c.d\n return x * d.s",
        "c.d.s = 3.0",
    ),
    "a Python module in a local name": (
        "c = types.ModuleType('c')\nc.s = 2.0\ndef f(x):\n d = c\n return x * d.s",
        "c.s = 3.0",
    ),
    "arguments of a program": (
        "args = argparse.Namespace(s=2.0)\ndef f(x): return x * args.s",
        "args.s = 3.0",
    ),
    "a chain of dicts": (
        "s = collections.ChainMap({'a': 2.0})\ndef f(x): return x * s['a']",
        "s['a'] = 3.0",
    ),
    "a view of a dict": (
        "d = {'a': 2.0}\ns = d.values()\ndef f(x): return x * sum(s)",
        "d['a'] = 3.0",
    ),
    "a method of a list": (
        "s = [2.0]\ng = s.__getitem__\ndef f(x): return x * g(0)",
        "s[0] = 3.0",
    ),
    "an array of Python's": (
        "s = array.array('d', [2.0])\ndef f(x): return x * s[0]",
        "s[0] = 3.0",
    ),
    "an object with slots": (
        "class C:\n __slots__ = ('s',)\nc = C()\nc.s = 2.0\ndef f(x): return x * c.s",
        "c.s = 3.0",
    ),
    "a namespace": ("c = types.SimpleNamespace(s=2.0)\ndef f(x): return x * c.s", "c.s = 3.0"),
    "a cell": (
        "def make():\n s = 2.0\n def change(to):\n  nonlocal s\n  s = to\n"
        " return lambda x: x * s, change\nf, change = make()",
        "change(3.0)",
    ),
    "a model in a cell": (
        "def make(m):\n def change(to):\n  nonlocal m\n  m = to\n return lambda x: m(x), change\n"
        "class M(nn.Module):\n def __init__(self, s): self.s = s\n"
        " def forward(self, x): return x * self.s\nf, change = make(M(2.0))",
        "change(M(3.0))",
    ),
    "settings of optimizers in a list": (
        "o = [mg.optim.SGD([nn.Parameter([1.0])], lr=2.0)]\ndef f(x): return x * o[0].lr",
        "o[0].lr = 3.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "change"), GLOBALS.values(), ids=GLOBALS)
def test_jit_captures_again_and_a_graph_refuses(backend, source, change):
    names = run(source, C=Settings)
    f, x = mg.jit(names["f"]), mg.tensor(X)
    for _ in range(4):
        equal(f(x).detach(), 2 * X)
    graph = mg.capture(names["f"], x)
    assert len(f.graphs) == 1
    exec(change, names)
    for _ in range(4):
        equal(f(x).detach(), 3 * X)
    assert len(f.graphs) == 2
    with refuses(RuntimeError, "has changed since it was captured; capture it again"):
        graph(x)


def test_a_name_that_goes(backend):
    names = run("s = 2.0\ndef f(x): return x * s")
    f = mg.jit(names["f"])
    for _ in range(3):
        f(mg.tensor(X))
    del names["s"]
    with pytest.raises(NameError):
        f(mg.tensor(X))


def test_an_equal_number_is_no_change(backend):
    names = run("s = 1000.0\ndef f(x): return x * s")
    f = mg.jit(names["f"])
    for _ in range(5):
        names["s"] = float("1000")
        f(mg.tensor(X))
    assert len(f.graphs) == 1


@pytest.mark.parametrize(
    "source",
    [
        "s = 0\ndef f(x):\n global s\n s += 1\n return x * 2",
        "class C: s = 0\nc = C()\ndef f(x):\n c.s += 1\n return x * 2",
        "class C:\n s = 0\n def g(self, x):\n  self.s += 1\n  return x * 2\nf = C().g",
        "def make():\n s = 0\n def f(x):\n  nonlocal s\n  s += 1\n  return x * 2\n return f\nf = make()",
    ],
)
def test_names_that_the_function_sets_itself(backend, source):
    f = run(source)["f"]
    for call in (mg.jit(f), lambda x: mg.capture(f, x)):
        with refuses(CaptureError, "is set inside of the captured function"):
            call(mg.tensor(X))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (list(range(1001)), "a list of 1001 items"),
        (dict.fromkeys(range(1001)), "a dict of 1001 items"),
        (np.zeros(10_000), "an array of 80000 bytes"),
    ],
)
def test_what_is_too_large_is_refused(backend, value, words):
    f = mg.jit(lambda x: x * len(value))
    with refuses(CaptureError, words):
        f(mg.tensor(X))
    value = tuple(range(2000))
    equal(f(mg.tensor(X)), 2000 * X)


def test_a_function_that_calls_itself(backend):
    def halve(x, n):
        return halve(x * 0.5, n - 1) if n else x

    f = mg.jit(halve)
    for _ in range(3):
        equal(f(mg.tensor(X), 2), X / 4)


def test_two_functions_share_a_name(backend):
    names = run("s = 2.0\ndef f(x): return x * s\ndef g(x): return x + s")
    f, g, x = mg.jit(names["f"]), mg.jit(names["g"]), mg.tensor(X)
    for s in (2.0, 3.0, 2.0):
        names["s"] = s
        for _ in range(3):
            equal(f(x), X * s)
            equal(g(x), X + s)
    assert len(f.graphs) == len(g.graphs) == 2


def test_a_container_that_holds_itself(backend):
    model = nn.Linear(2, 2)
    model.notes = [1.0]
    model.notes.append(model.notes)
    x = mg.ones((1, 2))
    fast = mg.jit(model)
    for _ in range(3):
        np.testing.assert_array_equal(fast(x).numpy(), model(x).numpy())


def test_what_is_not_read_does_not_count(backend):
    @dataclass
    class Trainer:
        scale = 2.0
        steps: int = 0
        images: object = dataclasses.field(default_factory=lambda: np.zeros((1000, 1000)))

        def step(self, x):
            return x * self.scale

    trainer, cfg = Trainer(), types.ModuleType("cfg")
    cfg.lr, cfg.unread = 3.0, 0
    f, x = mg.jit(lambda x: trainer.step(x) * cfg.lr), mg.tensor(X)
    for _ in range(3):
        equal(f(x), 6 * X)
        trainer.steps += 1
        cfg.unread += 1
    assert len(f.graphs) == 1
