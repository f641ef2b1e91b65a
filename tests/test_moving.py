"""Moving between backends and devices: models, the optimizer's state that follows, checkpoints, captured steps."""

from __future__ import annotations

import numpy as np
import pytest
import strict
from helpers import close, content, equal, refuses

import minigrad as mg
from minigrad import nn, optim

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.3),
    "momentum": lambda p: optim.SGD(p, lr=0.3, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.05),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
#: ways between NumPy and a device, and between devices: what to go to, and the device that is then current
WAYS = {
    "there and back": [("strict", 0), ("numpy", 0)],
    "there": [("strict", 0)] * 2,
    "to another device": [("strict", 0), ("strict", 1)],
    "around": [("strict", 1), ("numpy", 0), ("strict", 2)],
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class Training:
    """A network with batch norm that learns noise, on whatever backend it is."""

    def __init__(self, make):
        rng = np.random.default_rng(5)
        self.x = rng.standard_normal((40, 6)).astype("f")
        self.labels = rng.integers(0, 3, 40)
        self.model = nn.Sequential(
            nn.Linear(6, 8, rng=rng), nn.BatchNorm(8), nn.Sigmoid(), nn.Linear(8, 3, rng=rng)
        )
        self.optimizer = make(self.model.parameters())

    @property
    def backend(self):
        return self.model.parameters()[0].backend

    def batch(self, i):
        arrays = self.x[i % 4 :: 4], self.labels[i % 4 :: 4]
        return [mg.tensor(a, backend=self.backend) for a in arrays]

    def step(self, x, labels):
        self.optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(self.model(x), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps):
        return [self.step(*self.batch(i)).item() for i in steps]

    def kept(self):
        return [self.optimizer.steps, *(t for ts in self.optimizer.state.values() for t in ts)]


@optimizers
@ways
def test_a_model_that_moved_learns_as_one_that_did_not(make, way):
    still, moved = Training(make), Training(make)
    losses, steps = moved.run(range(5)), range(5, 10)
    for backend, number in way:
        with strict.Device(number):
            moved.model.to(backend)
            losses += moved.run(steps)
            assert {t.backend for t in moved.kept()} == {backend}
            assert {t.device for t in moved.kept()} == {None if backend == "numpy" else number}
        steps = range(steps.stop, steps.stop + 5)
    close(losses, still.run(range(steps.start)), 1e-5)
    ours, theirs = moved.optimizer.state_dict(), still.optimizer.state_dict()
    for name in theirs:
        close(ours[name], theirs[name], 1e-4)


@optimizers
def test_parameters_that_move_one_after_the_other(make):
    still, moved = Training(make), Training(make)
    moved.run(range(3))
    moved.model[0].to("strict")
    with refuses(TypeError, "different backends"):
        moved.step(*(mg.tensor(t, backend="strict") for t in moved.batch(3)))
    moved.model.to("strict")
    still.run(range(3))
    close(moved.run(range(3, 6)), still.run(range(3, 6)), 1e-5)


def test_what_was_computed_before_a_move_goes_no_further():
    """Gradients are dropped, and a graph that saved the old values does not go back to the new ones."""
    model = nn.Linear(3, 2)
    x = mg.ones((4, 3))
    model(x).sum().backward()
    graph = (model.weight**2).sum()
    model.to("strict").to("numpy")
    assert [p.grad for p in model.parameters()] == [None, None]
    assert all(p.requires_grad for p in model.parameters())
    with refuses(RuntimeError, "changed in place"):
        graph.backward()


@pytest.mark.parametrize("there", ["numpy", "strict"])
@pytest.mark.parametrize("here", ["numpy", "strict"])
@optimizers
def test_checkpoints_load_on_either(tmp_path, make, here, there):
    whole, begun, resumed = (Training(make) for _ in range(3))
    begun.model.to(here)
    begun.run(range(4))
    for name, owner in [("model", begun.model), ("optimizer", begun.optimizer)]:
        mg.save(tmp_path / name, owner.state_dict())
    resumed.model.to(there)
    resumed.model.load_state_dict(mg.load(tmp_path / "model"))
    resumed.optimizer.load_state_dict(mg.load(tmp_path / "optimizer"))
    assert content(resumed.model) == content(begun.model)
    whole.run(range(4))
    close(resumed.run(range(4, 8)), whole.run(range(4, 8)), 1e-5)
    assert resumed.backend == there


def test_a_state_loads_to_where_each_parameter_is():
    """Also where that is not the current device."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    state = {name: a + 1 for name, a in model.state_dict().items()}
    with strict.Device(1):
        model[0].to("strict")
    with strict.Device(2):
        model[1].to("strict")
    model.load_state_dict(state)
    assert [p.device for p in model.parameters()] == [1, 1, 2, 2]
    for name, a in model.state_dict().items():
        equal(a, state[name])


class TestGraphs:
    def test_a_captured_step_says_that_something_moved(self):
        training = Training(OPTIMIZERS["momentum"])
        graph = mg.capture(training.step, *training.batch(0))
        training.model.to("strict")
        before = content(training.model)
        with refuses(TypeError, "float32 on numpy, got shape (10, 6), float32 on strict:0"):
            graph(*training.batch(0))
        with refuses(RuntimeError, "has moved to strict:0 since it was captured"):
            graph(*(t.to("numpy") for t in training.batch(0)))
        assert content(training.model) == before

    def test_another_device_is_another_graph(self):
        layer = nn.Linear(3, 2).to("strict")
        x = mg.ones((4, 3), backend="strict")
        graph = mg.capture(layer, x)
        with strict.Device(1):
            elsewhere = x.to("strict")
            with refuses(TypeError, "on strict:0, got shape (4, 3), float32 on strict:1"):
                graph(elsewhere)
            with refuses(ValueError, "Linear: inputs are on device 0, and device 1 is the current"):
                graph(x)
            layer.to("strict")
        with refuses(RuntimeError, "has moved to strict:1 since it was captured"):
            graph(x)

    def test_a_replay_elsewhere_than_on_the_current_device_is_an_error(self):
        x = mg.ones((4, 3), backend="strict")
        with mg.no_grad():
            graph = mg.capture(nn.Sequential(nn.Linear(3, 2).to("strict")), x)
            words = "Sequential: inputs are on device 0, and device 1 is the current one"
            with strict.Device(1), refuses(ValueError, words):
                graph(x)
            assert graph(x).device == 0

    @optimizers
    @ways
    def test_jit_captures_again(self, make, way):
        still, moved = Training(make), Training(make)
        fast = mg.jit(moved.step)
        losses, count = [], 0
        for backend, number in [("numpy", 0), *way]:
            with strict.Device(number):
                moved.model.to(backend)
                for _ in range(5):
                    losses.append(fast(*moved.batch(count)).item())
                    count += 1
        close(losses, still.run(range(count)), 1e-5)

    def test_a_step_after_a_move_is_captured(self):
        """That the state follows is nothing that a replay has to repeat."""
        training, eager = Training(OPTIMIZERS["Adam"]), Training(OPTIMIZERS["Adam"])
        for t in (training, eager):
            t.run(range(2))
            t.model.to("strict")
        graph = mg.capture(training.step, *training.batch(2))
        close([graph(*training.batch(i)).item() for i in (2, 3, 4)], eager.run(range(2, 5)), 0)

    def test_moving_is_not_captured(self):
        x = mg.ones(2)
        for move in (lambda x: x.to("strict"), lambda x: x.move("strict")):
            with refuses(mg.CaptureError, "capture"):
                mg.capture(move, x)
        assert x.backend == "numpy"


class TestDevices:
    def test_tensors_are_made_on_the_current_one(self):
        assert mg.ones(2, backend="numpy").device is None
        for number in (0, 1):
            with strict.Device(number):
                t = mg.ones(2, backend="strict")
                assert (t.device, (t * 2 + t).sum().device) == (number, number)

    def test_to_is_a_move_between_devices(self):
        x = mg.tensor([1, 2], requires_grad=True, backend="strict")
        assert x.to("strict") is x
        with strict.Device(1):
            y = x.to("strict")
            assert y is not x and y.device == 1 and y.requires_grad and y.is_leaf
            assert y.to("strict") is y
            equal(y, [1, 2])
        assert x.device == 0
        assert mg.tensor(x.data).device == 0

    @pytest.mark.parametrize(
        "use",
        [
            lambda a, b: a + b,
            lambda a, b: mg.concatenate([a, b]),
            lambda a, b: mg.where(a > 0, a, b),
            lambda a, b: mg.batch_norm(a, b, b),
        ],
        ids=["add", "concatenate", "where", "batch_norm"],
    )
    def test_two_in_one_op_are_an_error(self, use):
        a = mg.ones((3, 2), backend="strict")
        with strict.Device(1):
            b = mg.ones(2 if "batch_norm" in use.__code__.co_names else (3, 2), backend="strict")
        words = "inputs are on device 0 and 1, and device 0 is the current one, where numbers and results go; "
        with refuses(ValueError, words + "compute inside of `with strict.Device(1):`"):
            use(a, b)

    @pytest.mark.parametrize("current", [0, 2])
    def test_an_op_elsewhere_than_on_the_current_one_is_an_error(self, current):
        with strict.Device(1):
            x = mg.ones(2, requires_grad=True, backend="strict")
            loss = (x * 2).sum()
        words = (
            f"device {current} is the current one, where numbers and results go; compute inside of "
        )
        with strict.Device(current):
            for compute in (x.exp, loss.backward, lambda: x * 2, lambda: mg.concatenate([x, x])):
                with refuses(ValueError, words + "`with strict.Device(1):`"):
                    compute()
            equal(x.detach(), [1, 1])  # looking is allowed
            assert loss.item() == 4
        assert x.grad is None
        with strict.Device(1):
            loss.backward()
            assert x.grad.device == 1

    def test_an_optimizer_elsewhere_than_its_parameters(self):
        training = Training(OPTIMIZERS["momentum"])
        with strict.Device(1):
            training.model.to("strict")
            mg.softmax_cross_entropy(
                training.model(training.batch(0)[0]), training.batch(0)[1]
            ).backward()
        before = content(training.model)
        with refuses(ValueError, "Update: inputs are on device 1, and device 0 is the current one"):
            training.optimizer.step()
        assert content(training.model) == before
        assert {t.device for t in training.kept()} == {1}

    def test_data_of_another_device_are_refused(self):
        x = mg.zeros(2, backend="strict")
        with (
            strict.Device(1),
            refuses(ValueError, "data: expected an array on strict:0, got one on strict:1"),
        ):
            x.data = mg.ones(2, backend="strict").data
        equal(x, [0, 0])


@pytest.mark.usefixtures("backend")
class TestOneBackend:
    def test_moving_to_where_it_is_does_nothing(self, backend):
        training = Training(OPTIMIZERS["momentum"])
        training.run(range(1))
        tensors = [*training.model.parameters(), *training.kept()]
        arrays = [t._data for t in tensors]
        grads = [p.grad for p in training.model.parameters()]
        training.model.to(backend)
        training.optimizer.step()
        assert all(t._data is a for t, a in zip(tensors, arrays, strict=True))
        assert all(p.grad is g for p, g in zip(training.model.parameters(), grads, strict=True))

    def test_load_is_in_place(self):
        t = mg.zeros((2, 3))
        array = t._data
        t.load(np.ones((2, 3), "f"))
        assert t._data is array
        equal(t, np.ones((2, 3)))
        for wrong in (np.ones(3, "f"), np.ones((2, 3))):
            with refuses(ValueError, "data: expected shape (2, 3) and dtype float32"):
                t.load(wrong)
