"""Golden files: what one version of minigrad wrote, loaded by every later one, and the numbers that it computed.

The files beside this script come from commit 098c7bf, the pickles from the first version whose objects survive pickling
in any state; ``tests/test_golden.py`` compares. To write them from another version, run the script with that version on
the path, without compiled kernels and on one thread::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MINIGRAD_KERNELS=numpy
    PYTHONPATH=CHECKOUT python tests/golden/make.py FOLDER

It uses public names only, those that every version has; attention and maxout, ``nn.Attention`` and ``nn.Maxout`` in
that commit, are those beside the models that use them. Initial values are its own: how layers draw them is a run of its
own, ``initial values``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

import minigrad as mg
from minigrad import nn, optim
from models.attention import Attention
from models.maxout_network import Maxout

#: modules whose names are public, and classes whose methods are
MODULES = ["", "nn", "nn.init", "optim", "data", "data.augment", "graph", "interop", "layers", "study"]  # fmt: skip
CLASSES = ["Tensor", "Moments", "Graph", "nn.Module", "nn.BatchNorm", "optim.Optimizer"]
#: names without an underscore that only minigrad's own files use
INTERNAL = {
    "apply", "as_value", "drawn", "filled", "floating", "floating_dtype", "last_uses", "lift", "lift_index", "load",
    "move", "moves", "registered", "require_positive", "run", "title", "wanted", "widened",
}  # fmt: skip
#: classes that functions make: their own parameters are internal
BUILT = {"Call", "CaptureError", "Difference", "Graph", "GraphDiff", "Tensor", "Value"}
DTYPES = ["float32", "float64"]
STEPS = 4


# --- names ---


def names():
    """Public names of modules and classes, one a line, with signatures without annotations."""
    lines = []
    for name in MODULES:
        module = find(name)
        chosen = getattr(module, "__all__", None) or [
            n
            for n in dir(module)
            if getattr(getattr(module, n), "__module__", "") == module.__name__
        ]
        if name == "nn.init":
            chosen = [n for n in chosen if n not in INTERNAL]
        lines += [
            describe(f"{name}.{n}".lstrip("."), getattr(module, n)) for n in chosen if n[0] != "_"
        ]
    for name in CLASSES:
        cls = find(name)
        own = [n for n in dir(cls) if n[0] != "_" and n not in INTERNAL]
        lines += [describe(f"{name}.{n}", getattr(cls, n)) for n in own]
    return sorted(set(lines))


def find(name):
    """The object that a dotted name below ``minigrad`` means."""
    value = mg
    for part in filter(None, name.split(".")):
        if not hasattr(value, part):
            __import__(f"{value.__name__}.{part}")
        value = getattr(value, part)
    return value


def describe(name, value):
    if isinstance(value, ModuleType) or not callable(value) or name.rpartition(".")[2] in BUILT:
        return name
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return name
    return f"{name}({', '.join(map(parameter, parameters))})"


def parameter(p):
    """A parameter without its annotation; a function as its default by name."""
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    only = " [keyword]" if p.kind is p.KEYWORD_ONLY else ""
    if p.default is p.empty:
        return f"{stars}{p.name}{only}"
    default = getattr(p.default, "__qualname__", None) or repr(p.default)
    return f"{p.name}={default}{only}"


# --- layers, and what they are called with ---

#: kind: (layer in float32, shape of the input, further arguments)
LAYERS = {
    "Attention": (lambda: Attention(4, 2), (2, 3, 4)),
    "BatchNorm": (lambda: nn.BatchNorm(3), (4, 3, 2, 2)),
    "BatchNorm, other settings": (
        lambda: nn.BatchNorm((2, 3), (1, 2), None, 1e-2, False, True, ddof_norm=1, ddof_running=0), (4, 2, 3)
    ),
    "BatchNorm, population": (lambda: nn.BatchNorm(3, -1, statistics="population"), (4, 2, 3)),
    "BatchRenorm": (lambda: nn.BatchRenorm(3, 1.5, 0.5), (4, 3)),
    "Conv1d": (lambda: nn.Conv1d(2, 4, 3, dilation=2, groups=2), (2, 2, 7)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, (2, 3), 2, "same"), (2, 2, 5, 6)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), (2, 2, 3, 3)),
    "DebiasedBatchNorm": (lambda: nn.DebiasedBatchNorm(3, momentum=0.9), (4, 3)),
    "FrozenBatchNorm": (lambda: nn.FrozenBatchNorm(3), (4, 3)),
    "GhostBatchNorm": (lambda: nn.GhostBatchNorm(3, 4), (6, 3)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (2, 4, 3)),
    "InstanceNorm": (lambda: nn.InstanceNorm(3, affine=True), (2, 3, 4, 4)),
    "LSTM": (lambda: nn.LSTM(3, 2), (2, 4, 3)),
    "LayerNorm": (lambda: nn.LayerNorm((2, 3)), (4, 2, 3)),
    "Linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "Maxout": (lambda: Maxout(3, 2, 3), (4, 3)),
    "RNN": (lambda: nn.RNN(3, 2), (2, 4, 3)),
    "RecurrentBatchNorm": (lambda: nn.RecurrentBatchNorm(3, 2), (4, 3), 1),
    "Sequential": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm(2), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 2), nn.Sigmoid(), nn.Tanh(),
        ),
        (4, 1, 6, 6),
    ),
}  # fmt: skip
LAYERS = {kind: (make, shape, arguments) for kind, (make, shape, *arguments) in LAYERS.items()}
#: layers of that commit that are gone: their parameters, whose initial values are drawn between those of the others
GONE = {
    "ConvLSTM": (
        lambda: Net(None, input=nn.Conv2d(2, 12, 3), hidden=nn.Conv2d(3, 12, 3, bias=False)),
    )
}


def settle(module, seed=0):
    """Set all floating parameters and buffers to values that do not depend on the initializers."""
    rng = np.random.default_rng(seed)
    for name, t in [*module.named_parameters(), *module.named_buffers()]:
        if t.dtype.kind == "f":
            values = rng.standard_normal(t.shape) / np.sqrt(max(t.shape[-1:], default=1))
            if name.rpartition(".")[2] in ("gamma", "running_var"):
                values = 1 + np.abs(values)
            t.data = mg.tensor(values.astype(t.dtype), dtype=str(t.dtype)).data
    return module


def called(layer, shape, arguments, dtype="float32"):
    """The first tensor that a layer returns for fixed numbers."""
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    y = layer(mg.tensor(x, dtype=dtype), *arguments)
    return y[0] if isinstance(y, tuple) else y


def trained(kind):
    """A layer that was called in training (where that is possible), in eval, and its output there."""
    make, shape, arguments = LAYERS[kind]
    layer = settle(make())
    if getattr(layer, "statistics", "") == "population":
        x = mg.tensor(np.random.default_rng(2).standard_normal(shape), dtype="float32")
        nn.population_statistics(layer, [x])
    mg.manual_seed(3)
    called(layer, shape, arguments)
    layer.eval()
    return layer, called(layer, shape, arguments)


def layer_states():
    arrays = {}
    for kind in LAYERS:
        layer, y = trained(kind)
        arrays |= {f"{kind}/{name}": a for name, a in layer.state_dict().items()}
        arrays[f"{kind}/ output"] = y.numpy()
    return arrays


# --- checkpoints ---


def classifier():
    """A model and its optimizer, for the checkpoint and the pickles."""
    model = settle(
        nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm(5), nn.Sigmoid(), nn.Linear(5, 3))
    )
    return model, optim.Adam(model.parameters(), lr=0.05)


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.99), weight_decay=0.01),
}


def go_on(model, optimizer, steps, seed=4):
    """Train on batches that ``seed`` decides; the losses."""
    rng, losses = np.random.default_rng(seed), []
    for _ in range(steps):
        x = mg.tensor(rng.standard_normal((6, 4)), dtype="float32")
        labels = mg.tensor(rng.integers(0, 3, 6))
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def checkpoint(model, optimizer):
    """Both states in one, as the README merges them."""
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return {f"{part}/{name}": a for part, state in states.items() for name, a in state.items()}


def pickled():
    """Objects to pickle, by name."""
    model, optimizer = classifier()
    go_on(model, optimizer, 2)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    objects = {
        "tensor": mg.tensor(x, dtype="float32"),
        "tensor that requires a gradient": mg.tensor(x, dtype="float32", requires_grad=True),
        "tensor of integers": mg.tensor(np.arange(3)),
        "parameter": nn.Parameter(x),
        "buffer": nn.Buffer(x),
        "moments": mg.moments(mg.tensor(x, dtype="float32")),
        "model and optimizer": (model, optimizer),
    }
    return objects | {f"layer {kind}": trained(kind)[0] for kind in LAYERS}


# --- runs ---


def mse(out, labels, dtype):
    """Against values that depend on the labels."""
    return mg.mse_loss(out, labels.astype(dtype).reshape(-1, 1).broadcast_to(out.shape))


def cross_entropy(out, labels, dtype):
    return mg.softmax_cross_entropy(out, labels)


momentum = partial(optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
heavy = partial(optim.SGD, lr=0.05, momentum=0.8)
sgd, adam = partial(optim.SGD, lr=0.1), partial(optim.Adam, lr=0.01, weight_decay=1e-2)


class Net(nn.Module):
    """Modules and a function of x, of shape (8, 36), and them."""

    def __init__(self, forward, **parts):
        self.function, self.names = forward, tuple(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(x.reshape(8, 36), *(getattr(self, name) for name in self.names))


def net(forward, *parts):
    """A function of the dtype that makes a Net of modules ``a``, ``b``, ..., or of functions of the dtype."""

    def make(dtype):
        made = [part if isinstance(part, nn.Module) else part(dtype=dtype) for part in parts]
        return Net(forward, **dict(zip("abcde", made, strict=False)))

    return make


def mlp(dtype, bn=nn.BatchNorm):
    first = nn.Linear(36, 7, bias=False, dtype=dtype)
    norm, last = bn(7, dtype=dtype), nn.Linear(7, 3, dtype=dtype)
    return nn.Sequential(first, norm, nn.Sigmoid(), last)


def frozen(dtype, **what):
    model = mlp(dtype)
    model[1].freeze(**what)
    return model


def regularized(x, a, b, c):
    return mg.log_softmax(c(mg.dropout(b(a(x)), 0.25)))


def recurrent(kind):
    return net(
        lambda x, a, b: b(a(x.reshape(8, 6, 6))[0][:, -1]),
        partial(kind, 6, 4),
        partial(nn.Linear, 4, 3),
    )


def of_steps(x, a, b, c):
    return c(mg.concatenate([b(a(x[:, 9 * i : 9 * i + 9]), i) for i in range(4)], axis=1))


def masked(x, a, b, c):
    """Masks in one batch norm, weights in the next."""
    keep, counts = mg.constant(np.arange(8) % 3 != 0), mg.constant(np.arange(8) % 4 + 1.0)
    return c(b(mg.sigmoid(b(a(x), mask=keep)), weight=counts))


def other_ops(x, a):
    """The ops that no layer uses."""
    u = a(x)
    v = mg.where(u > 0, u**2, mg.abs(u) ** 1.5) + mg.exp(mg.clip(u, -1, 1)) / (
        1 + mg.sqrt(u * u + 1)
    )
    w = mg.maximum(v, 0.5) - mg.minimum(v, u) + mg.log(1 + mg.var(v, axis=1, keepdims=True))
    s = mg.softmax(mg.stack([w, mg.pad(w[:, 1:], [(0, 0), (0, 1)])], axis=1), axis=2)
    return mg.matmul(s, s.transpose(0, 2, 1)).reshape(8, 4)[:, [0, 1, 3]] - mg.min(
        w, axis=1, keepdims=True
    )


conv2d, conv1d = partial(nn.Conv2d, bias=False), partial(nn.Conv1d, bias=False)
cnn = net(
    lambda x, a, b, c, d, e: e(d(c(mg.relu(b(a(x.reshape(8, 1, 6, 6))))))),
    partial(conv2d, 1, 4, 3, padding=1), partial(nn.BatchNorm, 4), nn.MaxPool2d(2), nn.Flatten(),
    partial(nn.Linear, 36, 3),
)  # fmt: skip
pooled = net(
    lambda x, a, b, c, d: mg.global_avg_pool2d(d(mg.avg_pool2d(c(mg.tanh(b(a(x.reshape(8, 1, 6, 6))))), 2))),
    partial(conv2d, 1, 4, 3, 2, "same"), partial(nn.InstanceNorm, 4, affine=True),
    partial(nn.ConvTranspose2d, 4, 6, 3, 2, 1, 1, groups=2), partial(nn.Conv2d, 6, 3, 1, groups=3),
)  # fmt: skip
sequences = net(
    lambda x, a, b, c: c(mg.max(mg.tanh(b(a(x.reshape(8, 3, 12)))), axis=2)),
    partial(conv1d, 3, 4, 3, dilation=2, padding="same"), partial(nn.GroupNorm, 2, 4), partial(nn.Linear, 4, 3),
)  # fmt: skip
regular = net(
    regularized, partial(Maxout, 36, 6, 2), partial(nn.LayerNorm, 6), partial(nn.Linear, 6, 3)
)
attentive = net(
    lambda x, a, b, c: c(mg.mean(b(a(x.reshape(8, 6, 6))), axis=1)),
    partial(Attention, 6, 2), partial(nn.LayerNorm, 6), partial(nn.Linear, 6, 3),
)  # fmt: skip
stepped = net(
    of_steps, partial(nn.Linear, 9, 4, bias=False), partial(nn.RecurrentBatchNorm, 4, 3), partial(nn.Linear, 16, 3)
)  # fmt: skip
weighted = net(
    masked,
    partial(nn.Linear, 36, 5),
    partial(nn.BatchNorm, 5, ddof_running=0),
    partial(nn.Linear, 5, 3),
)
#: batch norm per position, by the unbiased variance, and channels last with an average of all batches
settings = net(
    lambda x, a, b, c: c(b(a(x.reshape(8, 6, 6)).reshape(8, 3, 12)).reshape(8, 36)),
    partial(nn.BatchNorm, 6, -1, None, ddof_norm=1), partial(nn.BatchNorm, (3, 12), (1, 2), 0.8),
    partial(nn.Linear, 36, 3),
)  # fmt: skip
arithmetic = net(other_ops, partial(nn.Linear, 36, 3))
#: name: (model, loss, optimizer); a step is jitted where the name says so
RUNS = {
    "mlp": (mlp, cross_entropy, sgd),
    "mlp, jitted": (mlp, cross_entropy, sgd),
    "cnn": (cnn, cross_entropy, adam),
    "cnn, jitted": (cnn, cross_entropy, adam),
    "pooled": (pooled, mse, momentum),
    "pooled, jitted": (pooled, mse, heavy),
    "sequences": (sequences, mse, momentum),
    "regular": (regular, mse, heavy),
    "regular, jitted": (regular, cross_entropy, momentum),
    "lstm": (recurrent(nn.LSTM), cross_entropy, adam),
    "rnn, jitted": (recurrent(nn.RNN), cross_entropy, adam),
    "attention": (attentive, cross_entropy, adam),
    "recurrent batch norm": (stepped, cross_entropy, sgd),
    "recurrent batch norm, jitted": (stepped, cross_entropy, sgd),
    "masks and weights": (weighted, cross_entropy, sgd),
    "settings of batch norm": (settings, cross_entropy, momentum),
    "ghost batch norm": (partial(mlp, bn=partial(nn.GhostBatchNorm, virtual_batch_size=3)), mse, sgd),
    "batch renormalization": (partial(mlp, bn=partial(nn.BatchRenorm, r_max=1.5, d_max=0.5)), mse, sgd),
    "debiased, jitted": (partial(mlp, bn=nn.DebiasedBatchNorm), mse, sgd),
    "batch statistics": (partial(mlp, bn=partial(nn.BatchNorm, statistics="batch")), mse, sgd),
    "frozen": (frozen, mse, sgd),
    "half frozen": (partial(frozen, affine=False, moving=False), mse, sgd),
    "arithmetic": (arithmetic, mse, adam),
    "arithmetic, jitted": (arithmetic, mse, sgd),
}  # fmt: skip


def batches(dtype):
    rng = np.random.default_rng(5)
    for _ in range(STEPS):
        x = mg.tensor(rng.standard_normal((8, 36)), dtype=dtype)
        yield x, mg.tensor(rng.integers(0, 3, 8))


def run(name, dtype):
    """Losses of a training run, and the state at its end."""
    make, loss, optimizer = RUNS[name]
    mg.manual_seed(6)
    model = settle(make(dtype=dtype))
    opt = optimizer(model.parameters())
    schedule = optim.StepLR(opt, 2, 0.5) if optimizer is momentum else optim.ExponentialLR(opt, 0.9)

    def step(x, labels):
        opt.zero_grad()
        value = loss(model(x), labels, dtype)
        value.backward()
        opt.step()
        return value

    step = mg.jit(step) if "jitted" in name else step
    losses = []
    for x, labels in batches(dtype):
        losses.append(step(x, labels).item())
        schedule.step()
    state = model.state_dict() | {f"optimizer {k}": v for k, v in opt.state_dict().items()}
    model.eval()
    return losses, state | {"eval": model(x).numpy()}


def micro_batches(dtype):
    """Gradients and statistics over micro-batches; then the statistics of the population."""
    model = settle(mlp(dtype))
    losses = []
    for x, labels in batches(dtype):
        parts = [(x[i : i + 3], labels[i : i + 3]) for i in (0, 3)] + [(x[6:], labels[6:])]
        model.zero_grad()
        losses.append(
            nn.micro_batch_backward(
                model, lambda a, t: mg.softmax_cross_entropy(model(a), t), parts
            )
        )
        optim.SGD(model.parameters(), lr=0.1).step()
    state = {f"after {k}": v for k, v in model.state_dict().items()}
    nn.population_statistics(model, [x for x, _ in batches(dtype)])
    return losses, state | model.state_dict()


def penalty(dtype):
    """Training with the gradient's norm in the loss: second derivatives through batch norm."""
    model = settle(mlp(dtype))
    opt, losses = optim.SGD(model.parameters(), lr=0.05), []
    for values, labels in batches(dtype):
        x = mg.tensor(values.numpy(), dtype=dtype, requires_grad=True)
        opt.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        (gx,) = mg.grad(loss, [x], create_graph=True)
        total = loss + (gx**2).sum()
        total.backward()
        opt.step()
        losses.append(total.item())
    return losses, model.state_dict() | {"gx": x.grad.numpy()}


