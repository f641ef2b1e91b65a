"""``python -m benchmarks --backend cupy`` with stand-ins for the GPU: strict device, PyTorch on the CPU, set clocks."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import nullcontext
from datetime import date
from functools import partial
from types import SimpleNamespace as Fake

import numpy as np
import pytest
import strict

from benchmarks import agreement, device, environment, harness, report
from benchmarks.__main__ import main, parse
from benchmarks.workloads import bn, cnn, mlp, resnet, training
from benchmarks.workloads.gpu import CHANNELS_LAST, COMPILED, GPU, GRAPH
from benchmarks.workloads.kernels import WITHOUT, kernels
from benchmarks.workloads.training import fit_minigrad
from minigrad import backend as backends
from minigrad.graph.recorded import Recorded
from minigrad.kernels.cuda import LaunchedKernels
from minigrad.kernels.cupy import CupyKernels
from minigrad.kernels.generic import Kernels

SMALL = {
    "mlp": partial(mlp.build, 6, (12, 8, 8, 10), batches=2),
    "cnn": partial(cnn.build, 4, batches=2, mean=1.0),
    "resnet20": partial(resnet.build, 4, batches=2),
}
KERNELS = {workload.name: workload.build for workload in kernels(8, 2, 6, 5, 7)}
RECORDED = training.recorded
WITH_TORCH = [(name, peer) for name in GPU for peer in GPU[name].makers if "torch" in peer]


def build_of(name):
    """Small inputs for a workload; of batch norm's, the dtype and the order of the axes are in the name."""
    kind, *words = name.split("-")
    if kind == "bn":
        dtype = words[1] if words[0] != "eval" else "float32"
        last = words[0].endswith("x64")
        return partial(bn.build, (4, 5, 5, 3) if last else (4, 3, 5, 5), 3 if last else 1, dtype)
    return KERNELS[name] if kind == "kernel" else SMALL[kind]


class ElementwiseKernel:
    """CuPy's, for statements that Python reads the same way."""

    def __init__(self, inputs, output, statement, name):
        self.names, self.statement = [word for word in inputs.split() if word != "T"], statement

    def __call__(self, *arrays):
        known = {n.strip(","): a.hidden for n, a in zip(self.names, arrays, strict=True)}
        exec(self.statement, {"max": np.maximum, "exp": np.exp, "T": np.float32}, known)
        return type(arrays[0])(known["z"])


def recorded(work, *examples):
    """PyTorch's graph where there is no GPU: what it has done before it is replayed, too."""
    for _ in range(4):
        work(*examples)
    return work


def compiled(f, dynamic):
    """Not by PyTorch's compiler, which takes a minute for a CPU; it is asked for these shapes alone."""
    assert dynamic is False
    return f


@pytest.fixture
def pytorch(torch, monkeypatch):
    monkeypatch.setattr(torch, "compile", compiled)
    return torch


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # with PyTorch in memory it takes its time
    monkeypatch.setattr(training, "recorded", recorded)
    module = backends.get("strict").xp
    monkeypatch.setattr(module, "ElementwiseKernel", ElementwiseKernel, raising=False)
    for name, workload in GPU.items():
        build, makers = build_of(name), dict(workload.makers)
        if not strict.emulated():
            makers.pop(WITHOUT, None)  # it is one of the kernel sets that are launched
        monkeypatch.setitem(
            GPU, name, dataclasses.replace(workload, build=build, makers=makers, block=1)
        )


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def stand_in(ours=agreement.wall, theirs=agreement.wall, torch="cpu"):
    facts = {"device": "Card 9000-X", "commit": "0" * 40}
    clocks = {None: ours, "torch": theirs}
    return device.Device("Card 9000-X", "strict", torch, clocks, facts, lambda: None)


def always(seconds):
    """A clock that works, and says the same every time."""

    def clock(work):
        work()
        return seconds

    return clock


def measured(monkeypatch, folder, workloads, gpu, *more):
    """The workloads' results in the only file that the command writes."""
    monkeypatch.setattr(device, "find", lambda: gpu)
    main(["--backend=cupy", f"--workloads={workloads}", "--rounds=2", *more])
    (file,) = folder.iterdir()
    return {w["name"]: w for w in json.loads(file.read_text())["runs"][0]["workloads"]}


