"""A training step of 1 and 2 processes, one thread each, beside PyTorch's DDP: ``python -m benchmarks.distributed``.

The same processes run all peers, block of steps by block of steps in turns: minigrad over MPI, and DDP over Gloo. DDP
normalizes by the statistics of each part (PyTorch's SyncBatchNorm is for GPUs), and so does the peer ``apart``, whose
parameters must be DDP's; ``synchronized`` normalizes by those of the whole batch, which costs two messages for each
batch norm. ``communication`` is the time of a step that is spent in MPI, the wait for the other process included.

With --plot, the share of the time that computing has with up to 1,024 processes, by a model of the transport that was
measured with two: a small message takes latency * log2(P) + (P - 1) * 4 KiB / bandwidth, the gradients' sum three
latencies * log2(P) + 2 * bytes / bandwidth; each process keeps its part, and nobody waits for a slower one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import distributed as dist

from .environment import THREAD_VARIABLES
from .workloads import cnn, mlp
from .workloads.training import LR, Inputs, loaded, loaded_torch

#: batches of all processes, and steps of a block
WORKLOADS = {"mlp": (mlp, 512, 20), "cnn": (cnn, 256, 3)}
PEERS = ("eager", False, False), ("captured", True, False), ("captured, synchronized", True, True)
Step = tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]


def part(inputs: Inputs) -> list[tuple[np.ndarray, np.ndarray]]:
    own = slice(dist.rank(), None, dist.size())
    return [(x[own], labels[own]) for x, labels in inputs.batches]


def ours(synchronized: bool, model: Any, inputs: Inputs, captured: bool) -> Step:
    model = loaded(model, inputs)
    optimizer = mg.optim.SGD(model.parameters(), lr=LR)
    data = cycle([(mg.tensor(x), mg.tensor(labels)) for x, labels in part(inputs)])

    def train(x: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        optimizer.zero_grad()
        with dist.synchronized(model) if synchronized else nullcontext():
            loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        dist.average_gradients(model)
        optimizer.step()
        return loss

    run = mg.jit(train) if captured else train
    return lambda: run(*next(data)), lambda: [p.numpy() for p in model.parameters()]


def ddp(model: Any, inputs: Inputs, *_: Any) -> Step:
    import torch

    model = loaded_torch(model, inputs)
    run = torch.nn.parallel.DistributedDataParallel(model) if dist.size() > 1 else model
    criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=LR)
    data = cycle([(torch.tensor(x), torch.tensor(labels)) for x, labels in part(inputs)])

    def step() -> None:
        x, labels = next(data)
        optimizer.zero_grad()
        criterion(run(x), labels).backward()
        optimizer.step()

    return step, lambda: [p.numpy(force=True) for p in model.parameters()]


def timed(step: Callable[[], Any], steps: int) -> float:
    for _ in range(2):
        step()
    dist.init().agree("a block")
    start = perf_counter()
    for _ in range(steps):
        step()
    return (perf_counter() - start) / steps


def measure(name: str, rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each peer, one for each round; "communication": of the last of ours."""
    module, batch, steps = WORKLOADS[name]
    inputs = module.build(batch, batches=4)
    peers = {"DDP": module.with_torch(inputs, train=ddp)}
    for title, captured, synchronized in PEERS:
        peers[title] = module.with_minigrad(inputs, captured, partial(ours, synchronized))
    for title in ("DDP", "eager"):
        for _ in range(5):
            peers[title][0]()
    for a, b in zip(peers["DDP"][1](), peers["eager"][1](), strict=True):
        assert np.abs(a - b).max() <= 1e-3 * np.abs(a).max(), "DDP computes something else"
    times: dict[str, list[float]] = {title: [] for title in (*peers, "communication")}
    host, spent = dist.init(), [0.0]

    def clocked(send: Any, *args: Any) -> Any:
        start = perf_counter()
        found = send(*args)
        spent[0] += perf_counter() - start
        return found

    host.all_reduce, host.all_gather = (
        partial(clocked, f) for f in (host.all_reduce, host.all_gather)
    )
    order = list(peers)
    for turn in range(rounds):
        for title in order[turn % len(order) :] + order[: turn % len(order)]:
            spent[0] = 0.0
            times[title].append(timed(peers[title][0], steps))
            if title == PEERS[-1][0]:
                times["communication"].append(spent[0] / (steps + 2))
    return times