def initial_values(dtype):
    """How layers draw their weights; in float32, since float64 draws changed."""
    mg.manual_seed(7)
    found = {}
    for kind, (make, *_) in sorted((LAYERS | GONE).items()):
        found |= {f"{kind}/{n}": p.numpy() for n, p in make().named_parameters()}
    for name in ("glorot_normal", "he_normal", "he_uniform", "normal", "uniform"):
        found[name] = np.asarray(getattr(nn.init, name)((2, 3), np.random.default_rng(8)))
    return [], found


OTHERS = {
    "micro-batches": micro_batches,
    "gradient penalty": penalty,
    "initial values": initial_values,
}


def digest(array):
    """The bits of an array, and two sums that hold within rounding: of absolute values, and with fixed weights."""
    array = np.ascontiguousarray(array)
    flat = array.astype(np.float64).ravel()
    bits = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]
    weighted = flat @ np.cos(np.arange(flat.size)) if flat.size else 0.0
    return [bits, float(f"{np.abs(flat).sum():.9g}"), float(f"{weighted:.9g}")]


def numbers():
    """Losses and digests of every run in each dtype."""
    found = {}
    for name in [*RUNS, *OTHERS]:
        for dtype in DTYPES:
            losses, state = OTHERS[name](dtype) if name in OTHERS else run(name, dtype)
            entry = {k: digest(v) for k, v in state.items()}
            found[f"{name}, {dtype}"] = {"losses": digest(np.array(losses)), **entry}
    return found