def test_the_one_command(monkeypatch, results, capsys, pytorch):
    monkeypatch.setattr(device, "find", stand_in)
    main(["--backend=cupy", "--rounds=2"])
    assert backends.default().name == "numpy"
    (file,) = results.iterdir()
    assert file.name == f"{date.today()}_card_9000_x.json"
    (run,) = json.loads(file.read_text())["runs"]
    assert run["environment"].items() >= stand_in().facts.items()
    assert {"NumPy", "CuPy", "torch"} <= set(run["environment"])
    assert [result["name"] for result in run["workloads"]] == list(GPU)
    for result in run["workloads"]:
        workload = GPU[result["name"]]
        assert list(result["measured"]) == list(workload.makers)
        others = set(workload.makers) - {agreement.OURS, agreement.FLOOR}
        assert set(result["largest_difference"]) == others
        assert {t["peer"]: t["at_most"] for t in result["targets"]} == workload.targets
        assert all(t["met"] is (t["measured"] <= t["at_most"]) for t in result["targets"])
    printed = capsys.readouterr().out
    assert "Card 9000-X" in printed and f"written: {file}" in printed
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1 and len(rows) == len(GPU) + 2
    assert rows[0].split("|")[3:7] == [" eager ", " torch ", f" {GRAPH} ", " floor "]


def test_what_is_asked_for():
    large, small = ("64x64x112x112", "64x112x112x64"), ("256x1024", "8x2048x7x7")
    beside, images = {"torch": 1.0, COMPILED: 1.0}, {"torch": 1.0, CHANNELS_LAST: 1.0}
    asked = {"mlp-captured": {"torch": 0.2, GRAPH: 1.0}}
    for dtype in ("float32", "float16", "bfloat16"):
        asked |= {f"bn-{shape}-{dtype}-captured": {"floor": 1.15} | beside for shape in large}
        asked |= {f"bn-{shape}-{dtype}-captured": {GRAPH: 1.0} | beside for shape in small}
    asked |= {"cnn-captured": images, "resnet20-captured": images, "bn-eval": {}}
    assert {n: w.targets for n, w in GPU.items() if not n.startswith("kernel-")} == asked


def test_each_kernel_is_beside_array_code_and_formulas_beside_cupys_own():
    #: they are there so that a step can be recorded, or are part of others
    also = {"check", "concatenate", "count", "decay", "undoing", "add_bias", "add_product"}
    parts = {base for base in CupyKernels.__mro__ if not issubclass(Kernels, base)}
    own = {name for part in parts for name, f in vars(part).items() if callable(f)}
    own = {name for name in own if not name.startswith("_")} - also - set(vars(LaunchedKernels))
    measured = {w.name.removeprefix("kernel-"): w for w in kernels()}
    used = {
        name for w in measured.values() for name in w.makers["minigrad"].args[1].__code__.co_names
    }
    assert own <= used
    for name, workload in measured.items():
        assert workload.targets.pop("generic") == 1 / 1.2
        formula = name.partition("_")[0] in ("sigmoid", "relu")
        assert workload.targets == ({"ElementwiseKernel": 1.0} if formula else {})


@pytest.mark.parametrize(("theirs", "met"), [(5.0, True), (4.9, False)])
def test_five_times_faster_or_not(theirs, met, monkeypatch, results, capsys, pytorch):
    gpu = stand_in(always(1.0), always(theirs))
    target, _ = measured(monkeypatch, results, "mlp-captured", gpu)["mlp-captured"]["targets"]
    assert target == {"peer": "torch", "at_most": 0.2, "measured": 1 / theirs, "met": met}
    printed = capsys.readouterr().out
    assert f"minigrad / torch at most 0.2: {'met' if met else 'missed'}\n" in printed
    assert f"| `mlp-captured` | 1e+03 | 1.00 | {1 / theirs:.2f} |" in printed


def test_without_pytorch_its_targets_are_not_measured(monkeypatch, results, capsys):
    for module in (harness, environment):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    gpu = stand_in(always(1.0))
    name = "bn-64x64x112x112-float32-captured"
    floor, torch, _ = measured(monkeypatch, results, name, gpu)[name]["targets"]
    assert (floor["met"], torch["met"], torch["measured"]) == (True, None, None)
    assert "minigrad / torch at most 1: not measured" in capsys.readouterr().out


def test_a_peer_that_computes_something_else_is_refused(monkeypatch, results):
    def wrong(inputs):
        return mlp.with_minigrad(inputs._replace(weights=[2 * w for w in inputs.weights]))

    workload = GPU["mlp-captured"]
    makers = {**workload.makers, "eager": wrong}
    monkeypatch.setitem(GPU, workload.name, dataclasses.replace(workload, makers=makers))
    monkeypatch.setattr(harness, "measure", lambda *args: pytest.fail("timed"))
    monkeypatch.setattr(device, "find", stand_in)
    with pytest.raises(SystemExit, match=r"mlp-captured: .*eager and minigrad disagree"):
        main(["--backend=cupy", "--workloads=mlp-captured", "--peers="])
    assert backends.default().name == "numpy"