def transport() -> dict[str, float]:
    """Seconds of the smallest message, and bytes per second of a large sum, with two processes in step."""

    def best(send: Callable[[], Any]) -> float:
        times = []
        for _ in range(200):
            start = perf_counter()
            send()
            times.append(perf_counter() - start)
        return median(times)

    large = np.ones(2**19, np.float32)
    latency = best(lambda: dist.init().agree("the latency"))
    seconds = best(lambda: dist.init().all_reduce(large, "the bandwidth"))
    return {"latency": latency, "bandwidth": 2 * large.nbytes / (seconds - 3 * latency)}


def plot(path: str, latency: float, bandwidth: float, computing: dict[str, float]) -> None:
    """Draw the share of computing against the number of processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes, processes = figure.subplots(), 2 ** np.arange(1, 11)
    for name, seconds in computing.items():
        shapes = [w.shape for w in WORKLOADS[name][0].build(2, batches=1).weights]
        norms, gradients = len(shapes) - 1, 4 * sum(int(np.prod(shape)) for shape in shapes)
        start = latency * np.log2(processes)
        small = start + (processes - 1) * dist.SLOT / bandwidth
        sent = 2 * norms * small + small + 2 * start + 2 * gradients / bandwidth
        axes.plot(
            processes, seconds / (seconds + sent), "o-", label=f"{name}: {1e3 * seconds:.1f} ms"
        )
    title = f"latency {1e6 * latency:.0f} us, {bandwidth / 1e9:.1f} GB/s, synchronized batch norm"
    axes.set(
        xscale="log", ylim=(0, 1), xlabel="processes", ylabel="share of computing", title=title
    )
    axes.set_xticks(processes, processes)
    axes.legend(title="computing of a part", frameon=False)
    figure.savefig(path, dpi=140)


def launched(rounds: int) -> None:
    """One of the processes: measure, and print the times on rank 0."""
    import torch

    torch.set_num_threads(1)
    mg.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    os.environ.update(address, RANK=str(dist.rank()), WORLD_SIZE=str(dist.size()))
    torch.distributed.init_process_group("gloo")
    found: dict[str, Any] = {"transport": transport()}
    found |= {name: measure(name, rounds) for name in WORKLOADS}
    torch.distributed.destroy_process_group()
    if dist.rank() == 0:
        print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distributed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--plot", metavar="FILE", help="draw how it scales, by a model")
    parser.add_argument("--launched", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.launched:
        launched(options.rounds)
        return
    again = [
        sys.executable,
        "-m",
        "benchmarks.distributed",
        "--launched",
        f"--rounds={options.rounds}",
    ]
    one_thread = os.environ | dict.fromkeys((*THREAD_VARIABLES, "NUMBA_NUM_THREADS"), "1")
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    mpiexec = shutil.which("mpiexec", path=beside)
    if mpiexec is None:
        raise SystemExit('there is no mpiexec: pip install "minigrad-bn[mpi]"')
    for processes in (1, 2):
        command = [mpiexec, "-n", str(processes), *again]
        run = subprocess.run(command, env=one_thread, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        speed = found.pop("transport")
        for name, times in found.items():
            print(f"{name}, batch {WORKLOADS[name][1]}, processes: {processes}")
            for title, values in times.items():
                ratios = sorted(a / b for a, b in zip(values, times["DDP"], strict=True))
                spread = f"[{ratios[0]:.2f} .. {ratios[-1]:.2f}]"
                milliseconds = f"{1e3 * median(values):9.3f} ms"
                print(f"  {title:<24}{milliseconds}   over DDP {median(ratios):.2f} {spread}")
    print(f"latency {1e6 * speed['latency']:.0f} us, {speed['bandwidth'] / 1e9:.2f} GB/s")
    if options.plot:
        last, sent = PEERS[-1][0], "communication"
        plot(
            options.plot,
            **speed,
            computing={n: median(t[last]) - median(t[sent]) for n, t in found.items()},
        )


if __name__ == "__main__":
    main()
