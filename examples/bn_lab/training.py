"""Training in the background: the sigmoid MLP on digits, without and with batch norm, in a process of its own.

It can be stopped at once, and leaves the server's interpreter to the requests. As a program it takes learning rate,
deviation and steps, and writes a line of JSON for each record; it ends when nobody reads them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import accuracy, descent, evaluations, load
from minigrad import nn
from models.mlp import MLP

ROOT = Path(__file__).parents[2]
BATCH, RECORDS = 60, 80
#: of the histograms; what is outside is counted in the outermost bins
EDGES = np.linspace(-8, 8, 49)


class Training:
    """At most one run at a time, which belongs to a session."""

    def __init__(self) -> None:
        self.lock, self.process = threading.Lock(), None
        self.owner, self.records, self.run, self.steps = "", [], 0, 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, owner: str, lr: float, std: float, steps: float) -> bool:
        """Start a run; False if there is one."""
        with self.lock:
            if self.running:
                return False
            # one core: the other one answers the page; a session of its own: Ctrl-C is for the server
            env = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "NUMBA")}
            env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
            command = [sys.executable, "-m", __name__, str(lr), str(std), str(int(steps))]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, env=env, stdout=pipe, start_new_session=True)
            self.owner, self.records, self.steps, self.run = owner, [], int(steps), self.run + 1
            reading = self.process, self.records
            threading.Thread(target=self.read, args=reading, daemon=True).start()
            return True

    @staticmethod
    def read(process: subprocess.Popen, records: list[Any]) -> None:
        with process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # the last one is cut when it is stopped
                    records.append(json.loads(line))

    def stop(self, owner: str | None = None) -> None:
        """End the run, if it is ``owner``'s."""
        with self.lock:
            if self.process is not None and owner in (None, self.owner):
                self.process.kill()
                self.process.wait()

    def progress(self, owner: str, since: int) -> dict[str, Any]:
        if owner != self.owner:
            return {"running": self.running, "mine": False, "records": []}
        failed = self.process.poll() not in (None, 0, -9)
        state = {"mine": True, "running": self.running, "failed": failed}
        return state | {"run": self.run, "steps": self.steps, "records": self.records[since:]}


def sigmoid_inputs(model: MLP, x: mg.Tensor) -> Iterator[dict[str, Any]]:
    """What enters the sigmoids of each hidden layer; as in training, x is normalized as one batch.

    A histogram, mean and deviation, and the share at which the sigmoid's slope is below 0.02, |z| > 4.
    """
    with mg.no_grad(), nn.hold_statistics():
        for layer in model.hidden:
            x = layer(x)
            z = x.numpy()[np.isfinite(x.numpy())].astype(float)
            counts = np.histogram(np.clip(z, EDGES[0], EDGES[-1]), EDGES)[0].tolist()
            numbers = (z.mean(), z.std(), (abs(z) > 4).mean()) if z.size else (0, 0, 0)
            named = zip(("mean", "std", "flat"), map(float, numbers), strict=True)
            yield {"counts": counts, **dict(named)}
            x = mg.sigmoid(x)


def run(lr: float, std: float, steps: int) -> Iterator[dict[str, Any]]:
    """Train both networks from the same weights on the same batches; a record now and then."""
    data = {k: (v[0].reshape(len(v[0]), -1), v[1]) for k, v in load("digits", BATCH).items()}
    sizes, images = (64, 100, 100, 100, 10), mg.tensor(data["test"][0])
    models = [MLP(sizes, bool(i), std=std, rng=np.random.default_rng(0)) for i in range(2)]
    for module in models[1].modules():
        if isinstance(module, nn.BatchNorm):
            module.on_nonfinite = "skip"  # a run that diverges is shown
    descents = [descent(m, mg.optim.SGD(m.parameters(), lr)) for m in models]
    loader = mg.data.DataLoader(data["train"], BATCH, drop_last=True, rng=np.random.default_rng(0))
    batches = chain.from_iterable(repeat(loader))
    losses, at = [[np.nan] * 2], {0, *evaluations(steps, RECORDS)}
    for step, batch in zip(range(steps + 1), batches, strict=False):
        if step in at:
            yield {
                "step": step,
                "loss": [float(v) if np.isfinite(v) else None for v in np.mean(losses, axis=0)],
                "accuracy": [accuracy(m, *data["test"]) for m in models],
                "layers": [list(sigmoid_inputs(m, images)) for m in models],
            }
            losses = []
        losses.append([descend(*batch).item() for descend in descents])


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of statistics before the first step
    getattr(os, "nice", int)(10)  # the page goes first
    try:
        with np.errstate(all="ignore"):
            for record in run(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])):
                print(json.dumps(record), flush=True)
    except BrokenPipeError:  # the server has ended
        os._exit(0)
