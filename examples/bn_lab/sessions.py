"""What each request is answered with, and the sessions: one for each open page while it is heard of."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

import numpy as np

import minigrad as mg
from examples.bn_lab import channel, expressions
from examples.bn_lab.fields import Refused, choice, number, read, several, text
from examples.bn_lab.training import Training
from minigrad import nn
from minigrad.study.paths import PATHS

SESSIONS, SILENCE = 4, 5.0  # seconds without a word after which a page is gone
#: mean and deviation of what the layer is fed with
POPULATIONS = {"usual": (1.0, 2.0), "other": (5.0, 3.5)}
ANY, SESSION = number(-1e6, 1e6), {"session": text(40)}
POINTS = SESSION | {"x": several(ANY, 2, 64), "gy": several(ANY, 2, 64)}
CHANNEL = POINTS | {"gamma": number(-100, 100), "beta": number(-100, 100), "eps": number(1e-12, 10)}
#: the fields of each request
REQUESTS = {
    "open": {}, "close": SESSION, "stop": SESSION,
    "channel": CHANNEL | {"lr": number(0, 100), "paths": several(choice(*PATHS), 0, len(PATHS))},
    "running": SESSION | {
        "action": choice("reset", "train", "look", "move"), "population": choice(*POPULATIONS),
        "momentum": number(0, 1), "x": several(ANY, 2, 64),
    },
    "check": CHANNEL | {"name": choice(*expressions.ASKED), "expression": text(2000)},
    "train": SESSION | {"lr": number(1e-6, 1e3), "std": number(1e-6, 100), "steps": number(10, 5000)},
    "progress": SESSION | {"since": number(0, 1000)},
}  # fmt: skip


class Session:
    """A page: when it was heard of last, and its batch norm layer of one channel."""

    def __init__(self) -> None:
        self.seen, self.lock = time.monotonic(), threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.rng, self.history = np.random.default_rng(1), []
        self.layer = nn.BatchNorm(1, momentum=0.9, dtype=np.float64)

    def answer(self, action: str, population: str, momentum: float, x: list) -> dict[str, Any]:
        """A batch, new unless it is moved, in training and eval, and the gradients of its first y; "train" updates."""
        if action == "reset":
            self.reset()
        layer, trains, self.layer.momentum = self.layer, action in ("reset", "train"), momentum
        normal = POPULATIONS[population]
        given = channel.column(x if action == "move" else self.rng.normal(*normal, 8))
        given.requires_grad, first = True, channel.column([1.0, *[0.0] * (len(given) - 1)])
        y, mean, var = mg.batch_norm(given, layer.gamma, layer.beta, eps=layer.eps)
        if trains:
            y = layer.train()(given)
        z = layer.eval()(given)
        if trains:
            self.history = [*self.history, [mean.item(), layer.running_mean.item()]][-200:]

        def line(mean: mg.Tensor, var: mg.Tensor) -> dict[str, float]:
            """Statistics, and the affine map that normalizing by them is."""
            given = channel.column([0, 1]), layer.gamma, layer.beta, mean, var
            y0, y1 = channel.listed(mg.frozen_batch_norm(*given, eps=layer.eps))
            return {"mean": mean.item(), "scale": y1 - y0, "shift": y0}

        found = {k: channel.listed(v) for k, v in (("x", given), ("train", y), ("eval", z))}
        return found | {
            "dx": [channel.listed(mg.grad([out], [given], [first])[0]) for out in (y, z)],
            "batch": line(mean, var), "running": line(layer.running_mean, layer.running_var),
            "gap": abs(y - z).max().item(), "batches": layer.num_batches.item(), "history": self.history,
        }  # fmt: skip


class Lab:
    """All state of the server: sessions, one training, one check at a time."""

    def __init__(self) -> None:
        self.lock, self.sessions = threading.Lock(), {}
        self.training, self.checking = Training(), threading.Lock()

    def answer(self, name: str, body: bytes) -> dict[str, Any]:
        """The answer to a request; ``Refused`` says why there is none."""
        values = read(body, REQUESTS[name])
        if "gy" in values and len(values["gy"]) != len(values["x"]):
            raise Refused(400, "gy: expected as many numbers as in x")
        if name == "open":
            return self.open()
        key = values.pop("session")
        session = self.sessions.get(key)
        if session is None:
            raise Refused(410, "there is no such session (any more): reload the page")
        session.seen = time.monotonic()
        if name == "channel":
            return channel.channel(**values)
        if name == "running":
            with session.lock:
                return session.answer(**values)
        if name == "check":
            with self.checking:
                return expressions.judge(**values)
        if name == "progress":
            return self.training.progress(key, int(values["since"]))
        if name == "train" and not self.training.start(key, **values):
            raise Refused(409, "a training is running: stop it first", "已有训练在运行：请先停止")
        if name == "close":
            self.close(key)
        if name == "stop":
            self.training.stop(key)
        return {"run": self.training.run}

    def open(self) -> dict[str, Any]:
        with self.lock:
            if len(self.sessions) >= SESSIONS:
                english = f"{SESSIONS} pages are open: close one, and reload this"
                raise Refused(429, english, f"已打开 {SESSIONS} 个页面：请关闭一个，再刷新本页")
            self.sessions[key := secrets.token_urlsafe(12)] = Session()
        return {"session": key, "names": {n: expressions.known(n) for n in expressions.ASKED}}

    def close(self, key: str) -> None:
        with self.lock:
            self.sessions.pop(key, None)
        self.training.stop(key)

    def forget_silent_pages(self) -> None:
        with self.lock:
            gone = [k for k, s in self.sessions.items() if s.seen < time.monotonic() - SILENCE]
        for key in gone:
            self.close(key)