def test_what_fails_is_said_and_the_rest_is_measured(monkeypatch, results, pytorch, capsys):
    def broken(*inputs, **how):
        raise RuntimeError("\nno kernel image\nand so on")

    def makers(name, **changed):
        workload = GPU[name]
        changed = dataclasses.replace(workload, makers={**workload.makers, **changed})
        monkeypatch.setitem(GPU, name, changed)

    makers("cnn-captured", minigrad=broken)
    makers("mlp-captured", torch=broken)
    with pytest.raises(SystemExit) as stopped:
        measured(monkeypatch, results, "cnn,mlp", stand_in())
    assert stopped.value.code == "cnn-captured: RuntimeError: no kernel image"
    (run,) = json.loads(next(results.iterdir()).read_text())["runs"]
    assert run["failed"] == {"cnn-captured": "RuntimeError: no kernel image"}
    (mlp_,) = run["workloads"]
    assert mlp_["left_out"] == {"torch": "not working here (RuntimeError: no kernel image)"}
    assert set(mlp_["measured"]) == {"minigrad", "eager", GRAPH}
    assert "torch is not working here" in capsys.readouterr().out


@pytest.mark.parametrize("momentum", [0.0, 0.85])
def test_a_wrong_update_shows_without_gradients(momentum):
    def wrong(inputs):
        return resnet.without_gradients(
            fit_minigrad(resnet.network(), inputs, lr=resnet.LR, momentum=momentum)
        )

    makers = {agreement.OURS: resnet.with_minigrad, "other": wrong}
    with pytest.raises(agreement.Disagreement, match="at step 2"):  # momentum's first effect
        harness.run(dataclasses.replace(GPU["resnet20-captured"], makers=makers), (), rounds=1)


@pytest.mark.parametrize(("name", "peer"), WITH_TORCH)
def test_all_of_pytorchs_tensors_are_created_on_the_device(name, peer, pytorch):
    """On PyTorch's meta device: mixing devices and reading values are errors."""
    before = pytorch.get_default_device()
    with stand_in(torch="meta").peers() as start:
        made = start(name, peer)
        assert pytorch.get_default_device() == before
        made.step()
        with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
            made.numbers()


@pytest.mark.parametrize(
    ("name", "passes"), [("bn-64x64x112x112-float16-captured", 8), ("bn-eval", 2)]
)
def test_the_floor_moves_what_batch_norm_must_move(name, passes, monkeypatch):
    moved = []

    def copyto(to, source):
        assert to.shape == source.shape == (4, 3, 5, 5)
        assert to.dtype == source.dtype == ("float16" if "float16" in name else "float32")
        moved.append((id(to), id(source)))

    monkeypatch.setattr(backends.get("strict").xp, "copyto", copyto, raising=False)
    with stand_in().peers() as start:
        start(name, "floor").step()
    assert 2 * len(moved) == passes
    assert len({array for pair in moved for array in pair}) == min(passes, 4)


def test_pytorch_compiles_each_shape_anew(monkeypatch, pytorch):
    """Of many shapes in one process it would compile one for all, and after eight run the rest eagerly."""
    resets = []
    monkeypatch.setattr(pytorch.compiler, "reset", lambda: resets.append(None))
    names = [name for name, workload in GPU.items() if COMPILED in workload.makers]
    with stand_in().peers() as start:
        for name in names:
            start(name, COMPILED)
    assert len(resets) == len(names) == 12


def test_a_graph_of_pytorchs_reads_what_it_is_given(monkeypatch, torch):
    log, works = [], []

    class Graph:
        def replay(self):
            works[0](*works[1])

    def work(x, y):
        works[:] = work, (x, y)
        log.append((x.item(), y.item()))

    stream = Fake(wait_stream=lambda other: None)
    stand_ins = {"Stream": lambda: stream, "current_stream": lambda: stream, "CUDAGraph": Graph}
    stand_ins |= {"stream": lambda s: nullcontext(), "graph": lambda g, **how: nullcontext()}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    x, y = torch.tensor(1.0), torch.tensor(2.0)
    replay = RECORDED(work, x, y)
    assert log == [(1, 2)] * 4
    replay(torch.tensor(3.0), torch.tensor(4.0))
    assert log[4:] == [(3, 4)]
    assert (x.item(), y.item()) == (1, 2)


