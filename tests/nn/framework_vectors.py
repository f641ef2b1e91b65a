"""Batch normalization as other frameworks compute it, recorded in ``framework_vectors.json``.

Tests read the JSON, and take the inputs from here, without any of the frameworks. It is written
once per framework, in an environment that has the framework, by

    python tests/nn/framework_vectors.py keras|flax|chainer|tf1|onnx|torch

which replaces that framework's entries and keeps the others. Gamma and beta are the ones below, all
else the framework's defaults. It trains on the batches in turn; an entry has the output and the
running statistics after each, and then the evaluation mode's output on the first batch. Keras runs
on JAX; TensorFlow 1's layer needs ``tf_keras``, and is also run by its fused kernel; ONNX has no
first running statistics, and is given zeros and ones.
"""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

GAMMA = np.array([1.5, 0.5, -2.0], np.float32)
BETA = np.array([0.25, -1.0, 3.0], np.float32)
STEPS = 20
VECTORS = Path(__file__).with_suffix(".json")


def batches():
    """A float32 batch of shape (8, 3) per step; means and deviations differ, and drift."""
    rng = np.random.default_rng(0)
    mean, deviation = np.array([0.0, 0.25, -1.0]), np.array([1.0, 0.5, 2.0])
    noise = [(1 + 0.03 * step) * rng.standard_normal((8, 3)) for step in range(STEPS)]
    return [(mean + deviation * (0.1 * i + n)).astype(np.float32) for i, n in enumerate(noise)]


# Each framework gives call(x, training) -> output, and running() -> running mean, running variance.


def keras():
    os.environ["KERAS_BACKEND"] = "jax"
    from keras.layers import BatchNormalization

    layer = BatchNormalization()
    layer.build((None, 3))
    layer.gamma.assign(GAMMA)
    layer.beta.assign(BETA)
    running = layer.moving_mean, layer.moving_variance
    return lambda x, training: layer(x, training=training), lambda: [v.value for v in running]


def flax():
    from flax.linen import BatchNorm
    from jax.random import key

    layer, kind = BatchNorm(), "batch_stats"
    variables = dict(layer.init(key(0), batches()[0], use_running_average=False))
    variables["params"] = {"scale": GAMMA, "bias": BETA}

    def call(x, training):
        y, new = layer.apply(variables, x, use_running_average=not training, mutable=kind)
        variables.update(new)
        return y

    return call, lambda: [variables[kind][name] for name in ("mean", "var")]


def chainer():
    from chainer import using_config
    from chainer.links import BatchNormalization

    layer = BatchNormalization(3)
    layer.gamma.array[:], layer.beta.array[:] = GAMMA, BETA

    def call(x, training):
        with using_config("train", training):
            return layer(x).array

    return call, lambda: (layer.avg_mean, layer.avg_var)


def tf1(shape=(8, 3)):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        layer, constant = tf.layers.batch_normalization, tf.constant_initializer
        given = {"gamma_initializer": constant(GAMMA), "beta_initializer": constant(BETA)}
        batch = tf.placeholder(tf.float32, shape)
        trained = layer(batch, training=True, name="norm", **given)
        evaluated = layer(batch, training=False, name="norm", reuse=True)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        running = [v for v in tf.global_variables() if "moving" in v.name]  # mean, variance
        session = tf.Session(graph=graph)
        session.run(tf.global_variables_initializer())

    def call(x, training):
        tensors = [trained, *updates] if training else [evaluated]
        return session.run(tensors, {batch: x.reshape(shape)})[0]

    return call, lambda: session.run(running)


def tf1_fused():
    return tf1((8, 1, 1, 3))


def onnx():
    from onnx.parser import parse_model
    from onnx.reference import ReferenceEvaluator

    running = [np.zeros(3, np.float32), np.ones(3, np.float32)]

    def call(x, training):
        outputs, new = ("y, mean, var", ", float[3] mean, float[3] var") if training else ("y", "")
        model = f"""<ir_version: 8, opset_import: ["": 15]>
            norm (float[8, 3] x, float[3] g, float[3] b, float[3] m, float[3] v)
                => (float[8, 3] y{new})
            {{ {outputs} = BatchNormalization <training_mode = {training:d}> (x, g, b, m, v) }}"""
        inputs = dict(zip("xgbmv", [x, GAMMA, BETA, *running], strict=True))
        y, *updated = ReferenceEvaluator(parse_model(model)).run(None, inputs)
        running[:] = updated or running
        return y

    return call, lambda: running


def torch():
    from torch import from_numpy
    from torch.nn import BatchNorm1d

    layer = BatchNorm1d(3)
    layer.weight.data, layer.bias.data = from_numpy(GAMMA), from_numpy(BETA)

    def call(x, training):
        return layer.train(training)(from_numpy(x)).detach()

    return call, lambda: (layer.running_mean, layer.running_var)


#: per argument: the entries, and the packages whose versions they name
FRAMEWORKS = {
    "keras": ([keras], ["keras", "jax"]),
    "flax": ([flax], ["flax", "jax"]),
    "chainer": ([chainer], ["chainer"]),
    "tf1": ([tf1, tf1_fused], ["tensorflow", "tf_keras"]),
    "onnx": ([onnx], ["onnx"]),
    "torch": ([torch], ["torch"]),
}


def shortest(array, *shape):
    """Lists of the doubles that print as the float32 values' shortest decimals."""
    array = np.asarray(array)
    assert array.dtype == np.float32
    return np.array([float(str(v)) for v in array.ravel()]).reshape(shape).tolist()


def record(call, running):
    """The steps, and the evaluation that follows them."""
    steps = []
    for x in batches():
        y = shortest(call(x, True), 8, 3)
        mean, var = (shortest(array, 3) for array in running())
        steps.append({"y": y, "running_mean": mean, "running_var": var})
    return {"steps": steps, "eval_y": shortest(call(batches()[0], False), 8, 3)}


def main(framework):
    entries, packages = FRAMEWORKS[framework]
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions |= {package: version(package) for package in packages}
    vectors = json.loads(VECTORS.read_text()) if VECTORS.exists() else {}
    for entry in entries:
        vectors[entry.__name__] = {"versions": versions, **record(*entry())}
    VECTORS.write_text(json.dumps(vectors, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
