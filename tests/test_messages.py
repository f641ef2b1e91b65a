"""Messages for typical mistakes: the function, what it expected, what it got, and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


class Tensor:
    """Another library's, as far as can be seen without it."""

    __module__ = "torch"

    def __dlpack__(self, **how):
        raise NotImplementedError

    def __dlpack_device__(self):
        return 1, 0


class Foreign:
    """Another library's layer."""

    def __call__(self, x):
        return x


FOREIGN = "expected a minigrad Tensor, got torch.Tensor: use mg.from_dlpack"
CAST = r"cast x with x\.astype\('float32'\)"
WRAP = "expected a minigrad Tensor, got numpy.ndarray; wrap it with minigrad.tensor"

#: a line of a program, the error, and patterns of its message; ``torch`` is a foreign tensor
MISTAKES = [
    *[
        (call, TypeError, rf"^[\w ,]+: {re.escape(FOREIGN)}$")
        for call in [
            "mg.relu(torch)", "mg.exp(torch)", "x + torch", "torch * x", "x @ torch", "x[torch]",
            "mg.where(x > 0, x, torch)", "mg.concatenate([x, torch])", "mg.stack([torch])", "mg.linear(x, torch)",
            "mg.mse_loss(x, torch)", "mg.softmax_cross_entropy(x, torch)", "mg.grad(x, torch)",
            "p.sum().backward(torch)", "mg.optim.SGD([torch], 0.1)", "linear(torch)", "nn.LayerNorm(3)(torch)",
            "nn.LSTM(3, 4)(torch)", "mg.moments(torch)",
        ]
    ],
    ("linear(a)", TypeError, f"^linear, argument x: {WRAP}"),
    ("mg.relu(mg.batch_norm(x, None, None))", TypeError, "tuple of 3.*batch_norm returns y, mean, var"),
    ("x + mg.batch_norm(x, None, None)", TypeError, "^add: .*batch_norm returns y, mean, var"),
    ("mg.relu(nn.ReLU)", TypeError, "ReLU is a class; call it first"),
    ("mg.relu(nn.ReLU())", TypeError, "got minigrad.ReLU: call it with a Tensor first"),
    *[
        (f"{layer}(mg.ones({shape}, dtype='{dtype}'))", TypeError, rf"x is {dtype} and .* float32: {CAST}")
        for dtype in ["float64", "float16"]
        for layer, shape in [
            ("linear", (4, 3)), ("nn.Conv1d(3, 4, 1)", (1, 3, 4)), ("nn.Conv2d(3, 4, 1)", (1, 3, 4, 4)),
            ("nn.ConvTranspose2d(3, 4, 1)", (1, 3, 4, 4)), ("nn.RNN(3, 4)", (2, 5, 3)), ("nn.BatchNorm(3)", (4, 3)),
            ("nn.BatchNorm(3, scale=False, center=False)", (4, 3)), ("nn.LayerNorm(3)", (4, 3)),
            ("nn.GroupNorm(1, 3)", (4, 3)), ("nn.InstanceNorm(3, affine=True)", (4, 3, 2)),
        ]
        if dtype == "float64" or "Norm" not in layer
    ],
    *[
        (f"{layer}(mg.ones({shape}, dtype='{dtype}'))", TypeError, rf"{dtype}.*{CAST}")
        for dtype in ["int64", "uint8"]
        for layer, shape in [
            ("linear", (4, 3)), ("nn.Conv2d(3, 4, 1)", (1, 3, 4, 4)), ("nn.BatchNorm(3)", (4, 3)),
            ("nn.MaxPool2d(2)", (1, 1, 4, 4)), ("nn.LSTM(3, 4)", (2, 5, 3)), ("mg.relu", (3,)), ("mg.softmax", (3,)),
        ]
    ],
    ("mg.linear(x, mg.ones((2, 3)), mg.ones(2, dtype='float64'))", TypeError, "expected bias of dtype float32"),
    ("np.exp(x)", TypeError, r"^numpy.exp: .*mg\.exp"),
    ("np.sqrt(x)", TypeError, r"mg\.sqrt"),
    ("np.abs(x)", TypeError, r"mg\.abs"),
    ("np.maximum(x, 0)", TypeError, r"mg\.maximum"),
    ("np.mean(x)", TypeError, r"^numpy.mean: .*\.mean\(\)"),
    ("np.sum(x, axis=0)", TypeError, r"\.sum\(\)"),
    ("np.concatenate([x, x])", TypeError, r"mg\.concatenate"),
    ("np.where(x > 0, x, 0)", TypeError, r"mg\.where"),
    ("np.isnan(x)", TypeError, r"\.numpy\(\)"),
    ("np.add(a, x, out=a)", TypeError, r"\.numpy\(\)"),
    ("np.add.reduce(x)", TypeError, r"^numpy.add.reduce: .*\.numpy\(\)"),
    ("mg.tensor([x, x])", TypeError, r"call \.numpy\(\); minigrad\.stack"),
    ("mg.tensor([[1], [1, 2]])", ValueError, "^tensor: expected numbers in lists of equal lengths"),
    ("mg.tensor(None)", TypeError, "^tensor: expected numbers, got None"),
    ("f'{x:.2f}'", TypeError, r"^format: expected one element for the format '.2f', got shape \(4, 3\)"),
    ("round(x)", TypeError, r"^round: expected one element, got shape \(4, 3\)"),
    ("nn.BatchNorm(3)(mg.ones((1, 3)))", ValueError, r"model\.eval\(\).*drop_last=True"),
    ("mg.softmax_cross_entropy(x, mg.tensor([0, 1, 2, 0]))", TypeError, "dtype='int64'.*lists become float32"),
    ("mg.softmax_cross_entropy(x, mg.ones((4, 3), dtype='int64'))", ValueError, r"one-hot labels take labels\.argmax"),
    ("mg.softmax_cross_entropy(x, [[0], [1], [2], [0]])", ValueError, r"labels\.reshape\(4\)"),
    ("mg.softmax_cross_entropy(a, [0])", TypeError, WRAP),
    ("mg.save(linear, 'f')", TypeError, r"got minigrad.Linear and str; the path comes first; .*state_dict\(\)"),
    ("mg.save('f', linear)", TypeError, r"got str and minigrad.Linear; .*\.state_dict\(\)"),
    ("mg.save(linear.state_dict(), 'f')", TypeError, "got dict and str; the path comes first"),
    ("mg.save('f', [x])", TypeError, "got str and list"),
    ("mg.load(linear)", TypeError, "^load: expected a path, got minigrad.Linear"),
    ("linear.load_state_dict('f')", TypeError, "got str; minigrad.load reads a file"),
    ("linear.load_state_dict(linear)", TypeError, r"got minigrad.Linear; take its \.state_dict\(\)"),
    ("mg.optim.SGD([p], 0.1).load_state_dict(None)", TypeError, "into SGD: .* got None"),
    ("nn.Sequential([linear])", TypeError, r"layer 0 .*got a list: .*Sequential\(\*layers\)"),
    ("nn.Sequential(mg.relu)", TypeError, r"the function relu: use its layer \(nn\.ReLU\(\)"),
    ("nn.Sequential(linear, nn.ReLU)", TypeError, r"layer 1 .*the class ReLU: call it, as in ReLU\(\)"),
    ("nn.Sequential({'a': linear})", TypeError, r"got a dict: .*Sequential\(\*layers\.values\(\)\)"),
    ("nn.Sequential(linear, None)", TypeError, "layer 1 to be a Module, got None"),
    *[
        (
            f"nn.Linear({size!r}, 4)",
            ValueError,
            f"^Linear: expected in_features .* integer, got {re.escape(repr(size))}",
        )
        for size in ["8", 8.0, True, -1, 0, None]
    ],
    ("nn.BatchNorm('3')", ValueError, "^BatchNorm: expected num_features .*'3'"),
    ("nn.BatchNorm(3, momentum='0.9')", TypeError, "^BatchNorm: expected momentum as a number, got '0.9'"),
    ("nn.BatchNorm(3, eps='1')", TypeError, "^BatchNorm: expected eps as a number, got '1'"),
    ("nn.BatchNorm(3, axis='1')", TypeError, "^BatchNorm: expected axis as an int"),
    ("mg.batch_norm(x, None, None, eps='1')", TypeError, "^batch_norm: expected eps as a number"),
    ("nn.Dropout('0.5')", TypeError, "^Dropout: expected p as a number, got '0.5'"),
    ("mg.dropout(x, None)", TypeError, "^dropout: expected p as a number, got None"),
    ("mg.clip(x, x, None)", TypeError, "^clip: expected low as a number"),
    ("mg.pad(x, (1, 2, 3))", ValueError, r"^pad: expected an int, a \(before, after\) pair or 2 such pairs"),
    ("mg.pad(x, 1.5)", ValueError, "^pad: expected an int"),
    ("mg.concatenate([x], '0')", TypeError, "^concatenate: expected axis as an int, got '0'"),
    ("x.reshape('a')", TypeError, "^reshape: expected integers"),
    *[
        (f"mg.optim.{call}", error, words)
        for call, error, words in [
            ("SGD([p], lr='0.1')", TypeError, "^SGD: expected lr as a number, got '0.1'"),
            ("SGD([p], lr=mg.tensor(0.1))", TypeError, r"^SGD: expected lr .*\.item\(\)"),
            ("SGD([p], lr=-1)", ValueError, "^SGD: expected lr >= 0, got -1"),
            ("SGD([p], lr=float('nan'))", ValueError, "^SGD: expected lr >= 0, got nan"),
            ("SGD([p], 0.1, momentum='0.9')", TypeError, "^SGD: expected momentum as a number"),
            ("Adam([p], betas=0.9)", ValueError, "^Adam: expected betas as a pair"),
            ("Adam([p], betas=('0.9', 0.9))", ValueError, r"^Adam: expected betas in \[0, 1\)"),
            ("SGD(linear, 0.1)", TypeError, r"got minigrad.Linear; pass its \.parameters\(\)"),
            ("SGD(linear.parameters, 0.1)", TypeError, "got method; call it"),
            ("StepLR(linear, 1)", TypeError, "^StepLR: expected an Optimizer, got minigrad.Linear"),
            ("StepLR(sgd, '1')", ValueError, "^StepLR: expected step_size >= 1, an int, got '1'"),
            ("ExponentialLR(sgd, '1')", ValueError, "^ExponentialLR: expected gamma > 0, got '1'"),
        ]
    ],
    ("p.sum().backward(retain_graph=True)", TypeError, "got retain_graph; .*create_graph=True.*minigrad.grad"),
    ("mg.grad(1.0, p)", TypeError, "^grad, output 0: expected a minigrad Tensor, got float"),
    ("mg.grad(p.sum(), [p, None])", TypeError, "^grad, input 1: expected a minigrad Tensor, got None"),
    ("mg.data.DataLoader([a], batch_size='2')", ValueError, "^DataLoader: expected batch_size >= 1, got '2'"),
    ("nn.ReLU(inplace=True)", TypeError, "^ReLU: .*'inplace', expected none; nothing works in place"),
    ("nn.Flatten(2)", TypeError, r"^Flatten: .* expected none; x.flatten\(start_axis"),
    ("mg.relu('a')", TypeError, "got str$"),
    ("mg.relu(mg.moments(x))", TypeError, "got minigrad.Moments$"),
    ("mg.optim.SGD({'a': p}, 0.1)", TypeError, "got dict; groups are dicts in a list$"),
    ("nn.Sequential(linear, Foreign())", TypeError, "layer 1 to be a Module, got <.*Foreign"),
    ("np.add(x, 1)", TypeError, "operator"),
    ("np.vstack([x, x])", TypeError, r"mg\.concatenate"),
    ("np.dot(x, x)", TypeError, r"mg\.matmul"),
    ("np.size(x, 0)", TypeError, "^numpy.size: "),
    *[
        (f"nn.{call}", ValueError, f"^{call.partition('(')[0]}: expected {setting} ")
        for call, setting in [
            ("Conv2d(3, 4, 3, stride='1')", "stride"), ("Conv2d(3, 4, 3, padding='1')", "padding"),
            ("Conv2d(3, 4, 3, dilation=0)", "dilation"), ("Conv1d(3, 4, 3, stride=0)", "stride"),
            ("ConvTranspose2d(3, 4, 3, output_padding='1')", "output_padding"), ("MaxPool2d('2')", "kernel_size"),
            ("AvgPool2d(2, stride=0)", "stride"), ("MaxPool2d(2, padding=-1)", "padding"),
            ("BatchRenorm(3, r_max=0.5)", "r_max"),
        ]
    ],
    ("nn.BatchRenorm(3, r_max='3')", TypeError, "^BatchRenorm: expected r_max as a number, got '3'"),
    ("nn.LayerNorm(3, eps='1')", TypeError, "^LayerNorm: expected eps as a number, got '1'"),
    ("mg.layer_norm(x, None, None, 1e-5)", ValueError, "^layer_norm: .* got ndim=1e-05"),
    ("mg.layer_norm(x, eps='a')", TypeError, "^layer_norm: expected eps as a number"),
    ("nn.InstanceNorm(3)(mg.ones((2, 3, 1)))", ValueError, "^instance_norm: .* says nothing$"),
    *[
        (f"nn.{layer}, dtype='int64')", TypeError, f"^{layer.partition('(')[0]}: expected a floating dtype, got int64")
        for layer in ["Linear(3, 2", "Conv2d(3, 4, 1", "BatchNorm(3"]
    ],
    *[
        (call, TypeError, "^dtype: expected one of NumPy's or its name")
        for call in ["x.astype(None)", "x.astype('foo')", "mg.ones(2, dtype='foo')", "nn.Linear(3, 2, dtype=None)"]
    ],
    ("mg.full(2, 'a')", TypeError, "^full: expected value as a number, got 'a'"),
    ("mg.full(2, mg.tensor(2.0))", TypeError, r"^full: .*\.item\(\)"),
    ("mg.zeros(2, shape=(3,))", TypeError, "^zeros: expected integers"),
    ("mg.arange('3')", TypeError, "^arange: expected stop as a number"),
    ("mg.arange(0, 1, 0)", ValueError, "^arange: expected finite numbers and step != 0"),
    ("mg.tensor(np.ma.array([1.0, 2.0], mask=[0, 1]))", TypeError, r"^tensor: .*mask.*\.filled\(value\)"),
    ("mg.save('f', {'a': torch})", TypeError, "^save: expected 'a' .* got torch.Tensor$"),
    *[
        (line, AttributeError, f"has no attribute '.*': use {re.escape(use)}")
        for line, use in [
            ("mg.cat", "minigrad.concatenate"), ("mg.from_numpy", "minigrad.tensor"), ("mg.view", "x.view"),
            ("mg.cross_entropy", "minigrad.softmax_cross_entropy"), ("mg.nn.functional", "the functions of minigrad"),
            ("mg.BCELoss", "minigrad.binary_cross_entropy_with_logits"),
            ("nn.NLLLoss", "minigrad.softmax_cross_entropy"),
            ("mg.clamp", "x.clip(low, high)"), ("mg.expand_dims", "x.unsqueeze(axis)"),
            ("mg.reduce_mean", "x.mean(axis)"),
            ("x.dim()", "x.ndim"), ("x.numel()", "x.size"), ("x.t()", "x.T"),
            ("x.expand(2, 4, 3)", "x.broadcast_to(shape)"),
            ("x.clamp(0)", "x.clip(low, high)"), ("x.float()", "x.astype(dtype)"), ("x.relu()", "minigrad.relu(x)"),
            ("x.softmax(1)", "minigrad.softmax(x)"), ("x.mm(x)", "an operator"), ("x.gather(0, [1])", "an index"),
            ("x.repeat_interleave(2)", "x.repeat(n, axis=axis)"), ("x.masked_fill(x > 0, 0)", "minigrad.where"),
            ("mg.float32", "a name, as in dtype='float32'"), ("x.norm()", "(x * x).sum().sqrt()"),
        ]
    ],
    ("x.foo", AttributeError, r"^'Tensor' object has no attribute 'foo'; dir\(Tensor\) lists all$"),
    ("mg.foo", AttributeError, r"^module 'minigrad' has no attribute 'foo'; dir\(minigrad\) lists all$"),
    *[
        (f"{call}={value})", TypeError, rf"^\w+: {re.split('[ (]', call)[-1]} is called {ours} in minigrad")
        for call, value, ours in [
            *[(f"x.{name}(dim", 1, "axis") for name in ["sum", "mean", "max", "argmax", "cumsum", "prod", "std"]],
            ("mg.softmax(x, dim", 1, "axis"), ("mg.concatenate([x, x], dim", 0, "axis"),
            ("mg.stack([x], dim", 0, "axis"),
            ("mg.sum(x, 1, keepdim", True, "keepdims"), ("x.std(0, correction", 1, "ddof"),
            ("x.var(unbiased", True, "ddof"),
            ("x.clip(min", 0, "low"), ("x.flatten(start_dim", 1, "start_axis"), ("mg.linspace(0, 1, steps", 5, "num"),
            ("mg.zeros(2, device", "'cuda'", "backend"), ("mg.tensor(1, device", "'cuda'", "backend"),
            ("mg.randn(size", (2, 3), "sizes"),
            ("x.split(2, dim", 0, "axis"),
        ]
    ],
    ("x.size()", TypeError, r"^size: .* number of its elements, .* use x\.shape"),
    ("x.size(0)", TypeError, r"x\.shape\[axis\]"),
    ("mg.ones((2, 3, 4)).transpose(1, 2)", ValueError, r"x\.swapaxes\(1, 2\) exchanges two"),
    *[
        (call, TypeError, r"^repeat: .*x\.tile\(2, 1\), PyTorch's repeat")
        for call in ["x.repeat(2)", "x.repeat(2, 1)", "mg.repeat(x, (2, 1), axis=0)", "mg.repeat(x, 2, 0)"]
    ],
    ("mg.split(x, 2)", TypeError, r"^split: expected sizes=.*PyTorch's.*sections=.*NumPy's"),
    ("mg.softmax_cross_entropy(x, [0, 1, 2, 0], mg.ones(3))", ValueError, "^softmax_cross_entropy: expected reduction"),
    ("nn.CrossEntropyLoss(reduction='average')", ValueError, "^CrossEntropyLoss: expected reduction"),
    ("mg.jit(lambda: mg.randn(2) + 1)()", mg.CaptureError, "came in from outside"),
    *[
        (line, error, pattern) for error, lines in {
            TypeError: {
                "x.max(1)": r"^max: .* expected x, axis, keepdims; x\.max\(axis=1\) gives the values, x\.argmax\(1\)",
                "x.argmax(1, keepdim=True)": r"^argmax: .*'keepdim', expected x, axis; use \.unsqueeze",
                "x.var(False)": "^var: expected axis.*False", "x.sum(0, np.float64)": "expected keepdims as a bool",
                "x.std(0, np.float64)": "expected ddof", "mg.zeros((2, 3), np.float32)": "a dtype is given by name",
                "mg.dropout(x, 0.5, training=True)": "^dropout: .*'training', expected x, p, rng; call model.train",
                "nn.LSTM(3, 4)(mg.ones((1, 2, 3)), mg.ones((2, 4)))": r"^LSTM: expected the state as a pair \(h, c\)",
                "(x > 0) & (x < 1)": r"^&: .*; use x \* y for masks", "x // 2": r"^//: .*; use x\.numpy",
                "x.to(device='cpu')": "^to: device is called backend", "linear(x, training=True)": "model.eval",
                "nn.Linear(3, 4, device='cpu')": r"^Linear: .*'device', expected in_features, .*; use \.to\(backend",
                "nn.LSTM(3, 4, batch_first=True)": r"^LSTM: .*; leave it out: sequences are \(n, time, features\)",
                "nn.MSELoss()(input=x, target=x)": "^MSELoss: input is called prediction", "linear.train('eval')": "",
                "nn.Dropout(0.5, True)": "^rng: expected a numpy.random.Generator", "mg.one_hot(x)": "classes, dtype$",
                "mg.optim.SGD([p], 0.1, 0.9, 0.1)": "^SGD: expected nesterov as a bool, got 0.1; .*dampening",
            },
            ValueError: {
                "x.transpose(0, 1)": r"axes \(0, 1\) change nothing; x\.swapaxes\(0, 1\) exchanges two",
                "x.to('cpu')": "cpu is numpy here", "bool(x)": r"use \.min\(\) or \.max\(\) of a mask",
            },
            AttributeError: {
                "linear.register_buffer('a', x)": "self.name = nn.Buffer", "nn.LayerNorm(3).weight": "use gamma$",
                "setattr(linear, 'trainable', False)": "requires_grad", "setattr(sgd, 'learning_rate', 1)": "lr$",
                "nn.Conv2D": "or minigrad.nn.Conv2d$", "mg.Adam": "use minigrad.optim.Adam$", "x.sort()": "numpy.sort",
                "nn.init.zeros_(p)": r"x\.copy_\(value\)", "mg.data.Dataset": "minigrad.data.DataLoader",
            },
            ModuleNotFoundError: {"__import__('minigrad.nn.functional')": "the functions of minigrad"},
        }.items() for line, pattern in lines.items()
    ],
    ("mg.jit(5)", TypeError, "^jit: expected a function or a Module, got 5"),
    ("mg.gradcheck(5, x)", TypeError, "^gradcheck: expected a function first, got int"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "error", "pattern"), MISTAKES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_mistake_is_named(line, error, pattern):
    p = mg.ones(2, requires_grad=True)
    names = {"mg": mg, "nn": nn, "np": np, "x": mg.ones((4, 3)), "a": np.ones((4, 3), np.float32)}
    names |= {"p": p, "linear": nn.Linear(3, 2), "torch": Tensor(), "sgd": mg.optim.SGD([p], 0.1)}
    names["Foreign"] = Foreign
    with pytest.raises(error) as caught:
        eval(line, names)
    assert type(caught.value) is error
    message = str(caught.value)
    assert re.search(pattern, message), message
    assert not re.search(r"NoneType|_data|_ref|\bop: ", message)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_is_formatted_and_rounded_as_a_number(dtype, shape):
    loss = mg.tensor(np.full(shape, 1234.5), dtype=dtype)
    value = loss.item()
    assert f"{loss:.4f}" == f"{value:.4f}" and format(loss, ">10.3e") == f"{value:>10.3e}"
    assert round(loss, 2) == round(value, 2) and round(loss) == round(value)
    assert f"{loss}" == str(loss)
    assert f"{mg.tensor(3, dtype='int64'):03d}" == "003"


def test_formatting_reads_values_and_a_capture_says_so():
    with pytest.raises(mg.CaptureError, match="item"):
        mg.capture(lambda x: x * float(f"{x.sum():.3f}"), mg.ones(2))


def test_the_table_of_names_names_what_there_is():
    text = (Path(__file__).parent.parent / "docs" / "names.md").read_text("utf-8")
    ours = [line.rpartition(" | ")[2] for line in text.splitlines() if line[:1] == "|"]
    found = set(re.findall(r"`(mg|nn|x)\.(\w+)", " ".join(ours)))
    owners = {"mg": mg, "nn": nn, "x": mg.ones(1)}
    assert len(found) > 40 and [n for n in found if not hasattr(owners[n[0]], n[1])] == []


def test_shapes_are_still_numpys():
    x = mg.ones((2, 3))
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)


def test_a_shape_is_taken_under_its_name():
    assert mg.zeros(shape=(2, 3)).shape == mg.ones(shape=[2, 3]).shape == (2, 3)
    assert mg.zeros(shape=2).shape == (2,)


def test_optimizers_show_their_settings():
    assert "(lr=0.1, " in repr(mg.optim.SGD([mg.ones(2)], np.float64(0.1)))
    settings = "lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0"
    assert repr(mg.optim.Adam([mg.ones(2)])) == f"Adam({settings}, 1 parameter)"


@pytest.mark.parametrize(
    "module",
    [
        "examples.deep_sigmoid_mlp",
        "examples.image_classifier",
        "examples.learning_rate_ladder",
        "examples.sequential_mnist",
        "benchmarks",
    ],
)
def test_a_backend_that_is_missing_is_one_line(module, tmp_path):
    (tmp_path / "cupy.py").write_text("def is_available(): return False\n")
    command = [sys.executable, "-c", f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); "
               f"sys.argv = ['', '--backend', 'cupy']; runpy.run_module({module!r}, run_name='__main__')"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "GPU" in done.stderr
