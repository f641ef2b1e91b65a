"""Templates: variables are created at the first call, reused by later ones, and are a Module's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import close, content, equal, refuses

import minigrad as mg
from minigrad import backend as backends
from minigrad import layers, nn

pytestmark = pytest.mark.usefixtures("backend")
dense, bn, make = layers.dense, layers.batch_normalization, layers.make_template


def network(x, training=True):
    x = mg.sigmoid(bn(dense(x, 4, use_bias=False), training=training))
    return dense(x, 2)


NAMES = ["dense/kernel", "batch_normalization/gamma", "batch_normalization/beta"]
MOVING = ["batch_normalization/moving_mean", "batch_normalization/moving_variance"]
TRAINABLE = [*NAMES, "dense_1/kernel", "dense_1/bias"]


@pytest.fixture
def x(rng):
    return mg.tensor(rng.standard_normal((6, 3)).astype(np.float32))


@pytest.fixture
def net(x):
    net = make("net", network)
    net(x)
    return net


def under(path, names):
    return [f"{path}/{name}" for name in names]


def kernels(template):
    return [name for name in template.variables() if name.endswith("kernel")]


# --- variables ---


def test_names(net):
    assert list(net.trainable_variables()) == under("net", TRAINABLE)
    assert list(net.variables()) == under("net", [*NAMES, *MOVING, *TRAINABLE[3:]])
    assert not layers.variables()


def test_the_default_store_is_another(x):
    dense(x, 2, use_bias=False)
    seen = []
    net = make("net", lambda x: seen.append(layers.variables()) or dense(x, 2))
    net(x)
    assert [*map(list, seen)] == [["dense/kernel"]] and len(net.variables()) == 2


def test_later_calls_find_them(net, x):
    before = {name: id(v) for name, v in net.variables().items()}
    equal(net(x, training=False), net(x, training=False))
    equal(net(x), net(x))
    assert {name: id(v) for name, v in net.variables().items()} == before
    close(
        net.variables()["net/batch_normalization/moving_mean"],
        (1 - 0.99**3) * (x.numpy() @ net.variables()["net/dense/kernel"].numpy()).mean(0),
        1e-6,
    )


def test_later_calls_make_none(x):
    more = []

    def growing(x):
        for _ in more:
            x = dense(x, 3)
        return dense(x, 2, name="last")

    net = make("net", growing)
    net(x)
    more.append(1)
    with refuses(ValueError, "dense 'net/dense': variable 'net/dense/kernel' does not exist"):
        net(x)
    assert kernels(net) == ["net/last/kernel"]


def test_in_a_scope(x):
    net = make("net", lambda x: dense(x, 2))
    with layers.variable_scope("a", reuse=None):
        y = net(x)
    equal(net(x), y)
    assert kernels(net) == ["a/net/dense/kernel"]


def test_variable_by_hand_is_made_once(x):
    net = make("net", lambda x: layers.Variable([1.0]) * x)
    net(x).sum().backward()
    (v,) = net.parameters()
    close(v.grad, [x.numpy().sum()], 1e-6)
    v.data = v.data * 2
    equal(net(x), 2 * x.numpy())
    assert list(net.variables()) == ["net/Variable"]


def test_regularization_loss(x):
    l2 = layers.l2_regularizer(0.5)
    net = make("net", lambda x: dense(x, 2, kernel_regularizer=l2))
    assert net.regularization_loss().item() == 0
    net(x)
    (kernel,) = (v for name, v in net.variables().items() if "kernel" in name)
    for _ in range(2):
        loss = net.regularization_loss()
        assert loss.item() == pytest.approx(0.25 * (kernel.numpy() ** 2).sum())
        loss.backward()
        kernel.data = kernel.data + 1
    assert layers.regularization_loss().item() == 0


# --- failures ---


def test_nor_in_another_template(x):
    broken = [True]
    inner = make("inner", lambda x: dense(x, 2))

    def failing(x):
        y = inner(dense(x, 2))
        return 1 / 0 if broken else y

    outer = make("outer", failing)
    with pytest.raises(ZeroDivisionError):
        outer(x)
    assert not outer.variables() and not inner.variables()
    broken.clear()
    outer(x)
    assert kernels(outer) == ["outer/dense/kernel", "outer/inner/dense/kernel"]


def test_later_calls_that_fail_change_nothing(net, x):
    before = content(net)
    with pytest.raises((TypeError, ValueError)):
        net(mg.ones((6, 9)))
    assert content(net) == before
    net(x)


# --- templates in templates ---


def test_the_outer_one_has_it_all(x):
    inner = make("inner", lambda x: dense(x, 3))
    outer = make("outer", lambda x: inner(inner(dense(x, 3))))
    y = outer(x)
    equal(outer(x), y)
    assert kernels(outer) == ["outer/dense/kernel", "outer/inner/dense/kernel"]
    assert kernels(inner) == ["outer/inner/dense/kernel"]
    assert len(outer.parameters()) == 4
    kernel, bias = (v.numpy() for v in inner.variables().values())
    close(inner(x), x.numpy() @ kernel + bias, 1e-6)


def test_beside_one_that_is_kept(x):
    kept = make("inner", lambda x: dense(x, 3))

    def function(x):  # creates the second one at every call
        return make("inner", lambda x: dense(x, 3))(kept(x))

    outer = make("outer", function)
    equal(outer(x), outer(x))
    assert kernels(outer) == ["outer/inner/dense/kernel", "outer/inner_1/dense/kernel"]
    assert kernels(kept) == ["outer/inner/dense/kernel"]


def test_later_calls_make_no_templates(x):
    names = ["a"]
    outer = make("outer", lambda x: [make(n, network)(x) for n in names])
    outer(x)
    names.append("b")
    with refuses(ValueError, "variable 'outer/b/dense/kernel' does not exist"):
        outer(x)


# --- as a Module ---


def test_state(net, x):
    state = net.state_dict()
    assert set(state) == set(net.variables())
    other = make("net", network)
    other(x)
    assert abs(net(x).numpy() - other(x).numpy()).max() > 0
    other.load_state_dict(state)
    net.load_state_dict(state)
    equal(other(x, training=False), net(x, training=False))


def test_inside_another_module(net):
    model = nn.Sequential(net)
    assert next(iter(model.state_dict())) == "0.net/dense/kernel"
    assert model.parameters() == net.parameters()


@pytest.mark.parametrize("training", [True, False])
def test_to(net, x, training):
    expected = net(x, training=training)
    (other,) = {"numpy", "strict"} - {backends.default().name}
    net.load_state_dict(net.to(other).state_dict())
    close(net(x.to(other), training=training), expected, 1e-6)
    assert {v.backend for v in net.variables().values()} == {other}


def test_the_mode_is_an_argument(net, x):
    train, infer = net(x), net(x, training=False)
    net.eval()
    equal(net(x), train)
    assert abs(net(x, training=False).numpy() - infer.numpy()).max() > 0


def test_statistics_are_held_and_frozen(net, x):
    before = content(net)
    with nn.hold_statistics(net):
        net(x)
    assert content(net) == before
    net(x)
    assert content(net) != before
    mean = net.variables()["net/batch_normalization/moving_mean"].numpy()
    (layer,) = (m for m in net.modules() if isinstance(m, nn.BatchNorm))
    layer.freeze()
    net(x)
    equal(net.variables()["net/batch_normalization/moving_mean"], mean)
    assert "net/batch_normalization/gamma" not in net.trainable_variables()


def test_before_the_first_call_and_repr(net):
    other = make("other", network)
    assert other.variables() == other.trainable_variables() == other.state_dict() == {}
    assert repr(other) == "Template('other')"
    assert "net/batch_normalization=BatchNormalization(4, axis=1, momentum=0.99" in repr(net)


def test_threads(net, x):
    expected = net(x, training=False).numpy()
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: net(x, training=False).numpy(), range(40)):
            np.testing.assert_array_equal(y, expected)