@pytest.mark.skipif(
    not strict.emulated(), reason="needs g++, and MINIGRAD_KERNELS other than numpy"
)
@pytest.mark.parametrize("name", [name for name in GPU if name.endswith("-captured")])
def test_what_is_said_to_be_captured_is_one_recording(name, monkeypatch):
    """Which is given nothing but the batch, and nothing is copied out of it but the loss."""
    replays = []

    def run(self, inputs):
        if found := replay(self, inputs):
            leaving = len(self._gradients) + len(self._wanted)
            replays.append((len(self._brought), leaving - len(self._lent)))
        return found

    replay = Recorded.run
    monkeypatch.setattr(Recorded, "run", run)
    alone = name.startswith("bn")
    with stand_in().peers() as start:
        start(name, "minigrad").repeat(1 if alone else 6)
    assert replays[-1] == ((0, 0) if alone else (2, 1))


def test_times_lie_between_events():
    log = []

    class Event:
        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("synchronize")

    clock = device.events(Event, lambda start, stop: 250.0)
    assert clock(lambda: log.append("work")) == 0.25
    assert log == ["record", "work", "record", "synchronize"]


def fake_cupy():
    properties = {"name": b"Card 9000-X", "major": 9, "minor": 1}
    runtime = Fake(
        getDeviceProperties=lambda i: properties,
        runtimeGetVersion=lambda: 13020,
        driverGetVersion=lambda: 13030,
    )
    cuda = Fake(runtime=runtime, Device=lambda: Fake(id=0), Event=None, get_elapsed_time=None)
    pool = Fake(free_all_blocks=lambda: None)
    return Fake(cuda=cuda, get_default_memory_pool=lambda: pool, __version__="14.2.0")


def fake_torch(has_gpu=True):
    flags = Fake(allow_tf32=True, version=lambda: 91900, benchmark=False)
    event = type("Event", (), {"elapsed_time": None})
    cuda = Fake(is_available=lambda: has_gpu, Event=event, empty_cache=lambda: None)
    found = Fake(cuda=Fake(matmul=Fake(allow_tf32=True)), cudnn=flags)
    return Fake(cuda=cuda, backends=found, version=Fake(cuda="13.0"), __version__="2.13.0")


@pytest.fixture
def libraries(monkeypatch):
    """A function that puts stand-ins of CuPy and PyTorch in their places."""

    def put(cupy, torch):
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
        monkeypatch.setattr(device, "find_spec", lambda name: torch)
        monkeypatch.setitem(sys.modules, "torch", torch)
        others = {name: b for name, b in backends._loaded.items() if name != "cupy"}
        monkeypatch.setattr(backends, "_loaded", others)
        monkeypatch.setitem(backends._loaders, "cupy", cupy)
        monkeypatch.setattr(backends, "by_type", dict(backends.by_type))

    return put


def test_what_is_said_of_a_gpu(libraries):
    torch = fake_torch()
    libraries(lambda: Fake(xp=fake_cupy(), array=Fake), torch)
    found = device.find()
    assert (found.name, found.backend, found.torch) == ("Card 9000-X", "cupy", "cuda")
    assert set(found.clocks) == {None, "torch"}
    facts = json.loads(json.dumps(found.facts))
    assert facts["TF32"] == {
        "NVIDIA_TF32_OVERRIDE": "0",
        "torch.backends.cuda.matmul.allow_tf32": False,
        "torch.backends.cudnn.allow_tf32": False,
    }
    assert facts["CuPy"] == "14.2.0" and "91900" in facts["torch CUDA"]
    assert facts["capability"] == "9.1" and "13020" in facts["CUDA"]
    assert {"driver", "commit"} <= set(facts)


def refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--backend=cupy"])
    captured = capsys.readouterr()
    assert exit_.value.code == 2 and captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_without_a_gpu_there_is_one_line(libraries, capsys):
    def broken():
        raise ImportError("CuPy does\n\nnot import")

    libraries(broken, fake_torch())
    assert refused(capsys) == "python -m benchmarks: CuPy does not import\n"
    libraries(lambda: Fake(xp=fake_cupy(), array=Fake), fake_torch(has_gpu=False))
    assert "PyTorch 2.13.0 finds no GPU: it needs a CUDA build" in refused(capsys)


def test_arguments(capsys):
    assert parse(["--backend=cupy"]).workloads == list(GPU)
    assert parse(["--backend=cupy", "--workloads=cnn"]).workloads == ["cnn-captured"]
    for wrong in ("--threads=2", "--workloads=tape"):
        with pytest.raises(SystemExit):
            parse(["--backend=cupy", wrong])
        assert "error: argument --" in capsys.readouterr().err