def machine():
    """What decides the bits that NumPy computes: compared only where this is the same."""
    config = np.show_config(mode="dicts")
    from minigrad.info import openblas

    vectors = config.get("SIMD Extensions", {}).get("found", [])
    return {"numpy": np.__version__, "vectors": vectors, "blas": str((openblas() or [""])[0])}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.txt").write_text("\n".join(names()) + "\n")
    mg.save(folder / "layers.safetensors", layer_states())
    for name, make in OPTIMIZERS.items():
        model, _ = classifier()
        optimizer = make(model.parameters())
        go_on(model, optimizer, 2)
        mg.save(folder / f"{name} before.safetensors", checkpoint(model, optimizer))
        go_on(model, optimizer, 2, seed=9)
        mg.save(folder / f"{name} after.safetensors", checkpoint(model, optimizer))
    contents = {}
    for name, value in pickled().items():
        try:
            contents[name] = pickle.dumps(value, protocol=4)
        except Exception as error:  # which objects a version can pickle is recorded too
            print(f"not pickled: {name}: {error}", file=sys.stderr)
    (folder / "pickles.pickle").write_bytes(pickle.dumps(contents, protocol=4))


if __name__ == "__main__":
    if sys.argv[1:] == ["--numbers"]:
        print(json.dumps({"machine": machine(), "runs": numbers()}))
    else:
        main(Path(sys.argv[1]))
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in numbers().items()]
        text = f'{{"machine": {json.dumps(machine())}, "runs": {{\n' + ",\n".join(lines) + "\n}}\n"
        (Path(sys.argv[1]) / "numbers.json").write_text(text)
